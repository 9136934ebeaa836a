//! The transactions that change a file: the row, the version and the event together, and the plain file
//! right after the commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use relais_protocol::event::{Cursor, Topic};
use relais_store::{Emitted, StoreError, WriteTx};
use serde_json::json;

use super::error::RelayError;
use super::folder::{Folder, Staged};
use super::index::{InFlight, Index};
use super::model::{Announced, FileMeta, Origin, Request, Stored};
use super::name::{FileName, SocieteName};
use super::plain_file::Stat;
use super::store::{self, FileRow, Kept};

/// The family of the relay's topics.
pub const TOPIC_FAMILY: &str = "societe";

/// Contents up to this size are stored in the transaction; larger ones are stored as blobs before it.
pub const INLINE_BYTES_MAX: usize = 128 * 1024;

/// A validated content.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Bytes,
    /// Their SHA-256 in hexadecimal digits.
    pub sha256: Arc<str>,
}

impl Content {
    /// Whether the bytes are stored in the transaction.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.bytes.len() <= INLINE_BYTES_MAX
    }
}

/// The state that the transactions work on.
pub struct Ledger {
    pub(super) folder: Arc<Folder>,
    pub(super) index: Arc<Index>,
    pub(super) quota_bytes: u64,
    pub(super) files_max: usize,
    pub(super) versions_kept: u64,
    /// The last event whose plain file is in place.
    placed_seq: AtomicU64,
    /// Files whose plain file is still to be written, each with the event that requires it.
    unplaced: Mutex<HashMap<(SocieteName, FileName), u64>>,
    /// Files whose row does not yet record the stat of their plain file. Bounded by the number of files.
    unsaved: Mutex<HashSet<(SocieteName, FileName)>>,
}

impl Ledger {
    pub(super) fn new(folder: Arc<Folder>, index: Arc<Index>, config: &crate::config::RelayConfig) -> Self {
        Self {
            folder,
            index,
            quota_bytes: config.quota_bytes,
            files_max: config.files_per_societe_max,
            versions_kept: config.versions_kept.into(),
            placed_seq: AtomicU64::new(0),
            unplaced: Mutex::new(HashMap::new()),
            unsaved: Mutex::new(HashSet::new()),
        }
    }

    /// The plain file was found to hold what the event `seq` left, with this stat. Costs no transaction: the row is
    /// updated with others.
    pub(super) fn note_stat(&self, societe: &SocieteName, filename: &FileName, seq: u64, stat: Stat) {
        if self.index.set_stat(societe, filename, seq, stat) {
            self.unsaved.lock().insert((societe.clone(), filename.clone()));
        }
    }

    /// At most `limit` files whose row does not yet record the stat of their plain file, with what is known now.
    pub(super) fn take_unsaved(&self, limit: usize) -> Vec<(SocieteName, Arc<FileMeta>)> {
        let mut unsaved = self.unsaved.lock();
        let taken: Vec<_> = unsaved.iter().take(limit).cloned().collect();
        for key in &taken {
            unsaved.remove(key);
        }
        drop(unsaved);
        taken
            .into_iter()
            .filter_map(|(societe, filename)| Some((societe.clone(), self.index.file(&societe, &filename)?)))
            .collect()
    }

    /// The last event whose plain file, and those of all events before it, are in place.
    pub(super) fn placed_seq(&self) -> u64 {
        self.placed_seq.load(Ordering::Acquire)
    }

    /// Files whose plain file is still to be written.
    pub(super) fn unplaced(&self) -> Vec<(SocieteName, FileName)> {
        self.unplaced.lock().keys().cloned().collect()
    }

    /// Stores a content as the new version of a file, publishes the event, and puts the plain file in place. A content
    /// identical to the current one creates no version and no event.
    pub(super) fn put(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        request: &Request,
        content: &Content,
        origin: Origin,
    ) -> Result<Stored, RelayError> {
        let current = store::file(tx, &request.societe, &request.filename)?;
        let present = current.as_ref().filter(|row| !row.deleted).map(|row| &row.meta);
        if !request.precondition.holds(present) {
            return Err(RelayError::Precondition { current: present.map(|meta| meta.sha256.to_string()) });
        }
        if let Some(meta) = present.filter(|meta| meta.sha256 == content.sha256) {
            return self.put_again(tx, request, content, meta);
        }
        self.check_room(tx, request, content, present)?;
        let in_flight = self.index.begin_change(&request.societe, &request.filename);
        let staged = self.folder.stage(&request.societe, &request.filename, &content.bytes)?;
        let mut meta = self.next_meta(tx, current.as_ref(), request, content, staged.stat());
        let emitted = announce_upload(tx, &request.societe, &mut meta, origin)?;
        self.record(tx, request, content, &meta, origin)?;
        self.place_after_commit(tx, &request.societe, &meta, staged, in_flight);
        Ok(stored(meta, Some(emitted)))
    }

