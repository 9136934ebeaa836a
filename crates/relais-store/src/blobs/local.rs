//! Blobs in a folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{BlobError, Blobs, check_name};
use crate::private;

/// Before this age a blob may still wait for the row that refers to it.
const SETTLED: Duration = Duration::from_secs(3600);
/// Blobs that one listing returns at most; the rest is listed next time.
const LIST_MAX: usize = 100_000;

/// Blobs in a folder: `ab/cd/abcd…`, each written beside its place, synced and renamed into it.
#[derive(Clone, Debug)]
pub struct LocalBlobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    base: PathBuf,
    next: AtomicU64,
}

impl LocalBlobs {
    /// Opens the folder, creating it if it is missing, and removes what an interrupted `put` left. Blocks.
    ///
    /// # Errors
    /// Why the folder cannot be used.
    pub fn open(base: &Path) -> io::Result<Self> {
        let staging = base.join("staging");
        private::own_folder(base)?;
        private::create_folder(&staging)?;
        for left in fs::read_dir(&staging)? {
            fs::remove_file(left?.path())?;
        }
        sync_dir(base)?;
        let shared = Shared { base: base.to_owned(), next: AtomicU64::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        sha256: &str,
        work: impl FnOnce(&Shared, &str) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        check_name(sha256)?;
        let (shared, name) = (Arc::clone(&self.shared), sha256.to_owned());
        let done = tokio::task::spawn_blocking(move || work(&shared, &name));
        done.await.map_err(|e| BlobError::Io(io::Error::other(e)))?
    }
}

impl Blobs for LocalBlobs {
    async fn put(&self, sha256: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.blocking(sha256, move |shared, name| Ok(shared.put(name, &bytes)?)).await
    }

    async fn get(&self, sha256: &str) -> Result<Option<Vec<u8>>, BlobError> {
        self.blocking(sha256, |shared, name| match fs::read(shared.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
            Ok(bytes) if hex::encode(Sha256::digest(&bytes)) == name => Ok(Some(bytes)),
            Ok(_) => Err(BlobError::Damaged(name.to_owned())),
        })
        .await
    }

    async fn delete(&self, sha256: &str) -> Result<(), BlobError> {
        self.blocking(sha256, |shared, name| match fs::remove_file(shared.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        })
        .await
    }

    async fn list_settled(&self) -> Result<Vec<String>, BlobError> {
        let shared = Arc::clone(&self.shared);
        let listed = tokio::task::spawn_blocking(move || shared.list(SETTLED));
        Ok(listed.await.map_err(|e| BlobError::Io(io::Error::other(e)))??)
    }
}

impl Shared {
    fn path(&self, name: &str) -> PathBuf {
        self.base.join(&name[..2]).join(&name[2..4]).join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.path(name);
        if place.metadata().is_ok_and(|found| found.len() == bytes.len() as u64) {
            // Young again: a collection that is under way leaves it to the row that is about to refer to it.
            return File::options().write(true).open(&place)?.set_modified(now());
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.base.join("staging").join(number.to_string());
        let written = write_synced(&temporary, bytes).and_then(|()| self.place(&temporary, &place));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn place(&self, temporary: &Path, place: &Path) -> io::Result<()> {
        let (Some(inner), Some(outer)) = (place.parent(), place.parent().and_then(Path::parent)) else {
            return Err(io::Error::other("a blob has a place two folders deep"));
        };
        if !inner.is_dir() {
            private::create_folder(inner)?;
            sync_dir(outer)?;
            sync_dir(&self.base)?;
        }
        fs::rename(temporary, place)?;
        sync_dir(inner)
    }

    fn list(&self, age: Duration) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for outer in fs::read_dir(&self.base)? {
            let outer = outer?.path();
            if outer.ends_with("staging") || !outer.is_dir() {
                continue;
            }
            for inner in fs::read_dir(outer)? {
                for file in fs::read_dir(inner?.path())? {
                    let file = file?;
                    let old = file.metadata()?.modified()?.elapsed().is_ok_and(|since| since >= age);
                    if let (true, Ok(name)) = (old, file.file_name().into_string()) {
                        names.push(name);
                    }
                    if names.len() >= LIST_MAX {
                        return Ok(names);
                    }
                }
            }
        }
        Ok(names)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with times that the file system gives, not with ours"
)]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private::create_file(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, LocalBlobs, String) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = LocalBlobs::open(dir.path()).unwrap();
        (dir, blobs, hex::encode(Sha256::digest(b"content")))
    }

    #[tokio::test]
    async fn a_blob_is_put_once_read_back_and_deleted() {
        let (_dir, blobs, name) = blobs();
        assert_eq!(blobs.get(&name).await.unwrap(), None);
        blobs.put(&name, Bytes::from_static(b"content")).await.unwrap();
        blobs.put(&name, Bytes::from_static(b"content")).await.unwrap();
        assert_eq!(blobs.get(&name).await.unwrap().unwrap(), b"content");
        blobs.delete(&name).await.unwrap();
        blobs.delete(&name).await.unwrap();
        assert_eq!(blobs.get(&name).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_young_blob_is_not_listed_for_collection() {
        let (_dir, blobs, name) = blobs();
        blobs.put(&name, Bytes::from_static(b"content")).await.unwrap();
        assert!(blobs.list_settled().await.unwrap().is_empty());
        assert_eq!(blobs.shared.list(Duration::ZERO).unwrap(), [name]);
    }

    #[tokio::test]
    async fn a_damaged_blob_is_not_given_out() {
        let (_dir, blobs, name) = blobs();
        blobs.put(&name, Bytes::from_static(b"content")).await.unwrap();
        fs::write(blobs.shared.path(&name), b"c0ntent").unwrap();
        assert!(matches!(blobs.get(&name).await, Err(BlobError::Damaged(_))));
    }

    #[tokio::test]
    async fn a_name_that_is_no_hash_reaches_no_path() {
        let (_dir, blobs, _) = blobs();
        assert!(matches!(blobs.get("../../etc/passwd").await, Err(BlobError::Name(_))));
    }

    #[test]
    fn what_an_interrupted_put_left_is_removed_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        LocalBlobs::open(dir.path()).unwrap();
        fs::write(dir.path().join("staging/0"), b"half").unwrap();
        LocalBlobs::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
    }
}
