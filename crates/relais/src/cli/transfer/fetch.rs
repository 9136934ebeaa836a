//! The download of one file: continued where it was cut, checked, and put in place at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt;

use super::state::Kept;
use super::summary::Item;
use crate::cli::client::folder::{self, Stamp};
use crate::cli::client::{ClientError, Remote};

/// A download on which nothing arrives for this long is cut, and continued.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// The largest file that is taken.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What was downloaded.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The hash of the content, which is newer than the one asked for if the file changed meanwhile.
    pub sha256: String,
    /// The stamp of the local file.
    pub stamp: Stamp,
}

/// Downloads `item` into `folder`. None if the server does not have it any more.
///
/// What arrived before a connection broke is kept beside the target under a hidden name that belongs to this
/// content only, and the next attempt continues it.
///
/// # Errors
/// [`ClientError`]; the target is then what it was.
pub(crate) async fn fetch(
    remote: &Remote,
    folder: &Path,
    item: &Item,
    kept: &Kept,
) -> Result<Option<Fetched>, ClientError> {
    let folder = folder.join(&item.societe);
    let (part, target) = (part_of(&folder, item, kept), folder.join(&item.filename));
    let local = |e| ClientError::local(&target, e);
    fs::create_dir_all(&folder).await.map_err(local)?;
    let Some((answer, from)) = open(remote, item, kept, &part).await? else { return Ok(None) };
    let expected = hash_of(&answer).unwrap_or_else(|| kept.sha256.clone());
    receive(remote, answer, &part, from).await?;
    let place = part.clone();
    let hashed = tokio::task::spawn_blocking(move || folder::hash_file(&place)).await;
    let sha256 = hashed.map_err(std::io::Error::other).flatten().map_err(local)?;
    if sha256 != expected {
        fs::remove_file(&part).await.map_err(local)?;
        let reason = "the content does not have the hash that the server announced; run it again".to_owned();
        return Err(ClientError::Unexpected { place: item.shown(), reason });
    }
    fs::rename(&part, &target).await.map_err(local)?;
    Ok(Some(Fetched { sha256, stamp: Stamp::of(&target).map_err(local)? }))
}

/// The place of an unfinished download, named after the file and its content, of fixed length.
fn part_of(folder: &Path, item: &Item, kept: &Kept) -> PathBuf {
    let name = folder::hash_bytes(format!("{}\n{}", item.filename, kept.sha256).as_bytes());
    folder.join(format!(".{}.part", &name[..32]))
}

/// Asks for what is missing. Gives the answer and the byte it begins at.
async fn open(
    remote: &Remote,
    item: &Item,
    kept: &Kept,
    part: &Path,
) -> Result<Option<(Response, u64)>, ClientError> {
    let have = fs::metadata(part).await.map_or(0, |found| found.len());
    let from = (have > 0 && have < kept.size).then_some((have, kept.sha256.as_str()));
    let mut outcome = remote.download(&item.societe, &item.filename, from).await;
    if outcome.as_ref().is_err_and(|e| e.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE)) {
        outcome = remote.download(&item.societe, &item.filename, None).await;
    }
    match outcome {
        Ok(answer) if answer.status() == StatusCode::PARTIAL_CONTENT => Ok(Some((answer, have))),
        Ok(answer) => Ok(Some((answer, 0))),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the answer to `part` from byte `from` on, durably.
async fn receive(remote: &Remote, mut answer: Response, part: &Path, from: u64) -> Result<(), ClientError> {
    let local = |e| ClientError::local(part, e);
    let mut file = start(part, from).await.map_err(local)?;
    let mut length = from;
    loop {
        let piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()).await;
        let piece = piece.map_err(|_| remote.silent()).and_then(|p| p.map_err(|e| remote.unreachable(&e)));
        match piece {
            Ok(Some(piece)) => {
                length += piece.len() as u64;
                if length > FILE_BYTES_MAX {
                    return Err(ClientError::local(
                        part,
                        format!("more than {FILE_BYTES_MAX} bytes arrived"),
                    ));
                }
                file.write_all(&piece).await.map_err(local)?;
            }
            Ok(None) => return file.sync_data().await.map_err(local),
            Err(error) => {
                // What arrived has to be in the file for the next attempt to count it.
                file.flush().await.map_err(local)?;
                return Err(error);
            }
        }
    }
}

