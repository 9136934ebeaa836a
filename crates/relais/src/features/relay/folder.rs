//! The plain files: `<base>/<société>/<file>`, readable and writable by other programs.
//!
//! Every path is opened one component at a time, relative to its parent and without following links, so
//! that nothing outside the folder can be reached whatever other programs put into it. A file is replaced by
//! renaming a complete one over it: readers see the old content or the new one, whole.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, Access, AtFlags, FileType, Mode, OFlags, RenameFlags};

use super::error::RelayError;
use super::folder_id;
use super::name::{FileName, SocieteName};
use super::spare::Spares;

/// Where files are written before they are renamed into place. On the same file system, and hidden from
/// programs that look for sociétés.
const STAGING: &str = ".relais-staging";

/// Entries of one folder that are looked at, at most.
const ENTRIES_MAX: usize = 100_000;

/// What tells whether a file was written to: other programs change at least one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// The folder of the relay's files. Calls block: they are short, but the disk decides.
pub struct Folder {
    path: PathBuf,
    id: String,
    base: OwnedFd,
    staging: OwnedFd,
    spares: Spares,
    next: AtomicU64,
}

impl Folder {
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
        for name in entries(&staging)? {
            fs::unlinkat(&staging, name.as_str(), AtFlags::empty())?;
        }
        let (path, id, spares) = (path.to_owned(), folder_id::of(&base)?, Spares::default());
        Ok(Arc::new(Self { path, id, base, staging, spares, next: AtomicU64::new(0) }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which folder it is, wherever it lies.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Writes a content beside its place, so that only a rename is left to do. Creates the société's folder.
    ///
    /// # Errors
    /// [`RelayError::DiskFull`], [`RelayError::ReadOnly`], [`RelayError::Occupied`] if a link or a folder has
    /// the name, or what else the disk reports. The file is then as it was.
    pub fn stage(
        self: &Arc<Self>,
        societe: &SocieteName,
        filename: &FileName,
        content: &[u8],
    ) -> Result<Staged, RelayError> {
        let target = self.writable_dir(societe)?;
        match fs::statat(&target, filename.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
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
            filename: filename.clone(),
            stat: Stat { size: content.len() as u64, mtime_ns: 0 },
            placed: false,
        };
        file.write_all(content)?;
        let mut stat = stat_of(&fs::fstat(&file).map_err(io::Error::from)?);
        if stat.size != content.len() as u64 {
            // The spare was longer.
            fs::ftruncate(&file, content.len() as u64).map_err(io::Error::from)?;
            stat = stat_of(&fs::fstat(&file).map_err(io::Error::from)?);
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
        let name = societe.as_str();
        let dir = match open_dir(&self.base, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::mkdirat(&self.base, name, Mode::from(0o755)).or_else(|error| match error {
                    rustix::io::Errno::EXIST => Ok(()),
                    other => Err(io::Error::from(other)),
                })?;
                open_dir(&self.base, name)
            }
            other => other,
        };
        let dir = dir.map_err(|error| match error.raw_os_error() {
            Some(code) if is_link_or_file(code) => RelayError::Occupied(name.to_owned()),
            _ => error.into(),
        })?;
        fs::accessat(&dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(io::Error::from)?;
        Ok(dir)
    }

    /// Size and time of a plain file; nothing if there is none.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn stat(&self, societe: &SocieteName, filename: &FileName) -> io::Result<Option<Stat>> {
        let Some(dir) = self.dir(societe)? else { return Ok(None) };
        stat_at(&dir, filename.as_str())
    }

    /// Whether a plain file surely has this size and time, with half the work of [`Folder::stat`]. A société's
    /// folder that is a link is followed, so nothing else may be concluded.
    #[must_use]
    pub fn is_surely(&self, societe: &SocieteName, filename: &FileName, expected: Stat) -> bool {
        let mut path = String::with_capacity(societe.as_str().len() + 1 + filename.as_str().len());
        path.extend([societe.as_str(), "/", filename.as_str()]);
        matches!(stat_at(&self.base, &path), Ok(Some(found)) if found == expected)
    }

    /// A plain file's content with its size and time; nothing if there is none or it is larger than
    /// `bytes_max`.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn read(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        bytes_max: u64,
    ) -> io::Result<Option<(Stat, Vec<u8>)>> {
        let Some(dir) = self.dir(societe)? else { return Ok(None) };
        // Without NONBLOCK a pipe in the folder would hold the reader until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(&dir, filename.as_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = fs::fstat(&file)?;
        let stat = stat_of(&found);
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || stat.size > bytes_max {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0) + 1);
        File::from(file).take(bytes_max + 1).read_to_end(&mut content)?;
        Ok(Some((stat, content)))
    }

