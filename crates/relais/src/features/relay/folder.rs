//! The plain files: `<base>/<société>/<file>`, readable and writable by other programs.
//!
//! Every path is opened one component at a time, relative to its parent and without following links, so
//! that nothing outside the folder can be reached whatever other programs put into it. A file is replaced by
//! renaming a complete one over it: readers see the old content or the new one, whole.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, Access, AtFlags, FileType, Mode, OFlags, RenameFlags};

use super::error::RelayError;
use super::folder_id;
use super::forms::Forms;
use super::listing::{self, Listing, open_dir};
use super::name::{FileName, SocieteName};
use super::plain_file::{Found, Stat, read_at, stat_at};
use super::spare::Spares;
use crate::folder_lock::{FolderLock, FolderLockError};

/// Where files are written before they are renamed into place. On the same file system, and hidden from programs that
/// look for sociétés.
const STAGING: &str = ".relais-staging";

/// The folder of the relay's files. Calls block: they are short, but depend on the disk.
pub struct Folder {
    path: PathBuf,
    id: String,
    base: OwnedFd,
    staging: OwnedFd,
    spares: Spares,
    forms: Forms,
    next: AtomicU64,
}

impl Folder {
    /// Locks out other servers from the folder, which is created if missing. The folder itself is locked: an open file
    /// in it would keep an operator from making the disk read-only.
    ///
    /// # Errors
    /// [`FolderLockError::InUse`], or why the folder cannot be used.
    pub fn lock(path: &Path) -> Result<FolderLock, FolderLockError> {
        let folder = std::fs::create_dir_all(path)
            .and_then(|()| File::open(path))
            .map_err(|error| FolderLockError::Io { folder: path.to_owned(), error })?;
        FolderLock::take(path, folder, "relay.files_dir or BASE_FILES_DIR")
    }

    /// Opens the folder, creating it if it is missing, and removes what an interrupted write left behind.
    ///
    /// # Errors
    /// Why the folder cannot be used.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(path)?;
        let base = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        match fs::mkdirat(&base, STAGING, Mode::from(0o700)) {
            Err(rustix::io::Errno::EXIST) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let staging = open_dir(&base, STAGING)?;
        clean(&staging)?;
        let (path, id) = (path.to_owned(), folder_id::of(&base)?);
        let (spares, forms, next) = (Spares::default(), Forms::default(), AtomicU64::new(0));
        Ok(Arc::new(Self { path, id, base, staging, spares, forms, next }))
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the folder, independent of its path.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes a content beside its place, so that only a rename is left to do. Creates the société's folder.
    ///
    /// # Errors
    /// [`RelayError::DiskFull`], [`RelayError::ReadOnly`], [`RelayError::Occupied`] if a link or a folder has the name,
    /// or another disk error. The file is then unchanged.
    pub fn stage(
        self: &Arc<Self>,
        societe: &SocieteName,
        filename: &FileName,
        content: &[u8],
    ) -> Result<Staged, RelayError> {
        let target = self.writable_dir(societe)?;
        let on_disk = self.name_on_disk(&target, societe, filename).into_owned();
        match fs::statat(&target, on_disk.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(RelayError::Occupied(filename.to_string()));
            }
            _ => {}
        }
        let (temporary, mut file) = match self.spares.take(&self.staging) {
            Some(spare) => spare,
            None => self.create()?,
        };
        let mut staged = Staged {
            folder: Arc::clone(self),
            temporary,
            target,
            on_disk,
            stat: Stat::default(),
            placed: false,
        };
        file.write_all(content)?;
        let mut stat = Stat::of(&fs::fstat(&file).map_err(io::Error::from)?);
        if stat.size != content.len() as u64 {
            // The reused file was longer.
            fs::ftruncate(&file, content.len() as u64).map_err(io::Error::from)?;
            stat = Stat::of(&fs::fstat(&file).map_err(io::Error::from)?);
        }
        staged.stat = stat;
        Ok(staged)
    }

