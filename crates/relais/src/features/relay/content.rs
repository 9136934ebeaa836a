//! Contents: from memory, from the folder, from the database, plain or compressed.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use relais_store::blobs::Blobs as _;
use relais_store::packs::Place;

use super::Relay;
use super::change::Content;
use super::error::RelayError;
use super::in_use::InUse;
use super::model::{FileMeta, sha256_hex};
use super::name::{FileName, SocieteName};
use super::plain_file::Found;
use super::store::{self, Kept};

/// A content larger than this share of the cache is not kept in it.
const CACHE_SHARE: u64 = 8;

/// How often a content may be moved during a lookup.
const MOVES_MAX: usize = 3;

/// Below this size compression gains nothing worth its header.
pub const COMPRESS_BYTES_MIN: usize = 1024;

/// How a content is encoded for the wire (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// Unencoded.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// The token in `Accept-Encoding` and `Content-Encoding`.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// Recently requested contents, by hash and coding, bounded in bytes.
pub struct Cache {
    entries: quick_cache::sync::Cache<(Arc<str>, Coding), Bytes, Bytewise>,
    entry_bytes_max: u64,
    /// Those too large for it, while they are being sent.
    in_use: InUse,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<(Arc<str>, Coding), Bytes> for Bytewise {
    fn weight(&self, _key: &(Arc<str>, Coding), value: &Bytes) -> u64 {
        value.len() as u64 + 200
    }
}

impl Cache {
    /// A cache of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let expected = usize::try_from(bytes_max / 16_384).unwrap_or(1024).clamp(16, 100_000);
        Self {
            entries: quick_cache::sync::Cache::with_weighter(expected, bytes_max, Bytewise),
            entry_bytes_max: bytes_max / CACHE_SHARE,
            in_use: InUse::new(),
        }
    }

    fn get(&self, key: &(Arc<str>, Coding)) -> Option<Bytes> {
        self.entries.get(key).or_else(|| self.in_use.get(key))
    }

    /// The content to be sent.
    fn keep(&self, key: (Arc<str>, Coding), content: Bytes) -> Bytes {
        if self.is_large(content.len()) {
            return self.in_use.share(key, content);
        }
        self.entries.insert(key, content.clone());
        content
    }

    fn is_large(&self, size: usize) -> bool {
        size as u64 > self.entry_bytes_max
    }

    /// The result of `make`, unless the content is already being sent to another client. Large ones are made one at a
    /// time.
    async fn get_or<E>(
        &self,
        key: (Arc<str>, Coding),
        size: usize,
        make: impl Future<Output = Result<Bytes, E>>,
    ) -> Result<Bytes, E> {
        if let Some(content) = self.get(&key) {
            return Ok(content);
        }
        let turn = if self.is_large(size) { self.in_use.turn().await } else { None };
        if turn.is_some()
            && let Some(content) = self.get(&key)
        {
            return Ok(content);
        }
        Ok(self.keep(key, make.await?))
    }
}