    /// Removes a plain file; nothing happens if there is none.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn remove(&self, societe: &SocieteName, filename: &FileName) -> io::Result<()> {
        let Some(dir) = self.dir(societe)? else { return Ok(()) };
        match fs::unlinkat(&dir, filename.as_str(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the société's folder could be written to.
    ///
    /// # Errors
    /// [`RelayError::ReadOnly`] or what else the disk reports.
    pub fn check_writable(&self, societe: &SocieteName) -> Result<(), RelayError> {
        self.writable_dir(societe).map(drop)
    }

    /// The folders that are sociétés. What has an impossible name, and links, are left out.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn societes(&self) -> io::Result<Vec<SocieteName>> {
        let names = entries(&self.base)?;
        Ok(names
            .iter()
            .filter_map(|name| SocieteName::new(name).ok().filter(|checked| checked.as_str() == name))
            .filter(|name| matches!(self.dir(name), Ok(Some(_))))
            .collect())
    }

    /// The plain files of a société with one of `extensions`; nothing if there is no such folder.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn files(&self, societe: &SocieteName, extensions: &[String]) -> io::Result<Option<Vec<FileName>>> {
        let Some(dir) = self.dir(societe)? else { return Ok(None) };
        let names = entries(&dir)?;
        let usable = |name: &String| FileName::new(name).ok().filter(|checked| checked.as_str() == name);
        Ok(Some(names.iter().filter_map(usable).filter(|name| name.has_extension(extensions)).collect()))
    }

    /// Makes everything written and renamed so far survive a power cut.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fs::syncfs(&self.base)?)
    }

    fn dir(&self, societe: &SocieteName) -> io::Result<Option<OwnedFd>> {
        match open_dir(&self.base, societe.as_str()) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error().is_some_and(is_link_or_file) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A content that is on the disk beside its place. Dropped without [`Staged::place`], it is removed.
pub struct Staged {
    folder: Arc<Folder>,
    temporary: String,
    target: OwnedFd,
    filename: FileName,
    stat: Stat,
    placed: bool,
}

impl Staged {
    /// Size and time that the file will have.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.stat
    }

    /// Puts the file into its place, over what is there.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn place(mut self) -> io::Result<()> {
        let (staging, name) = (&self.folder.staging, self.filename.as_str());
        let swapped = fs::renameat_with(staging, &self.temporary, &self.target, name, RenameFlags::EXCHANGE);
        if swapped.is_err() {
            // There was no file, or the file system cannot exchange names.
            fs::renameat(staging, &self.temporary, &self.target, name)?;
        }
        self.placed = true;
        if swapped.is_ok() {
            self.folder.spares.give(staging, std::mem::take(&mut self.temporary));
        }
        Ok(())
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

/// A handle that stands for a folder and cannot read it: it costs less, and those who watch the folder are not
/// told of it.
fn open_dir(parent: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

fn stat_at(dir: &OwnedFd, path: &str) -> io::Result<Option<Stat>> {
    match fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(Some(stat_of(&stat)))
        }
        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_link_or_file(code: i32) -> bool {
    code == rustix::io::Errno::LOOP.raw_os_error() || code == rustix::io::Errno::NOTDIR.raw_os_error()
}

fn entries(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let readable = fs::openat(dir, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in fs::Dir::new(readable)?.take(ENTRIES_MAX) {
        if let Ok(name) = entry?.file_name().to_str()
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn stat_of(stat: &fs::Stat) -> Stat {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    Stat {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), None);
        let stat = staged.stat();
        staged.place().unwrap();
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), Some((stat, b"[1]".to_vec())));
        assert_eq!(folder.stat(&societe, &file).unwrap(), Some(stat));
        assert_eq!(folder.files(&societe, &[".json".into()]).unwrap(), Some(vec![file]));
        assert_eq!(folder.societes().unwrap(), [societe]);
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
        assert_eq!(folder.read(&societe, &file, 100).unwrap(), None);
        assert!(folder.societes().unwrap().is_empty());
        assert!(matches!(folder.stage(&societe, &file, b"[1]"), Err(RelayError::Occupied(_))));

        let real = SocieteName::new("real").unwrap();
        std::fs::create_dir(folder.path().join("real")).unwrap();
        std::os::unix::fs::symlink(outside.join("comptes.json"), folder.path().join("real/comptes.json"))
            .unwrap();
        assert_eq!(folder.read(&real, &file, 100).unwrap(), None);
        folder.stage(&real, &file, b"[1]").unwrap().place().unwrap();
        assert_eq!(std::fs::read(outside.join("comptes.json")).unwrap(), b"[9]");
        assert_eq!(folder.read(&real, &file, 100).unwrap().unwrap().1, b"[1]");
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_named() {
        let (_dir, folder, societe, file) = folder();
        std::fs::create_dir_all(folder.path().join("rsp-bgs/comptes.json")).unwrap();
        assert!(matches!(folder.stage(&societe, &file, b"[1]"), Err(RelayError::Occupied(_))));
    }
}
