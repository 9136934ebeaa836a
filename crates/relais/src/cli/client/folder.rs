//! Files on this computer: which ones belong to which société, and the hash of their contents.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::ClientError;
use super::names;

/// The most files that one command handles.
const FILES_MAX: usize = 200_000;
/// The largest file that is sent: it is held in memory while it is.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Entries below the folder of a société that are looked at for files which lie too deep.
const BELOW_MAX: usize = 1000;

const TOO_DEEP: &str = "lies in a folder within that of its société, and what is in there is not sent; move it up, or \
                        send that folder with --societe";
const NOT_UTF8: &str = "the name is not valid UTF-8; rename it";
const CONTROL: &str = "the name has a line break, a tab or another control character in it; rename it";

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// Whose it is.
    pub societe: String,
    /// Its name on the server.
    pub filename: String,
    /// Where it is.
    pub path: PathBuf,
    /// Detects whether it changed without reading it.
    pub stamp: Stamp,
}

/// What a file looks like. Programs can set the time of its last change back; that of its inode, only the kernel sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970, 0 if the file system does not provide it.
    pub modified_ns: i64,
    /// The same of the inode.
    #[serde(default)]
    pub changed_ns: i64,
    /// The number of the inode.
    #[serde(default)]
    pub inode: u64,
}

impl Stamp {
    /// The stamp of a file that exists.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        Ok(Self::from(&std::fs::metadata(path)?))
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        let changed_ns = found.ctime().saturating_mul(1_000_000_000).saturating_add(found.ctime_nsec());
        let modified_ns = nanoseconds(found.modified().ok());
        Self { size: found.len(), modified_ns, changed_ns, inode: found.ino() }
    }
}

/// Which folder is at a path: another one, or the empty place of a share that is not mounted, is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// The folder at `path`, if there is one.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
        Some(Self { device: found.dev(), inode: found.ino() })
    }
}

/// Something that is here and is not sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOut {
    /// Whose it is, if that is known.
    pub societe: Option<String>,
    /// Its name; none if it is the whole folder.
    pub filename: Option<String>,
    /// Where it is.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    /// Files to send, in order.
    pub files: Vec<LocalFile>,
    /// What is left out.
    pub left_out: Vec<LeftOut>,
}

impl Collected {
    /// Whether a file missing from the listing is really absent: it may be in a place that could not be read.
    pub(crate) fn knows_absent(&self, societe: &str, filename: &str) -> bool {
        self.left_out.iter().all(|left| match (&left.societe, &left.filename) {
            (None, None) => false,
            (None, Some(_)) => true,
            (Some(whose), None) => whose != societe,
            (Some(whose), Some(name)) => whose != societe || name != filename,
        })
    }

    /// Whether the whole folder of a société was looked at.
    pub(crate) fn knows_all_of(&self, societe: &str) -> bool {
        let whole = self.left_out.iter().filter(|left| left.filename.is_none());
        whole.map(|left| left.societe.as_deref()).all(|whose| whose.is_some_and(|whose| whose != societe))
    }

    fn leave_out(
        &mut self,
        societe: Option<&str>,
        filename: Option<&str>,
        path: &Path,
        reason: impl std::fmt::Display,
    ) {
        let owned = |text: Option<&str>| text.map(names::normalised);
        let (societe, filename, reason) = (owned(societe), owned(filename), reason.to_string());
        self.left_out.push(LeftOut { societe, filename, path: path.to_owned(), reason });
    }
}