    /// Stores what another program wrote into the folder as the new version, if it is unchanged since it was read, and
    /// with `only_after` if that is still the last event of the file.
    pub(super) fn adopt(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        request: &Request,
        content: &Content,
        read_as: Stat,
        only_after: Option<u64>,
    ) -> Result<Option<Stored>, RelayError> {
        let (societe, filename) = (&request.societe, &request.filename);
        if self.index.is_changing(societe, filename) || self.folder.stat(societe, filename)? != Some(read_as)
        {
            return Ok(None);
        }
        let current = store::file(tx, societe, filename)?;
        let read_as = read_as.proven();
        if only_after.is_some() && only_after != current.as_ref().map(|row| row.meta.seq) {
            return Ok(None);
        }
        let present = current.as_ref().filter(|row| !row.deleted).map(|row| &row.meta);
        let mut meta = match present {
            Some(meta) if meta.sha256 == content.sha256 => meta.clone().looking_like(read_as),
            _ => self.next_meta(tx, current.as_ref(), request, content, read_as),
        };
        let changed = present.is_none_or(|before| before.version != meta.version);
        let emitted = if changed {
            let emitted = announce_upload(tx, societe, &mut meta, Origin::Folder)?;
            self.record(tx, request, content, &meta, Origin::Folder)?;
            Some(emitted)
        } else {
            store::put_file(tx, societe, &meta, false)?;
            None
        };
        self.index_after_commit(tx, societe, &meta);
        Ok(Some(stored(meta, emitted)))
    }

    /// Deletes a file, publishes the event, and removes the plain file. Its versions are kept.
    pub(super) fn delete(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        request: &Request,
    ) -> Result<Announced, RelayError> {
        if self.index.file(&request.societe, &request.filename).is_some() {
            self.folder.check_writable(&request.societe)?;
        }
        self.delete_row(tx, request)
    }

    /// As [`Ledger::delete`], even if the folder is not writable: the plain file may already be gone.
    pub(super) fn delete_row(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        request: &Request,
    ) -> Result<Announced, RelayError> {
        let (societe, filename) = (&request.societe, &request.filename);
        let current = store::file(tx, societe, filename)?.filter(|row| !row.deleted);
        let present = current.as_ref().map(|row| &row.meta);
        if !request.precondition.holds(present) {
            return Err(RelayError::Precondition { current: present.map(|meta| meta.sha256.to_string()) });
        }
        let mut meta = current.ok_or(RelayError::NoFile)?.meta;
        let data = json!({ "societe": societe.as_str(), "filename": filename.as_str() });
        let emitted = tx.emit(&topic(societe)?, "file_deleted", data.to_string())?;
        meta.seq = emitted.seq;
        meta.modified_at = tx.now();
        store::put_file(tx, societe, &meta, true)?;
        let (ledger, in_flight) = (Arc::clone(self), self.index.begin_change(societe, filename));
        let (societe, filename, seq, at) = (societe.clone(), filename.clone(), meta.seq, meta.modified_at);
        tx.after_commit(move || {
            match ledger.folder.remove(&societe, &filename) {
                Ok(_) => ledger.forget_unplaced(&societe, &filename, seq),
                Err(error) => ledger.report_unplaced(&societe, &filename, seq, &error),
            }
            ledger.index.remove(&societe, &filename);
            ledger.index.note_deletion(&societe, at);
            ledger.placed_seq.fetch_max(seq, Ordering::Release);
            drop(in_flight);
        });
        Ok(announced(emitted))
    }

    /// Publishes that a société was synchronised.
    pub(super) fn announce_sync(
        tx: &mut WriteTx<'_>,
        societe: &SocieteName,
        files_count: usize,
    ) -> Result<Announced, RelayError> {
        let data = json!({ "societe": societe.as_str(), "files_count": files_count });
        Ok(announced(tx.emit(&topic(societe)?, "sync_completed", data.to_string())?))
    }

