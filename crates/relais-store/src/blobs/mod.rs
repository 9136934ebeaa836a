//! Contents that are too large for a row.
//!
//! A blob is named by the SHA-256 of its bytes, so putting it twice is putting it once, and what is read can
//! be checked. Rows refer to blobs by that name; a blob without a row is garbage that its owner collects.

mod local;

use bytes::Bytes;
use std::future::Future;

pub use local::LocalBlobs;

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The name is not a SHA-256 in lower-case hexadecimal digits.
    #[error("{0:?} is not the name of a blob: 64 lower-case hexadecimal digits are expected")]
    Name(String),
    /// The bytes do not have this hash: the disk changed them.
    #[error("the blob {0} is damaged: restore it from a backup")]
    Damaged(String),
    /// What the disk or the network reports.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A place for blobs.
///
/// `put` returns when the bytes survive a power cut. Several callers may put and get the same blob at once.
pub trait Blobs: Send + Sync + 'static {
    /// Stores `bytes` under their hash. Nothing happens if they are stored already.
    fn put(&self, sha256: &str, bytes: Bytes) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// The bytes with this hash, checked; nothing if they are not stored.
    fn get(&self, sha256: &str) -> impl Future<Output = Result<Option<Vec<u8>>, BlobError>> + Send;

    /// Removes a blob; nothing happens if it is not stored.
    fn delete(&self, sha256: &str) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// The blobs that have been stored for at least an hour: a younger one may still wait for the row that
    /// refers to it.
    fn list_settled(&self) -> impl Future<Output = Result<Vec<String>, BlobError>> + Send;
}

fn check_name(name: &str) -> Result<(), BlobError> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if name.len() == 64 && name.bytes().all(is_hex) { Ok(()) } else { Err(BlobError::Name(name.to_owned())) }
}