    fn create(&self) -> io::Result<(String, File)> {
        let temporary = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = fs::openat(&self.staging, &temporary, flags, Mode::from(super::spare::MODE))?;
        Ok((temporary, File::from(file)))
    }

    fn writable_dir(&self, societe: &SocieteName) -> Result<OwnedFd, RelayError> {
        let name = self.forms.societe(societe);
        let dir = match open_dir(&self.base, &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::mkdirat(&self.base, &*name, Mode::from(0o755)).or_else(|error| match error {
                    rustix::io::Errno::EXIST => Ok(()),
                    other => Err(io::Error::from(other)),
                })?;
                open_dir(&self.base, &name)
            }
            other => other,
        };
        let dir = dir.map_err(|error| match error.raw_os_error() {
            Some(code) if is_link_or_file(code) => RelayError::Occupied(name.into_owned()),
            _ => error.into(),
        })?;
        fs::accessat(&dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(io::Error::from)?;
        Ok(dir)
    }

    /// The stat of a plain file; `None` if there is none.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn stat(&self, societe: &SocieteName, filename: &FileName) -> io::Result<Option<Stat>> {
        let Some(dir) = self.dir(societe)? else { return Ok(None) };
        stat_at(&dir, &self.name_on_disk(&dir, societe, filename))
    }

    /// Whether a plain file certainly has this stat, at half the cost of [`Folder::stat`]. A société's folder that is a
    /// link is followed, so `false` proves nothing.
    #[must_use]
    pub fn is_surely(&self, societe: &SocieteName, filename: &FileName, expected: Stat) -> bool {
        let (folder, other_form) = (self.forms.societe(societe), self.forms.file(societe, filename));
        let name = other_form.as_deref().unwrap_or(filename.as_str());
        let mut path = String::with_capacity(folder.len() + 1 + name.len());
        path.extend([&*folder, "/", name]);
        matches!(stat_at(&self.base, &path), Ok(Some(found)) if found == expected)
    }

    /// A plain file's content, if it has at most `bytes_max`.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn read(&self, societe: &SocieteName, filename: &FileName, bytes_max: u64) -> io::Result<Found> {
        let Some(dir) = self.dir(societe)? else { return Ok(Found::Nothing) };
        read_at(&dir, &self.name_on_disk(&dir, societe, filename), bytes_max)
    }

    /// Removes a plain file; does nothing if there is none.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn remove(&self, societe: &SocieteName, filename: &FileName) -> io::Result<()> {
        let Some(dir) = self.dir(societe)? else { return Ok(()) };
        match fs::unlinkat(&dir, &*self.name_on_disk(&dir, societe, filename), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that the société's folder is writable.
    ///
    /// # Errors
    /// [`RelayError::ReadOnly`] or another disk error.
    pub fn check_writable(&self, societe: &SocieteName) -> Result<(), RelayError> {
        self.writable_dir(societe).map(drop)
    }

    /// The folders that are sociétés, and what else was found beside them.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn societes(&self, extensions: &[String]) -> io::Result<Listing<SocieteName>> {
        let listing = listing::societes(&self.base, extensions)?;
        self.forms.learn_societes(&listing);
        Ok(listing)
    }

    /// The plain files of a société with one of `extensions`; nothing if there is no such folder.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn files(
        &self,
        societe: &SocieteName,
        extensions: &[String],
    ) -> io::Result<Option<Listing<FileName>>> {
        let Some(dir) = self.dir(societe)? else { return Ok(None) };
        let listing = listing::files(&dir, extensions)?;
        self.forms.learn_files(societe, &listing);
        Ok(Some(listing))
    }

    /// The path of a société's folder on the disk.
    #[must_use]
    pub fn path_of(&self, societe: &SocieteName) -> PathBuf {
        Path::new(&*self.forms.societe(societe)).to_owned()
    }

    /// Takes note of a file that another program has under another Unicode form of its name. Says whether that is the
    /// one to be served: the composed form comes first.
    pub fn notice_form(&self, societe: &SocieteName, filename: &FileName, on_disk: &str) -> bool {
        let there = |name: &str| self.dir(societe).ok().flatten().and_then(|dir| stat_at(&dir, name).ok()?);
        if on_disk == filename.as_str() {
            return self.forms.file(societe, filename).is_none();
        }
        if there(on_disk).is_none() {
            return true;
        }
        let alone = there(filename.as_str()).is_none_or(|stat| Some(stat) == there(on_disk));
        if alone {
            self.forms.learn_file(societe, filename, on_disk);
        }
        alone
    }

    /// Makes everything written and renamed so far survive a power cut.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.base)?)
    }

    /// The form of a file's name that the disk has now, or would be given.
    fn name_on_disk<'a>(&self, dir: &OwnedFd, societe: &SocieteName, filename: &'a FileName) -> Cow<'a, str> {
        match self.forms.file(societe, filename) {
            None => Cow::Borrowed(filename.as_str()),
            Some(other) if fs::statat(dir, other.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() => {
                Cow::Owned(other)
            }
            Some(_) => {
                self.forms.forget_file(societe, filename);
                Cow::Borrowed(filename.as_str())
            }
        }
    }

    fn dir(&self, societe: &SocieteName) -> io::Result<Option<OwnedFd>> {
        match open_dir(&self.base, &self.forms.societe(societe)) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error().is_some_and(is_link_or_file) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A content written to the disk beside its place. It is removed if dropped without [`Staged::place`].
pub struct Staged {
    folder: Arc<Folder>,
    temporary: String,
    target: OwnedFd,
    on_disk: String,
    stat: Stat,
    placed: bool,
}

impl Staged {
    /// The stat of the file beside its place; moving it changes the time of its inode.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.stat
    }

    /// Moves the file into place, replacing what is there. Returns its new stat.
    ///
    /// # Errors
    /// An error of the disk.
    pub fn place(mut self) -> io::Result<Stat> {
        let (staging, name) = (&self.folder.staging, self.on_disk.as_str());
        let swapped = fs::renameat_with(staging, &self.temporary, &self.target, name, RenameFlags::EXCHANGE);
        if swapped.is_err() {
            // There was no file, or the file system cannot exchange names.
            fs::renameat(staging, &self.temporary, &self.target, name)?;
        }
        self.placed = true;
        // Another program may have replaced it first: then it is not taken for the relay's own.
        let placed = stat_at(&self.target, name).ok().flatten().filter(|found| found.is_like(&self.stat));
        if swapped.is_ok() {
            self.folder.spares.give(staging, std::mem::take(&mut self.temporary));
        }
        Ok(placed.unwrap_or(self.stat))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = fs::unlinkat(&self.folder.staging, &self.temporary, AtFlags::empty())
        {
            tracing::warn!(%error, file = self.temporary, "a temporary file could not be removed");
        }
    }
}

