//! The operations of the relay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use relais_protocol::event::{Channel, Cursor, Event};
use relais_store::blobs::LocalBlobs;
use relais_store::{Store, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::change::{Content, Ledger, TOPIC_FAMILY};
use super::content::Cache;
use super::error::RelayError;
use super::folder::Folder;
use super::index::Index;
use super::json::{self, Rules};
use super::left_out::{Cause, LeftOut, LeftOuts, Spot};
use super::model::{Announced, FileMeta, Origin, Request, Stored, Totals, Version, is_sha256, sha256_hex};
use super::name::{FileName, SocieteName};
use super::schema::Schemas;
use super::store;
use crate::app::Counted;
use crate::auth::{Action, Permit};
use crate::config::{DuplicateKeys, RelayConfig};

/// Contents up to this size are checked on the request's task; larger ones on the blocking pool.
const CHECK_HERE_BYTES_MAX: usize = 64 * 1024;

/// Files that one manifest may name.
const MANIFEST_FILES_MAX: usize = 20_000;

/// The relay. Cheap to clone.
#[derive(Clone)]
pub struct Relay(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) ledger: Arc<Ledger>,
    pub(super) blobs: Arc<LocalBlobs>,
    pub(super) config: RelayConfig,
    pub(super) schemas: Schemas,
    pub(super) left_out: LeftOuts,
    /// Whether the folder cannot be watched live, and is compared often instead.
    pub(super) is_polling: AtomicBool,
    pub(super) cache: Cache,
    settled_seq: AtomicU64,
    /// Notified when another process changed a file.
    pub(super) behind: Notify,
    /// Held while a file is brought up to date.
    pub(super) catching_up: tokio::sync::Mutex<()>,
    /// The number of packs that triggers the next compaction.
    next_compaction: AtomicU64,
    /// Kilobytes that uploads may still hold in memory.
    upload_memory: Arc<Semaphore>,
    /// Connected WebSocket clients.
    listeners: Arc<AtomicUsize>,
}

/// What a client that mirrors a société has to do: see [`Relay::compare`].
#[derive(Debug, Default)]
pub struct Comparison {
    /// Files the server holds.
    pub files_count: usize,
    /// Files to download: missing at the client, or stale there.
    pub fetch: Vec<Arc<FileMeta>>,
    /// Files to upload: contents the server never had.
    pub send: Vec<String>,
    /// Files to remove at the client: the server deleted what the client still has.
    pub delete: Vec<String>,
    /// Names that no file can have, each with the reason: they are neither sent nor fetched.
    pub refused: Vec<(String, RelayError)>,
    /// Files that are the same on both sides.
    pub unchanged: usize,
    /// The position of the answer in the log.
    pub cursor: Option<Cursor>,
}

/// One page of the change feed.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Where to continue.
    pub cursor: Cursor,
    /// Whether more is available at once.
    pub has_more: bool,
}

