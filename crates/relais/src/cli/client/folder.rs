//! Files on this computer: which ones belong to which société, and the hash of their contents.

use std::fs::File;
use std::io::Read;
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

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalFile {
    /// Whose it is.
    pub societe: String,
    /// Its name on the server.
    pub filename: String,
    /// Where it is.
    pub path: PathBuf,
    /// What tells whether it changed without reading it.
    pub stamp: Stamp,
}

/// Size and time of the last change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970, 0 if the file system does not say.
    pub modified_ns: i64,
}

impl Stamp {
    /// The stamp of a file that exists.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self { size: found.len(), modified_ns: nanoseconds(found.modified().ok()) })
    }
}

fn nanoseconds(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0))
}

/// The files that `paths` name. A folder stands for the JSON files in it; without `societe`, for those in its
/// subfolders, each of which is named after its société.
///
/// # Errors
/// [`ClientError`] if a path cannot be read or its société is not known.
pub(crate) fn collect(paths: &[PathBuf], societe: Option<&str>) -> Result<Vec<LocalFile>, ClientError> {
    let mut files = Vec::new();
    for path in paths {
        let found = std::fs::metadata(path).map_err(|e| ClientError::local(path, e))?;
        match (found.is_dir(), societe) {
            (true, Some(societe)) => collect_folder(path, societe, &mut files)?,
            (true, None) => collect_societes(path, &mut files)?,
            (false, Some(societe)) => files.push(one(path, societe)?),
            (false, None) => {
                return Err(ClientError::local(path, "name the société of this file with --societe"));
            }
        }
    }
    files.sort_by(|a, b| (&a.societe, &a.filename).cmp(&(&b.societe, &b.filename)));
    match files.windows(2).find(|two| two[0].societe == two[1].societe && two[0].filename == two[1].filename)
    {
        Some(two) => Err(ClientError::local(
            &two[1].path,
            format!("would be the same file on the server as {}; give only one", two[0].path.display()),
        )),
        None => Ok(files),
    }
}

fn collect_societes(folder: &Path, files: &mut Vec<LocalFile>) -> Result<(), ClientError> {
    for entry in entries(folder)? {
        if is_json(&entry) && entry.is_file() {
            return Err(ClientError::local(
                entry,
                "lies directly in the folder, so its société is not known; name it with --societe, or give \
                 a folder whose subfolders are sociétés",
            ));
        }
        if entry.is_dir() {
            let societe = names::normalised(name_of(&entry)?);
            collect_folder(&entry, &societe, files)?;
        }
    }
    Ok(())
}

fn collect_folder(folder: &Path, societe: &str, files: &mut Vec<LocalFile>) -> Result<(), ClientError> {
    for entry in entries(folder)? {
        if is_json(&entry) && entry.is_file() {
            if files.len() >= FILES_MAX {
                return Err(ClientError::local(
                    folder,
                    format!("has more than {FILES_MAX} files; send parts"),
                ));
            }
            match one(&entry, societe) {
                Ok(file) => files.push(file),
                // Removed between listing and looking: it is simply not there.
                Err(_) if !entry.exists() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// What is in a folder, without what is hidden.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, ClientError> {
    let wrong = |e| ClientError::local(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn one(path: &Path, societe: &str) -> Result<LocalFile, ClientError> {
    let stamp = Stamp::of(path).map_err(|e| ClientError::local(path, e))?;
    let filename = names::normalised(name_of(path)?);
    Ok(LocalFile { societe: names::normalised(societe), filename, path: path.to_owned(), stamp })
}

fn name_of(path: &Path) -> Result<&str, ClientError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| ClientError::local(path, "the name is not valid UTF-8; rename it"))
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

    fn names(files: &[LocalFile]) -> Vec<String> {
        files.iter().map(|file| format!("{}/{}", file.societe, file.filename)).collect()
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
    fn a_file_whose_societe_is_not_known_is_not_silently_left_out() {
        let top = folder(&["a.json", "s/b.json"]);
        let error = collect(&[top.path().into()], None).unwrap_err().to_string();
        assert!(error.contains("a.json") && error.contains("--societe"), "{error}");
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
    fn hashes_are_those_everyone_computes() {
        let top = folder(&["a.json"]);
        let expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(hash_file(&top.path().join("a.json")).unwrap(), expected);
        assert_eq!(hash_bytes(b"{}"), expected);
    }
}