async fn start(part: &Path, from: u64) -> std::io::Result<File> {
    if from > 0 {
        return OpenOptions::new().append(true).open(part).await;
    }
    File::create(part).await
}

/// The content hash in a strong ETag: `"<sha256>"`, with a suffix when the transfer was compressed.
fn hash_of(answer: &Response) -> Option<String> {
    let tag = answer.headers().get(header::ETAG)?.to_str().ok()?;
    let hash = tag.strip_prefix('"')?.get(..64)?;
    hash.bytes().all(|b| b.is_ascii_hexdigit()).then(|| hash.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Stop;
    use crate::cli::client::stub::{Stub, answer};

    const CONTENT: &str = r#"{"a":[1,2,3]}"#;

    fn asked(content: &str) -> (Item, Kept) {
        let sha256 = folder::hash_bytes(content.as_bytes());
        (Item::new("s", "a.json"), Kept { sha256, size: content.len() as u64, ..Kept::default() })
    }

    fn etag(content: &str) -> String {
        format!("ETag: \"{}\"\r\n", folder::hash_bytes(content.as_bytes()))
    }

    /// The head of a whole answer, and only the first bytes of its body.
    fn cut(content: &str, at: usize) -> String {
        let whole = answer("200 OK", &etag(content), content);
        whole[..whole.len() - content.len() + at].to_owned()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join("s")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_download_that_was_cut_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let (item, kept) = asked(CONTENT);
        let rest = answer("206 Partial Content", &etag(CONTENT), &CONTENT[5..]);
        let stub = Stub::start(vec![cut(CONTENT, 5), rest]).await;
        let (remote, stop) = (stub.remote(3), Stop::default());
        let fetched = remote.retrying(&stop, || fetch(&remote, folder.path(), &item, &kept)).await;
        assert_eq!(fetched.unwrap().unwrap().sha256, kept.sha256);
        assert_eq!(std::fs::read_to_string(folder.path().join("s/a.json")).unwrap(), CONTENT);
        assert_eq!(names(folder.path()), ["a.json"], "nothing is left beside it");
        let requests = stub.requests();
        assert!(!requests[0].contains("range:"), "{requests:?}");
        assert!(requests[1].contains("\r\nrange: bytes=5-\r\n"), "{requests:?}");
        assert!(requests[1].contains(&format!("\r\nif-range: \"{}\"\r\n", kept.sha256)), "{requests:?}");
    }

    #[tokio::test]
    async fn a_file_that_changed_meanwhile_is_taken_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (item, kept) = asked(CONTENT);
        let newer = r#"{"b":0}"#;
        let stub = Stub::start(vec![cut(CONTENT, 5), answer("200 OK", &etag(newer), newer)]).await;
        let (remote, stop) = (stub.remote(3), Stop::default());
        let fetched = remote.retrying(&stop, || fetch(&remote, folder.path(), &item, &kept)).await;
        assert_eq!(fetched.unwrap().unwrap().sha256, folder::hash_bytes(newer.as_bytes()));
        assert_eq!(std::fs::read_to_string(folder.path().join("s/a.json")).unwrap(), newer);
    }

    #[tokio::test]
    async fn content_that_is_not_what_was_announced_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("s")).unwrap();
        std::fs::write(folder.path().join("s/a.json"), "old").unwrap();
        let (item, kept) = asked(CONTENT);
        let stub = Stub::start(vec![answer("200 OK", &etag(CONTENT), r#"{"a":[1,2,4]}"#)]).await;
        let error = fetch(&stub.remote(0), folder.path(), &item, &kept).await.unwrap_err().to_string();
        assert!(error.contains("hash"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("s/a.json")).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.json"]);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (item, kept) = asked(CONTENT);
        let stub = Stub::start(vec![answer("404 Not Found", "", "{}")]).await;
        assert!(fetch(&stub.remote(0), folder.path(), &item, &kept).await.unwrap().is_none());
    }
}