impl Relay {
    /// Opens the folder, loads what is stored and completes what a crash interrupted.
    ///
    /// # Errors
    /// Why the folder, the schemas or the database cannot be used.
    pub async fn open(
        store: Store,
        blobs: Arc<LocalBlobs>,
        config: RelayConfig,
        files_dir: &std::path::Path,
    ) -> Result<Self, RelayError> {
        let (schemas, broken) = Schemas::load(&config.schemas);
        let left_out = LeftOuts::default();
        for schema in broken {
            left_out
                .note(Spot::outside(&format!("relay.schemas: {}", schema.file)), Cause::Schema(schema.fault));
        }
        let folder = Folder::open(files_dir)?;
        let ledger = Arc::new(Ledger::new(folder, Arc::new(Index::default()), &config));
        let cache = Cache::new(config.cache_bytes);
        let memory = usize::try_from(config.upload_memory_bytes / 1024).unwrap_or(Semaphore::MAX_PERMITS);
        let (settled_seq, next_compaction) = (AtomicU64::new(0), AtomicU64::new(0));
        let inner = Inner {
            store,
            ledger,
            blobs,
            config,
            schemas,
            left_out,
            is_polling: AtomicBool::new(false),
            cache,
            settled_seq,
            behind: Notify::new(),
            catching_up: tokio::sync::Mutex::new(()),
            next_compaction,
            upload_memory: Arc::new(Semaphore::new(memory.min(Semaphore::MAX_PERMITS))),
            listeners: Arc::default(),
        };
        let relay = Self(Arc::new(inner));
        relay.recover().await?;
        Ok(relay)
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &RelayConfig {
        &self.0.config
    }

    /// Reserves so many bytes of memory for an upload; `None` if other uploads hold it all.
    #[must_use]
    pub fn upload_memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kilobytes = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.0.upload_memory).try_acquire_many_owned(kilobytes).ok()
    }

    /// The number of its WebSocket clients.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.listeners.load(Ordering::Relaxed)
    }

    /// Counts a WebSocket client until the guard is dropped.
    #[must_use]
    pub fn count_listener(&self) -> Counted {
        Counted::in_one(&self.0.listeners)
    }

    /// The cursor of a subscriber that has received everything so far.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.0.store.head()
    }

    /// The names of all sociétés, in order.
    #[must_use]
    pub fn societes(&self) -> Vec<SocieteName> {
        self.0.ledger.index.societes()
    }

    /// The files of a société in the order of their names.
    ///
    /// # Errors
    /// [`RelayError::NoSociete`].
    pub fn files(&self, societe: &SocieteName) -> Result<Vec<Arc<FileMeta>>, RelayError> {
        self.0.ledger.index.files(societe).ok_or_else(|| RelayError::NoSociete(societe.clone()))
    }

    /// One file, if it exists.
    #[must_use]
    pub fn file(&self, societe: &SocieteName, filename: &FileName) -> Option<Arc<FileMeta>> {
        self.0.ledger.index.file(societe, filename)
    }

    /// Totals over the sociétés that pass `visible`.
    #[must_use]
    pub fn totals(&self, visible: impl Fn(&SocieteName) -> bool) -> Totals {
        self.0.ledger.index.totals(visible)
    }

    /// The left-out items that pass `visible`, each with its reason.
    #[must_use]
    pub fn left_out(&self, visible: impl Fn(&Spot) -> bool) -> Vec<LeftOut> {
        self.0.left_out.list(visible)
    }

    /// The number of left-out items.
    #[must_use]
    pub fn left_out_count(&self) -> usize {
        self.0.left_out.count()
    }

    /// Whether changes by other programs are found by comparing, because the folder cannot be watched.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.0.is_polling.load(Ordering::Relaxed)
    }

    /// Refuses a name whose extension is not accepted.
    ///
    /// # Errors
    /// [`RelayError::Extension`].
    pub fn check_extension(&self, filename: &FileName) -> Result<(), RelayError> {
        if filename.has_extension(&self.0.config.extensions) { Ok(()) } else { Err(RelayError::Extension) }
    }

    /// Refuses the beginning of a content that cannot become valid.
    ///
    /// # Errors
    /// [`RelayError::Json`].
    pub fn check_beginning(&self, beginning: &[u8]) -> Result<(), RelayError> {
        Ok(json::check_beginning(beginning, rules(&self.0.config))?)
    }

    /// Stores a content as the new version of a file and publishes the event; the same content again does neither.
    ///
    /// # Errors
    /// [`RelayError`]; nothing was changed then.
    pub async fn upload(&self, request: Request, bytes: Bytes) -> Result<Stored, RelayError> {
        self.check_extension(&request.filename)?;
        let content = self.checked(&request.societe, &request.filename, bytes).await?;
        self.put(request, content, Origin::Upload).await
    }

    /// Restores an earlier version as a new one.
    ///
    /// # Errors
    /// [`RelayError::NoVersion`] and those of an upload.
    pub async fn restore(&self, request: Request, version: u64) -> Result<Stored, RelayError> {
        let bytes = self.stored_content(&request.societe, &request.filename, version).await?;
        let sha256 = sha256_hex(&bytes).into();
        self.put(request, Content { bytes, sha256 }, Origin::Restore).await
    }

    async fn put(&self, request: Request, content: Content, origin: Origin) -> Result<Stored, RelayError> {
        self.keep_large(&content).await?;
        let (ledger, societe, filename) =
            (Arc::clone(&self.0.ledger), request.societe.clone(), request.filename.clone());
        let stored = self
            .0
            .store
            .write(move |tx| {
                request.check_permit(tx)?;
                ledger.put(tx, &request, &content, origin)
            })
            .await?;
        self.0.left_out.clear_file(&societe, &filename);
        Ok(stored)
    }

    /// Deletes a file and publishes the event. Its versions are kept, so that it can be restored.
    ///
    /// # Errors
    /// [`RelayError::NoFile`], [`RelayError::Precondition`], [`RelayError::ReadOnly`], or the database.
    pub async fn delete(&self, request: Request) -> Result<Announced, RelayError> {
        let ledger = Arc::clone(&self.0.ledger);
        self.0
            .store
            .write(move |tx| {
                request.check_permit(tx)?;
                ledger.delete(tx, &request)
            })
            .await
    }

    /// Rescans a société's folder and publishes that it is synchronised.
    ///
    /// # Errors
    /// [`RelayError::NoSociete`] and errors of the disk or the database.
    pub async fn sync(
        &self,
        permit: Permit,
        societe: &SocieteName,
    ) -> Result<(usize, Announced), RelayError> {
        self.rescan_societe(societe).await?;
        let count = self.0.ledger.index.file_count(societe);
        let count = count.ok_or_else(|| RelayError::NoSociete(societe.clone()))?;
        let name = societe.clone();
        let announced = self.0.store.write(move |tx| {
            permit.check(tx, Action::RelayWrite(name.as_str()))?;
            Ledger::announce_sync(tx, &name, count)
        });
        let announced = announced.await?;
        Ok((count, announced))
    }

    /// Compares a client's files (file name → SHA-256) with what is stored.
    ///
    /// A content that the server once had is stale: the client fetches the current one, or removes its copy if the
    /// server deleted the file. A content the server never had is new: the client sends it.
    ///
    /// # Errors
    /// [`RelayError::TooManyFiles`], or the database.
    pub async fn compare(
        &self,
        societe: &SocieteName,
        manifest: BTreeMap<String, String>,
    ) -> Result<Comparison, RelayError> {
        if manifest.len() > MANIFEST_FILES_MAX {
            return Err(RelayError::TooManyFiles { societe: societe.clone(), max: MANIFEST_FILES_MAX });
        }
        let cursor = Some(self.cursor());
        let here: BTreeMap<String, Arc<FileMeta>> = self
            .0
            .ledger
            .index
            .files(societe)
            .unwrap_or_default()
            .into_iter()
            .map(|meta| (meta.filename.as_str().to_owned(), meta))
            .collect();
        let mut result = Comparison { files_count: here.len(), cursor, ..Comparison::default() };
        let mut differing = Vec::new();
        for (name, sha256) in &manifest {
            let named = FileName::new(name).map_err(RelayError::FileName);
            let filename = match named.and_then(|n| self.check_extension(&n).map(|()| n)) {
                Ok(filename) => filename,
                Err(error) => {
                    result.refused.push((name.clone(), error));
                    continue;
                }
            };
            match here.get(filename.as_str()) {
                Some(meta) if *meta.sha256 == **sha256 => result.unchanged += 1,
                _ => differing.push((name.clone(), filename, sha256.to_ascii_lowercase())),
            }
        }
        let mentioned = |meta: &FileMeta| manifest.contains_key(meta.filename.as_str());
        result.fetch = here.values().filter(|meta| !mentioned(meta)).cloned().collect();
        for (name, filename, stale) in self.which_are_stale(societe, differing).await? {
            match (here.get(filename.as_str()), stale) {
                (Some(meta), true) => result.fetch.push(Arc::clone(meta)),
                (None, true) => result.delete.push(name),
                (_, false) => result.send.push(name),
            }
        }
        Ok(result)
    }

    async fn which_are_stale(
        &self,
        societe: &SocieteName,
        differing: Vec<(String, FileName, String)>,
    ) -> Result<Vec<(String, FileName, bool)>, RelayError> {
        if differing.is_empty() {
            return Ok(Vec::new());
        }
        let societe = societe.clone();
        let judged = self.0.store.read(move |tx| {
            differing
                .into_iter()
                .map(|(name, filename, sha256)| {
                    let stale = is_sha256(&sha256) && store::held(tx, &societe, &filename, &sha256)?;
                    Ok::<_, StoreError>((name, filename, stale))
                })
                .collect::<Result<Vec<_>, _>>()
        });
        Ok(judged.await?)
    }

    /// The kept versions of a file, newest first, also of a deleted one.
    ///
    /// # Errors
    /// [`RelayError::NoFile`] or the database.
    pub async fn versions(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<Vec<Version>, RelayError> {
        let (societe, filename) = (societe.clone(), filename.clone());
        let found = self.0.store.read(move |tx| store::versions(tx, &societe, &filename)).await;
        let found = found.map_err(RelayError::Store)?;
        if found.is_empty() { Err(RelayError::NoFile) } else { Ok(found) }
    }

    /// A page of the events after `since` and up to `head`; from the oldest kept event without `since`. Events that do
    /// not pass `wanted` are omitted.
    ///
    /// # Errors
    /// [`RelayError::CursorExpired`] if the log cannot be continued from there, or the database.
    pub async fn changes(
        &self,
        since: Option<Cursor>,
        head: Cursor,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Changes, RelayError> {
        let bounds = self.0.store.log_bounds().await?;
        if let Some(cursor) = since
            && !bounds.can_recover(cursor)
        {
            return Err(RelayError::CursorExpired(head));
        }
        let after = since.map_or(bounds.first_seq_kept.saturating_sub(1), |cursor| cursor.seq);
        let channel = Channel::Family(TOPIC_FAMILY.into());
        let page = self.0.store.events_after(&channel, after, head.seq, limit).await?;
        let has_more = page.len() >= limit;
        let cursor = match page.last() {
            Some(last) if has_more => last.cursor(),
            _ => Cursor { seq: head.seq.max(after), ..head },
        };
        Ok(Changes { events: page.into_iter().filter(wanted).collect(), cursor, has_more })
    }

    /// Checks a content: size, JSON, schema.
    pub(super) async fn checked(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        bytes: Bytes,
    ) -> Result<Content, RelayError> {
        if bytes.len() as u64 > self.0.config.file_bytes_max {
            return Err(RelayError::TooLarge { max: self.0.config.file_bytes_max });
        }
        if bytes.is_empty() {
            return Err(RelayError::Empty);
        }
        if bytes.len() <= CHECK_HERE_BYTES_MAX {
            return self.check_now(societe, filename, bytes);
        }
        let (relay, societe, filename) = (self.clone(), societe.clone(), filename.clone());
        tokio::task::spawn_blocking(move || relay.check_now(&societe, &filename, bytes))
            .await
            .map_err(|e| RelayError::Io(e.into()))?
    }

    fn check_now(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        bytes: Bytes,
    ) -> Result<Content, RelayError> {
        json::check(&bytes, rules(&self.0.config))?;
        self.0.schemas.check(societe, filename, &bytes).map_err(RelayError::Schema)?;
        let sha256 = sha256_hex(&bytes).into();
        Ok(Content { bytes, sha256 })
    }

    pub(super) fn settled_seq(&self) -> u64 {
        self.0.settled_seq.load(Ordering::Acquire)
    }

    pub(super) fn next_compaction(&self) -> u64 {
        self.0.next_compaction.load(Ordering::Acquire)
    }

    pub(super) fn note_compaction(&self, next: u64) {
        self.0.next_compaction.store(next, Ordering::Release);
    }

    pub(super) fn note_settled(&self, seq: u64) {
        self.0.settled_seq.store(seq, Ordering::Release);
    }
}

/// The rules for a content.
pub(super) fn rules(config: &RelayConfig) -> Rules {
    Rules { depth_max: config.depth_max, duplicate_keys: config.duplicate_keys == DuplicateKeys::Accept }
}