/// Removes what an interrupted write left behind. What cannot be removed does no harm.
fn clean(staging: &OwnedFd) -> io::Result<()> {
    let readable = fs::openat(staging, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in fs::Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if let Err(error) = fs::unlinkat(staging, name, AtFlags::empty()) {
            tracing::warn!(%error, ?name, "what an interrupted write left behind cannot be removed");
        }
    }
    Ok(())
}

fn is_link_or_file(code: i32) -> bool {
    code == rustix::io::Errno::LOOP.raw_os_error() || code == rustix::io::Errno::NOTDIR.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::super::left_out::Cause;
    use super::*;

    fn folder() -> (tempfile::TempDir, Arc<Folder>, SocieteName, FileName) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("files")).unwrap();
        (dir, folder, SocieteName::new("rsp-bgs").unwrap(), FileName::new("comptes.json").unwrap())
    }

    #[test]
    fn a_staged_content_is_invisible_until_it_is_placed() {
        let (_dir, folder, societe, file) = folder();
        let staged = folder.stage(&societe, &file, b"[1]").unwrap();
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), Found::Nothing);
        let stat = staged.place().unwrap();
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), Found::Content(stat, b"[1]".to_vec()));
        assert_eq!(folder.stat(&societe, &file).unwrap(), Some(stat));
        assert!(folder.is_surely(&societe, &file, stat));
        let listed = folder.files(&societe, &[".json".into()]).unwrap().unwrap();
        assert_eq!((listed.served[0].name.clone(), listed.served[0].stat), (file, stat));
        assert_eq!(folder.societes(&[]).unwrap().served[0].name, societe);
    }

    #[test]
    fn a_staged_content_that_is_dropped_leaves_nothing() {
        let (dir, folder, societe, file) = folder();
        drop(folder.stage(&societe, &file, b"[1]").unwrap());
        assert_eq!(std::fs::read_dir(dir.path().join("files").join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn links_are_not_followed() {
        let (dir, folder, societe, file) = folder();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("comptes.json"), "[9]").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("rsp-bgs")).unwrap();
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), Found::Nothing);
        assert!(folder.societes(&[]).unwrap().served.is_empty());
        assert!(matches!(folder.stage(&societe, &file, b"[1]"), Err(RelayError::Occupied(_))));

        let real = SocieteName::new("real").unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink(outside.join("comptes.json"), folder.path().join("real/comptes.json"))
            .unwrap();
        assert_eq!(folder.read(&real, &file, 100).unwrap(), Found::Unfit(Cause::Link));
        folder.stage(&real, &file, b"[1]").unwrap().place().unwrap();
        assert_eq!(std::fs::read(outside.join("comptes.json")).unwrap(), b"[9]");
        let Found::Content(_, content) = folder.read(&real, &file, 100).unwrap() else {
            panic!("no content")
        };
        assert_eq!(content, b"[1]");
    }

    #[test]
    fn a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_another_one() {
        let (dir, folder, societe, file) = folder();
        let stat = folder.stage(&societe, &file, b"[1]").unwrap().place().unwrap();
        let place = folder.path().join("rsp-bgs/comptes.json");
        let time = std::fs::metadata(&place).unwrap().modified().unwrap();
        let other = dir.path().join("other.json");
        std::fs::write(&other, "[2]").unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::rename(&other, &place).unwrap();
        let found = folder.stat(&societe, &file).unwrap().unwrap();
        assert_eq!((found.size, found.mtime_ns), (stat.size, stat.mtime_ns));
        assert!(!folder.is_surely(&societe, &file, stat));
    }

    #[test]
    fn a_file_is_read_and_replaced_under_the_form_of_its_name_that_the_disk_has() {
        let (_dir, folder, societe, _) = folder();
        let file = FileName::new("année.json").unwrap();
        let decomposed = folder.path().join("rsp-bgs/anne\u{301}e.json");
        std::fs::create_dir(folder.path().join("rsp-bgs")).unwrap();
        std::fs::write(&decomposed, "[1]").unwrap();
        assert!(folder.notice_form(&societe, &file, "anne\u{301}e.json"));
        assert!(
            matches!(folder.read(&societe, &file, 9).unwrap(), Found::Content(_, text) if text == b"[1]")
        );
        folder.stage(&societe, &file, b"[2]").unwrap().place().unwrap();
        assert_eq!(std::fs::read(&decomposed).unwrap(), b"[2]");
        assert_eq!(
            std::fs::read_dir(folder.path().join("rsp-bgs")).unwrap().count(),
            1,
            "one form, one file"
        );
        std::fs::write(folder.path().join("rsp-bgs/année.json"), "[3]").unwrap();
        assert!(!folder.notice_form(&societe, &file, "anne\u{301}e.json"), "the composed form comes first");
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_named() {
        let (_dir, folder, societe, file) = folder();
        std::fs::create_dir_all(folder.path().join("rsp-bgs/comptes.json")).unwrap();
        assert!(matches!(folder.stage(&societe, &file, b"[1]"), Err(RelayError::Occupied(_))));
    }
}