    /// Writes the plain file of the stored content again: after a crash, or when a disk is available again. Does
    /// nothing if the file has changed since.
    pub(super) fn replace_plain_file(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        row: &FileRow,
        content: &[u8],
    ) -> Result<(), RelayError> {
        let current = store::file(tx, &row.societe, &row.meta.filename)?;
        if current.map(|current| current.meta.seq) != Some(row.meta.seq) {
            return Ok(());
        }
        let in_flight = self.index.begin_change(&row.societe, &row.meta.filename);
        let staged = self.folder.stage(&row.societe, &row.meta.filename, content)?;
        let meta = row.meta.clone().looking_like(staged.stat());
        store::put_file(tx, &row.societe, &meta, false)?;
        self.place_after_commit(tx, &row.societe, &meta, staged, in_flight);
        Ok(())
    }

    /// The plain file must be brought up to the event `seq`.
    pub(super) fn note_unplaced(&self, societe: SocieteName, filename: FileName, seq: u64) {
        let mut unplaced = self.unplaced.lock();
        let asked = unplaced.entry((societe, filename)).or_default();
        *asked = seq.max(*asked);
    }

    /// Whether the plain file is still to be brought up to date.
    pub(super) fn is_unplaced(&self, societe: &SocieteName, filename: &FileName) -> bool {
        let unplaced = self.unplaced.lock();
        !unplaced.is_empty() && unplaced.contains_key(&(societe.clone(), filename.clone()))
    }

    /// The plain file is up to the event `seq`; a later one still leaves it pending.
    pub(super) fn forget_unplaced(&self, societe: &SocieteName, filename: &FileName, seq: u64) {
        let mut unplaced = self.unplaced.lock();
        if !unplaced.is_empty() {
            let key = (societe.clone(), filename.clone());
            if unplaced.get(&key).is_some_and(|asked| *asked <= seq) {
                unplaced.remove(&key);
            }
        }
    }

    /// The same content again: only the plain file is restored if it differs.
    fn put_again(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        request: &Request,
        content: &Content,
        meta: &FileMeta,
    ) -> Result<Stored, RelayError> {
        let (societe, filename) = (&request.societe, &request.filename);
        // The row may not record the plain file's stat yet; the index in memory does.
        let known = self.index.file(societe, filename).filter(|known| known.seq == meta.seq);
        let expected = known.map_or_else(|| meta.stat(), |known| known.stat());
        if !self.index.is_changing(societe, filename)
            && self.folder.stat(societe, filename)? != Some(expected)
        {
            let row = FileRow { societe: societe.clone(), meta: meta.clone(), deleted: false };
            self.replace_plain_file(tx, &row, &content.bytes)?;
        }
        let cursor = Cursor { epoch: tx.epoch(), seq: meta.seq };
        Ok(Stored { meta: meta.clone(), changed: false, offset: None, cursor })
    }

    fn check_room(
        &self,
        tx: &mut WriteTx<'_>,
        request: &Request,
        content: &Content,
        present: Option<&FileMeta>,
    ) -> Result<(), RelayError> {
        if present.is_some() && self.quota_bytes == 0 {
            return Ok(());
        }
        let (files, bytes) = store::usage(tx, &request.societe)?;
        if present.is_none() && files >= self.files_max as u64 {
            return Err(RelayError::TooManyFiles { societe: request.societe.clone(), max: self.files_max });
        }
        let after = bytes - present.map_or(0, |meta| meta.size) + content.bytes.len() as u64;
        if self.quota_bytes > 0 && after > self.quota_bytes {
            return Err(RelayError::Quota { societe: request.societe.clone(), max: self.quota_bytes });
        }
        Ok(())
    }

    fn next_meta(
        &self,
        tx: &WriteTx<'_>,
        current: Option<&FileRow>,
        request: &Request,
        content: &Content,
        stat: Stat,
    ) -> FileMeta {
        FileMeta {
            filename: request.filename.clone(),
            version: current.map_or(0, |row| row.meta.version) + 1,
            size: content.bytes.len() as u64,
            sha256: Arc::clone(&content.sha256),
            modified_at: tx.now(),
            mtime_ns: stat.mtime_ns,
            ctime_ns: stat.ctime_ns,
            ino: stat.ino,
            seq: 0,
        }
    }