impl Relay {
    /// The current content of a file and its metadata. A recent change by another program is stored first; if it is not
    /// accepted, the last valid content is returned.
    ///
    /// # Errors
    /// [`RelayError::NoFile`], or an error of the disk or the database.
    pub async fn content(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<(Arc<FileMeta>, Bytes), RelayError> {
        let ledger = &self.0.ledger;
        if ledger.is_unplaced(societe, filename)
            && let Err(error) = self.bring_up_to_date(societe, filename).await
        {
            return self.content_of_row(societe, filename, error).await;
        }
        let mut known = ledger.index.file(societe, filename);
        if !ledger.index.is_changing(societe, filename) {
            // A stat of a path in the kernel's cache costs less than a hop to the blocking pool.
            let as_stored =
                known.as_ref().is_some_and(|meta| ledger.folder.is_surely(societe, filename, meta.stat()));
            if !as_stored {
                self.reconcile_file(societe, filename).await?;
                known = ledger.index.file(societe, filename);
            }
        }
        let meta = known.ok_or(RelayError::NoFile)?;
        let key = (Arc::clone(&meta.sha256), Coding::Identity);
        let size = usize::try_from(meta.size).unwrap_or(usize::MAX);
        let content = self.0.cache.get_or(key, size, self.load(societe, &meta)).await?;
        Ok((meta, content))
    }

    /// From the folder if it holds the expected content, else from the database. A stat proves nothing: the hash of
    /// every content served is computed.
    async fn load(&self, societe: &SocieteName, meta: &Arc<FileMeta>) -> Result<Bytes, RelayError> {
        let (folder, max) = (Arc::clone(&self.0.ledger.folder), self.0.config.file_bytes_max);
        let (name, wanted) = (societe.clone(), Arc::clone(meta));
        let found = tokio::task::spawn_blocking(move || {
            let found = folder.read(&name, &wanted.filename, max);
            match found {
                Ok(Found::Content(_, bytes)) if is_whole(&bytes, &wanted.sha256) => Some(bytes),
                // Whatever is wrong with the plain file, the database has the content.
                _ => None,
            }
        });
        match found.await.map_err(|e| RelayError::Io(e.into()))? {
            Some(bytes) => Ok(bytes.into()),
            None => self.stored_content(societe, &meta.filename, meta.version).await,
        }
    }

    /// The content of a kept version, to be sent, and its hash.
    ///
    /// # Errors
    /// As [`stored_content`](Self::stored_content).
    pub async fn version(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        version: u64,
    ) -> Result<(Arc<str>, Bytes), RelayError> {
        // One at a time as well: its hash is known only once it is read.
        let _turn = self.0.cache.in_use.turn().await;
        let content = self.stored_content(societe, filename, version).await?;
        let sha256: Arc<str> = sha256_hex(&content).into();
        let content = self.0.cache.keep((Arc::clone(&sha256), Coding::Identity), content);
        Ok((sha256, content))
    }

    /// The content according to the database, if the folder cannot be brought up to date.
    async fn content_of_row(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        error: RelayError,
    ) -> Result<(Arc<FileMeta>, Bytes), RelayError> {
        if matches!(error, RelayError::Store(_)) {
            return Err(error);
        }
        tracing::warn!(%societe, %filename, %error, "a plain file cannot be brought up to date; the stored content is served");
        let (wanted, name) = (societe.clone(), filename.clone());
        let row = self.0.store.read(move |tx| store::file(tx, &wanted, &name)).await;
        let row = row.map_err(RelayError::Store)?.filter(|row| !row.deleted).ok_or(RelayError::NoFile)?;
        let content = self.stored_content(societe, filename, row.meta.version).await?;
        Ok((Arc::new(row.meta), content))
    }

    /// The content of a kept version.
    ///
    /// # Errors
    /// [`RelayError::NoVersion`], [`RelayError::Damaged`], or the database.
    pub async fn stored_content(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        version: u64,
    ) -> Result<Bytes, RelayError> {
        let damaged = |what: &str| RelayError::Damaged {
            societe: societe.clone(),
            filename: filename.clone(),
            what: format!("version {version} {what}"),
        };
        for _ in 0..MOVES_MAX {
            let (societe, filename) = (societe.clone(), filename.clone());
            let found =
                self.0.store.read(move |tx| store::version_content(tx, &societe, &filename, version)).await;
            let found = found.map_err(RelayError::Store)?.ok_or(RelayError::NoVersion(version))?;
            let content = match found.kept {
                Kept::Row(content) => Some(content.into()),
                Kept::Blob => {
                    self.0.blobs.get(&found.sha256).await.map_err(RelayError::from)?.map(Bytes::from)
                }
                Kept::Pack(place) => match self.packed(place, found.size).await? {
                    // The content was just moved, and the row has its new place.
                    None => continue,
                    found => found,
                },
            };
            return match content {
                Some(content) if is_whole(&content, &found.sha256) => Ok(content),
                Some(_) => Err(damaged("differs from its SHA-256")),
                None => Err(damaged("is missing")),
            };
        }
        Err(damaged("is in a pack that is missing"))
    }

    /// A content from a pack; nothing if the pack is gone.
    async fn packed(&self, place: Place, size: usize) -> Result<Option<Bytes>, RelayError> {
        let Some(packs) = self.0.store.packs().cloned() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || packs.read(place, size)).await;
        Ok(read.map_err(|e| RelayError::Io(e.into()))??.map(Bytes::from))
    }

    /// A content in `coding`, compressed once and cached.
    ///
    /// # Errors
    /// An error of the encoder.
    pub async fn encoded(
        &self,
        sha256: &Arc<str>,
        content: Bytes,
        coding: Coding,
    ) -> Result<Bytes, RelayError> {
        let key = (Arc::clone(sha256), coding);
        if coding == Coding::Identity {
            return Ok(content);
        }
        let size = content.len();
        let encode = async {
            let encoded = tokio::task::spawn_blocking(move || compress(&content, coding)).await;
            Ok(Bytes::from(encoded.map_err(|e| RelayError::Io(e.into()))??))
        };
        self.0.cache.get_or(key, size, encode).await
    }

    /// Stores a content that is too large for the transaction as a blob.
    pub(super) async fn keep_large(&self, content: &Content) -> Result<(), RelayError> {
        if !content.is_inline() {
            self.0.blobs.put(&content.sha256, content.bytes.clone()).await.map_err(RelayError::from)?;
        }
        Ok(())
    }

    /// Removes blobs that no version needs any more.
    ///
    /// # Errors
    /// An error of the disk or the database.
    pub async fn collect_garbage(&self) -> Result<usize, RelayError> {
        let mut removed = 0;
        for sha256 in self.0.blobs.list_settled().await.map_err(RelayError::from)? {
            let hash = sha256.clone();
            let used = self.0.store.read(move |tx| store::blob_is_used(tx, &hash)).await;
            if !used.map_err(RelayError::Store)? {
                match self.0.blobs.delete(&sha256).await {
                    Ok(()) => removed += 1,
                    Err(error) => tracing::warn!(sha256, %error, "a content that no version needs stays"),
                }
            }
        }
        Ok(removed)
    }
}

/// Whether these are the bytes that were stored.
pub(super) fn is_whole(content: &[u8], sha256: &str) -> bool {
    sha256_hex(content) == sha256
}

fn compress(content: &[u8], coding: Coding) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len() / 4);
    match coding {
        Coding::Identity => out.extend_from_slice(content),
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::new(6));
            encoder.write_all(content)?;
            encoder.finish()?;
        }
        Coding::Brotli => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 5, 22);
            encoder.write_all(content)?;
            encoder.flush()?;
        }
        Coding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(&mut out, 6)?;
            encoder.write_all(content)?;
            encoder.finish()?;
        }
    }
    Ok(out)
}