fn nanoseconds(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

/// The files that `paths` name. A folder stands for the JSON files in it; without `societe`, for those in its
/// subfolders, each of which is named after its société. What cannot be sent is left out, and said.
///
/// # Errors
/// [`ClientError`] if the only path cannot be read, a file's société is not known, or two paths name the same file.
pub(crate) fn collect(paths: &[PathBuf], societe: Option<&str>) -> Result<Collected, ClientError> {
    let mut found = Collected::default();
    for path in paths {
        match (std::fs::metadata(path), societe) {
            (Err(error), _) if paths.len() == 1 => return Err(ClientError::local(path, error)),
            (Err(error), societe) => found.leave_out(societe, None, path, error),
            (Ok(it), Some(societe)) if it.is_dir() => collect_folder(path, societe, &mut found)?,
            (Ok(it), None) if it.is_dir() => collect_societes(path, &mut found)?,
            (Ok(it), Some(societe)) => add(path, societe, &it, &mut found)?,
            (Ok(_), None) => {
                return Err(ClientError::local(path, "name the société of this file with --societe"));
            }
        }
    }
    found.files.sort_by(|a, b| (&a.societe, &a.filename, &a.path).cmp(&(&b.societe, &b.filename, &b.path)));
    one_of_each(found)
}

/// Two forms of one name in one folder are one file, and the composed form counts; two folders with the same file are
/// a mistake in the call.
fn one_of_each(mut found: Collected) -> Result<Collected, ClientError> {
    let mut kept: Vec<LocalFile> = Vec::with_capacity(found.files.len());
    for file in std::mem::take(&mut found.files) {
        let twin = kept.pop_if(|other| other.societe == file.societe && other.filename == file.filename);
        if let Some(other) = twin {
            let form = |path: &Path| names::normalised(&path.to_string_lossy());
            if form(&other.path) != form(&file.path) {
                let reason = format!(
                    "would be the same file on the server as {}; give only one",
                    other.path.display()
                );
                return Err(ClientError::local(&file.path, reason));
            }
            // The composed form sorts after the others.
            let reason = "the same name is there in another Unicode form; keep one of them";
            found.leave_out(Some(&other.societe), Some(&other.filename), &other.path, reason);
        }
        kept.push(file);
    }
    found.files = kept;
    Ok(found)
}

fn collect_societes(folder: &Path, found: &mut Collected) -> Result<(), ClientError> {
    let Some(entries) = entries(folder, None, found) else { return Ok(()) };
    for path in entries {
        let name = name_of(&path);
        match (std::fs::metadata(&path), name) {
            (Ok(it), Some(name)) if it.is_dir() && names::has_control(name) => {
                found.leave_out(Some(name), None, &path, CONTROL);
            }
            (Ok(it), Some(name)) if it.is_dir() => {
                collect_folder(&path, &names::normalised(name), found)?;
            }
            (Ok(it), _) if it.is_file() && is_json(&path) => {
                let reason = "lies directly in the folder, so its société is not known; name it with --societe, or \
                              put it into the subfolder of its société";
                found.leave_out(None, Some(&path.to_string_lossy()), &path, reason);
            }
            (Ok(it), None) if it.is_dir() => found.leave_out(None, Some("?"), &path, NOT_UTF8),
            (Err(error), name) => left_by_error(None, name, &path, &error, found),
            _ => {}
        }
    }
    Ok(())
}

fn collect_folder(folder: &Path, societe: &str, found: &mut Collected) -> Result<(), ClientError> {
    let Some(entries) = entries(folder, Some(societe), found) else { return Ok(()) };
    for path in entries {
        if is_json(&path) {
            match std::fs::metadata(&path) {
                Ok(it) => add(&path, societe, &it, found)?,
                Err(error) => left_by_error(Some(societe), name_of(&path), &path, &error, found),
            }
        } else if let Some(deep) = first_json_below(&path) {
            let name = deep.strip_prefix(folder).unwrap_or(&deep).to_string_lossy().into_owned();
            found.leave_out(Some(societe), Some(&name), &deep, TOO_DEEP);
        }
    }
    Ok(())
}

/// A JSON file somewhere in a folder, if `path` is one: the first of the first [`BELOW_MAX`] entries, by folders.
fn first_json_below(path: &Path) -> Option<PathBuf> {
    let mut folders = VecDeque::from([path.to_owned()]);
    let mut seen = 0;
    while let Some(folder) = folders.pop_front() {
        // What is no folder, or cannot be listed, has nothing that could be named. Links are not followed.
        let is_folder = std::fs::symlink_metadata(&folder).is_ok_and(|it| it.is_dir());
        let Some(listed) = is_folder.then(|| std::fs::read_dir(&folder).ok()).flatten() else { continue };
        let mut paths: Vec<PathBuf> =
            listed.take(BELOW_MAX - seen).filter_map(|entry| Some(entry.ok()?.path())).collect();
        seen += paths.len();
        paths.retain(|path| !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")));
        paths.sort();
        if let Some(found) = paths.iter().find(|path| is_json(path)) {
            return Some(found.clone());
        }
        folders.extend(paths);
    }
    None
}

/// Something that was listed and cannot be looked at: removed since, a link that leads nowhere, or not ours to see.
/// In a folder of sociétés its name is that of a société.
fn left_by_error(
    societe: Option<&str>,
    name: Option<&str>,
    path: &Path,
    error: &std::io::Error,
    found: &mut Collected,
) {
    let is_there = std::fs::symlink_metadata(path).is_ok();
    let reason = match (error.kind(), is_there) {
        (std::io::ErrorKind::NotFound, false) => return,
        (std::io::ErrorKind::NotFound, true) => "is a link that leads nowhere".to_owned(),
        _ => error.to_string(),
    };
    match societe {
        Some(_) => found.leave_out(societe, Some(name.unwrap_or("?")), path, reason),
        None => found.leave_out(name, None, path, reason),
    }
}

fn add(path: &Path, societe: &str, it: &Metadata, found: &mut Collected) -> Result<(), ClientError> {
    let Some(name) = name_of(path) else {
        found.leave_out(Some(societe), Some(&path.to_string_lossy()), path, NOT_UTF8);
        return Ok(());
    };
    if !it.is_file() {
        found.leave_out(Some(societe), Some(name), path, "is not a file");
        return Ok(());
    }
    if names::has_control(name) {
        found.leave_out(Some(societe), Some(name), path, CONTROL);
        return Ok(());
    }
    if found.files.len() >= FILES_MAX {
        return Err(ClientError::local(path, format!("there are more than {FILES_MAX} files; send parts")));
    }
    let (societe, filename) = (names::normalised(societe), names::normalised(name));
    found.files.push(LocalFile { societe, filename, path: path.to_owned(), stamp: Stamp::from(it) });
    Ok(())
}

/// What is in a folder, without what is hidden; nothing, with the reason noted, if it cannot be listed.
fn entries(folder: &Path, societe: Option<&str>, found: &mut Collected) -> Option<Vec<PathBuf>> {
    let listed = std::fs::read_dir(folder).and_then(|entries| {
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    });
    listed.map_err(|error| found.leave_out(societe, None, folder, error)).ok()
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// The SHA-256 of a file in lower-case hexadecimal.
pub(crate) fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// The SHA-256 of bytes in lower-case hexadecimal.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The contents of a file to send.
///
/// # Errors
/// [`ClientError::Local`] if it cannot be read or is too large to be sent.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    let wrong = |e| ClientError::local(path, e);
    let file = File::open(path).map_err(wrong)?;
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content).map_err(wrong)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(ClientError::local(path, format!("is larger than {FILE_BYTES_MAX} bytes; split it")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        folder
    }

    fn names(found: &Collected) -> Vec<String> {
        found.files.iter().map(|file| format!("{}/{}", file.societe, file.filename)).collect()
    }

    #[test]
    fn subfolders_are_societes() {
        let top =
            folder(&["rsp-bgs/b.json", "rsp-bgs/a.JSON", "rsp-sb/c.json", "rsp-sb/.c.part.json", "n.txt"]);
        let found = collect(&[top.path().into()], None).unwrap();
        assert_eq!(names(&found), ["rsp-bgs/a.JSON", "rsp-bgs/b.json", "rsp-sb/c.json"]);
    }

    #[test]
    fn a_folder_with_a_societe_is_its_files() {
        let top = folder(&["a.json", "deeper/b.json"]);
        let found = collect(&[top.path().into()], Some("s")).unwrap();
        assert_eq!(names(&found), ["s/a.json"]);
    }

    #[test]
    fn what_lies_too_deep_is_named_once_a_folder() {
        let top = folder(&["s/a.json", "s/deep/b/c.json", "s/deep/b/d.json", "s/other/n.txt", "s/.h/e.json"]);
        let found = collect(&[top.path().into()], None).unwrap();
        assert_eq!(names(&found), ["s/a.json"]);
        let left: Vec<_> = found.left_out.iter().map(|left| left.filename.as_deref().unwrap()).collect();
        assert_eq!(left, ["deep/b/c.json"], "what has no JSON files, or is hidden, is nobody's concern");
    }

    #[test]
    fn a_file_whose_societe_is_not_known_is_not_silently_left_out() {
        let top = folder(&["a.json", "s/b.json"]);
        let found = collect(&[top.path().into()], None).unwrap();
        assert_eq!(names(&found), ["s/b.json"], "the others go on");
        let left = &found.left_out[0];
        assert!(left.path.ends_with("a.json") && left.reason.contains("--societe"), "{left:?}");
        let error = collect(&[top.path().join("a.json")], None).unwrap_err().to_string();
        assert!(error.contains("--societe"), "{error}");
    }

    #[test]
    fn two_files_that_would_overwrite_each_other_are_refused() {
        let top = folder(&["x/a.json", "y/a.json"]);
        let both = [top.path().join("x"), top.path().join("y")];
        assert!(collect(&both, Some("s")).unwrap_err().to_string().contains("same file"));
    }

    #[test]
    fn one_bad_thing_does_not_hide_the_good_ones_and_is_not_taken_for_gone() {
        use std::os::unix::ffi::OsStrExt as _;
        let top = folder(&["s/good.json", "s/folder.json/x.txt", "s/e\u{301}.json", "s/\u{e9}.json"]);
        std::os::unix::fs::symlink("nowhere", top.path().join("s/link.json")).unwrap();
        std::os::unix::fs::symlink("nowhere", top.path().join("away")).unwrap();
        std::fs::write(top.path().join("s").join(std::ffi::OsStr::from_bytes(b"\xe9.json")), "{}").unwrap();
        let found = collect(&[top.path().into()], None).unwrap();
        assert_eq!(names(&found), ["s/good.json", "s/\u{e9}.json"]);
        assert_eq!(found.left_out.len(), 5, "{:?}", found.left_out);
        assert!(!found.knows_absent("s", "link.json") && !found.knows_absent("s", "folder.json"));
        assert!(!found.knows_absent("away", "any.json"), "the folder of a société leads nowhere just now");
        assert!(found.knows_absent("s", "removed.json"));
    }

    #[test]
    fn a_name_with_a_control_character_is_left_out_and_named() {
        let top = folder(&["p\nq/a.json", "s/t\tu.json", "s/v.json"]);
        let found = collect(&[top.path().into()], None).unwrap();
        assert_eq!(names(&found), ["s/v.json"]);
        let left: Vec<_> =
            found.left_out.iter().map(|l| (l.societe.as_deref(), l.filename.as_deref())).collect();
        assert_eq!(left, [(Some("p\nq"), None), (Some("s"), Some("t\tu.json"))]);
    }

    #[test]
    fn a_file_that_was_replaced_by_one_of_the_same_size_and_time_has_another_stamp() {
        let top = folder(&["a.json", "b.json"]);
        let (a, b) = (top.path().join("a.json"), top.path().join("b.json"));
        let (before, time) = (Stamp::of(&a).unwrap(), std::fs::metadata(&a).unwrap().modified().unwrap());
        std::fs::write(&b, "[]").unwrap();
        File::options().write(true).open(&b).unwrap().set_modified(time).unwrap();
        std::fs::rename(&b, &a).unwrap();
        let after = Stamp::of(&a).unwrap();
        assert_eq!((before.size, before.modified_ns), (after.size, after.modified_ns));
        assert_ne!(before, after);
    }

    #[test]
    fn hashes_are_those_everyone_computes() {
        let top = folder(&["a.json"]);
        let expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(hash_file(&top.path().join("a.json")).unwrap(), expected);
        assert_eq!(hash_bytes(b"{}"), expected);
    }
}