    fn record(
        &self,
        tx: &mut WriteTx<'_>,
        request: &Request,
        content: &Content,
        meta: &FileMeta,
        origin: Origin,
    ) -> Result<(), RelayError> {
        store::put_file(tx, &request.societe, meta, false)?;
        let kept = keep(tx, content)?;
        store::add_version(tx, &request.societe, meta, &request.by, origin, &kept)?;
        if let Some(last) = meta.version.checked_sub(self.versions_kept + 1).filter(|last| *last > 0) {
            store::drop_versions(tx, &request.societe, &meta.filename, last)?;
        }
        Ok(())
    }

    fn place_after_commit(
        self: &Arc<Self>,
        tx: &mut WriteTx<'_>,
        societe: &SocieteName,
        meta: &FileMeta,
        staged: Staged,
        in_flight: InFlight,
    ) {
        let (ledger, societe, meta) = (Arc::clone(self), societe.clone(), meta.clone());
        tx.after_commit(move || {
            let seq = meta.seq;
            let filename = meta.filename.clone();
            match staged.place() {
                Ok(stat) => {
                    ledger.forget_unplaced(&societe, &filename, seq);
                    ledger.index.put(&societe, meta.looking_like(stat));
                    ledger.unsaved.lock().insert((societe, filename));
                }
                Err(error) => {
                    ledger.report_unplaced(&societe, &filename, seq, &error);
                    ledger.index.put(&societe, meta);
                }
            }
            ledger.placed_seq.fetch_max(seq, Ordering::Release);
            drop(in_flight);
        });
    }

    fn index_after_commit(self: &Arc<Self>, tx: &mut WriteTx<'_>, societe: &SocieteName, meta: &FileMeta) {
        let (ledger, societe, meta) = (Arc::clone(self), societe.clone(), meta.clone());
        tx.after_commit(move || {
            let seq = meta.seq;
            ledger.forget_unplaced(&societe, &meta.filename, seq);
            ledger.index.put(&societe, meta);
            ledger.placed_seq.fetch_max(seq, Ordering::Release);
        });
    }

    fn report_unplaced(&self, societe: &SocieteName, filename: &FileName, seq: u64, error: &std::io::Error) {
        tracing::error!(%societe, %filename, %error, "a stored file could not be put into the folder; trying again");
        self.note_unplaced(societe.clone(), filename.clone(), seq);
    }
}

fn keep<'a>(tx: &mut WriteTx<'_>, content: &'a Content) -> Result<Kept<&'a [u8]>, RelayError> {
    if !content.is_inline() {
        return Ok(Kept::Blob);
    }
    Ok(match tx.pack(&content.bytes)? {
        Some(place) => Kept::Pack(place),
        None => Kept::Row(&content.bytes),
    })
}

/// The topic of a société.
pub(super) fn topic(societe: &SocieteName) -> Result<Topic, RelayError> {
    Topic::new(&format!("{TOPIC_FAMILY}:{societe}"))
        .map_err(|e| RelayError::Store(StoreError::Value(e.to_string())))
}

/// The data of `file_uploaded`.
#[derive(serde::Serialize)]
struct Uploaded<'a> {
    societe: &'a str,
    filename: &'a str,
    size: u64,
    sha256: &'a str,
    version: u64,
    origin: Origin,
}

fn announce_upload(
    tx: &mut WriteTx<'_>,
    societe: &SocieteName,
    meta: &mut FileMeta,
    origin: Origin,
) -> Result<Emitted, RelayError> {
    let data = Uploaded {
        societe: societe.as_str(),
        filename: meta.filename.as_str(),
        size: meta.size,
        sha256: &meta.sha256,
        version: meta.version,
        origin,
    };
    let data = serde_json::to_string(&data).map_err(|e| StoreError::Value(e.to_string()))?;
    let emitted = tx.emit(&topic(societe)?, "file_uploaded", data)?;
    meta.seq = emitted.seq;
    Ok(emitted)
}

fn stored(meta: FileMeta, emitted: Option<Emitted>) -> Stored {
    let offset = emitted.map(|e| e.position.offset);
    let epoch = emitted.map_or_else(Default::default, |e| e.position.epoch);
    let cursor = Cursor { epoch, seq: meta.seq };
    Stored { meta, changed: emitted.is_some(), offset, cursor }
}

fn announced(emitted: Emitted) -> Announced {
    let cursor = Cursor { epoch: emitted.position.epoch, seq: emitted.seq };
    Announced { offset: emitted.position.offset, cursor }
}
