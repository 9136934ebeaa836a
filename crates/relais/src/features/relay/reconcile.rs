//! Reconciles the folder with the database: changes by other programs, and recovery after a crash.

use std::collections::BTreeSet;
use std::sync::Arc;

use relais_protocol::event::Event;
use relais_store::StoreError;

use super::Relay;
use super::change::TOPIC_FAMILY;
use super::content::is_whole;
use super::error::RelayError;
use super::left_out::{Cause, Spot};
use super::model::{FileMeta, Precondition, Request};
use super::name::{FileName, SocieteName};
use super::plain_file::{Found, Stat};
use super::store::{self, FileRow};

/// The author of what other programs wrote.
const FOLDER_USER: &str = "folder";
/// How often a file may change while it is brought up to date; beyond it the next scan continues.
const CHANGES_MEANWHILE_MAX: usize = 5;

/// The file that an event is about; an event about the whole société names none.
#[derive(serde::Deserialize)]
struct Named {
    societe: String,
    filename: Option<String>,
}

/// The result of a comparison of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The folder matches the database, or a change is in progress that will be examined again.
    Nothing,
    /// A change by another program was stored and published.
    Changed,
    /// The folder holds something that is not accepted; the last valid content is kept.
    Refused,
}

impl Relay {
    /// Loads what is stored and completes what a crash interrupted. Called once, before any request is served. Problems
    /// of single files are recorded, and the rest is served.
    ///
    /// # Errors
    /// A database error, or a disk error of the folder as a whole.
    pub(super) async fn recover(&self) -> Result<(), RelayError> {
        let ledger = Arc::clone(&self.0.ledger);
        let read = self.0.store.read(move |tx| {
            Ok::<_, StoreError>((store::all_files(tx)?, store::settled_seq(tx, ledger.folder.id())?))
        });
        let ((rows, broken), settled) = read.await?;
        for row in broken {
            let spot = Spot { societe: Some(row.societe), name: Some(row.filename) };
            self.0.left_out.note(spot, Cause::Row(row.fault));
        }
        for row in &rows {
            if row.deleted {
                self.0.ledger.index.note_deletion(&row.societe, row.meta.modified_at);
            } else {
                self.0.ledger.index.put(&row.societe, row.meta.clone());
            }
        }
        let unsettled: Vec<FileRow> = rows.into_iter().filter(|row| row.meta.seq > settled).collect();
        self.learn_forms(&unsettled).await?;
        for row in unsettled {
            let (societe, filename, seq) = (row.societe.clone(), row.meta.filename.clone(), row.meta.seq);
            match self.finish(row).await {
                Ok(()) => {}
                Err(RelayError::Store(error)) if error.is_temporary() => return Err(error.into()),
                Err(error) => {
                    self.0.left_out.note(
                        Spot::file(&societe, &filename),
                        Cause::Failed(error.said().french().to_owned()),
                    );
                    self.0.ledger.note_unplaced(societe, filename, seq);
                }
            }
        }
        self.rescan().await
    }

    /// Determines which of these files have another Unicode form of their names on the disk, before one is written.
    async fn learn_forms(&self, rows: &[FileRow]) -> Result<(), RelayError> {
        let plain = |row: &FileRow| row.societe.as_str().is_ascii() && row.meta.filename.as_str().is_ascii();
        if rows.iter().all(plain) {
            return Ok(());
        }
        let (folder, extensions) = (Arc::clone(&self.0.ledger.folder), self.0.config.extensions.clone());
        let looked = tokio::task::spawn_blocking(move || {
            for societe in folder.societes(&extensions)?.served {
                // What cannot be read is reported by the comparison that follows.
                let _ = folder.files(&societe.name, &extensions);
            }
            Ok::<_, std::io::Error>(())
        });
        Ok(looked.await.map_err(|e| RelayError::Io(e.into()))??)
    }

    /// Brings the plain file of one row up to date, whose writing may have been interrupted.
    pub(super) async fn finish(&self, row: FileRow) -> Result<(), RelayError> {
        let (folder, max) = (Arc::clone(&self.0.ledger.folder), self.0.config.file_bytes_max);
        let (societe, filename) = (row.societe.clone(), row.meta.filename.clone());
        let found = tokio::task::spawn_blocking(move || folder.read(&societe, &filename, max)).await;
        let found = found.map_err(|e| RelayError::Io(e.into()))??;
        if row.deleted {
            return self.finish_deletion(&row, &found);
        }
        let Found::Content(stat, bytes) = found else { return self.rewrite(row).await };
        let Ok(content) = self.checked(&row.societe, &row.meta.filename, bytes.into()).await else {
            return self.rewrite(row).await;
        };
        if content.sha256 == row.meta.sha256 {
            self.adopt(&row.societe, &row.meta.filename, content, stat, Some(row.meta.seq)).await?;
            return Ok(());
        }
        let (societe, filename, sha256) =
            (row.societe.clone(), row.meta.filename.clone(), Arc::clone(&content.sha256));
        let earlier = self
            .0
            .store
            .read(move |tx| store::held(tx, &societe, &filename, &sha256))
            .await
            .map_err(RelayError::Store)?;
        if earlier {
            self.rewrite(row).await
        } else {
            self.adopt(&row.societe, &row.meta.filename, content, stat, Some(row.meta.seq)).await.map(drop)
        }
    }

    /// Removes the plain file that a deletion left, unless another program wrote a new one.
    fn finish_deletion(&self, row: &FileRow, found: &Found) -> Result<(), RelayError> {
        if let Found::Content(stat, bytes) = found {
            let is_left = |meta: &FileMeta| stat.mtime_ns == meta.mtime_ns && is_whole(bytes, &meta.sha256);
            let known = self.0.ledger.index.file(&row.societe, &row.meta.filename);
            if is_left(&row.meta) || known.is_some_and(|meta| is_left(&meta)) {
                self.0.ledger.folder.remove(&row.societe, &row.meta.filename)?;
            }
        }
        self.0.ledger.index.remove(&row.societe, &row.meta.filename);
        self.0.ledger.index.note_deletion(&row.societe, row.meta.modified_at);
        self.0.ledger.forget_unplaced(&row.societe, &row.meta.filename, row.meta.seq);
        Ok(())
    }

    /// Writes the plain file anew. If the stored content is damaged, there is nothing to write: everything else
    /// continues.
    async fn rewrite(&self, row: FileRow) -> Result<(), RelayError> {
        let ledger = Arc::clone(&self.0.ledger);
        let content = match self.stored_content(&row.societe, &row.meta.filename, row.meta.version).await {
            Err(error @ RelayError::Damaged { .. }) => {
                self.0.left_out.note(
                    Spot::file(&row.societe, &row.meta.filename),
                    Cause::Damaged(error.said().french().to_owned()),
                );
                ledger.forget_unplaced(&row.societe, &row.meta.filename, row.meta.seq);
                return Ok(());
            }
            content => content?,
        };
        self.0.store.write(move |tx| ledger.replace_plain_file(tx, &row, &content)).await
    }

    /// Compares the whole folder with the database. A problem of one société does not delay the others.
    ///
    /// # Errors
    /// A database error, or a disk error of the folder as a whole.
    pub async fn rescan(&self) -> Result<(), RelayError> {
        let mut all: BTreeSet<SocieteName> = self.list_societes().await?.into_iter().collect();
        all.extend(self.0.ledger.index.societes());
        for societe in &all {
            if let Err(error) = self.rescan_societe(societe).await {
                self.leave_out(Spot::societe(societe), error)?;
            }
        }
        Ok(())
    }

    /// The sociétés that have a folder; other entries beside them are recorded.
    pub(super) async fn list_societes(&self) -> Result<Vec<SocieteName>, RelayError> {
        let (folder, extensions) = (Arc::clone(&self.0.ledger.folder), self.0.config.extensions.clone());
        let round = self.0.left_out.begin_look();
        let listed = tokio::task::spawn_blocking(move || folder.societes(&extensions)).await;
        let listed = listed.map_err(|e| RelayError::Io(e.into()))??;
        for (name, cause) in listed.left_out {
            self.0.left_out.note(Spot::outside(&name), cause);
        }
        self.0.left_out.end_look(None, round);
        Ok(listed.served.into_iter().map(|served| served.name).collect())
    }

    /// Compares one société's folder with the database. A problem of one file does not delay the others.
    ///
    /// # Errors
    /// A database error, or a disk error of this société's folder as a whole.
    pub async fn rescan_societe(&self, societe: &SocieteName) -> Result<(), RelayError> {
        let (folder, name) = (Arc::clone(&self.0.ledger.folder), societe.clone());
        let extensions = self.0.config.extensions.clone();
        let round = self.0.left_out.begin_look();
        let listed = tokio::task::spawn_blocking(move || folder.files(&name, &extensions)).await;
        let listed = match listed.map_err(|e| RelayError::Io(e.into()))? {
            Ok(listed) => listed,
            Err(error) => {
                // What cannot be examined is not deleted.
                self.0.left_out.note(Spot::societe(societe), Cause::Unreadable(error.to_string()));
                return Ok(());
            }
        };
        let is_there = listed.is_some();
        if is_there {
            self.0.ledger.index.add_societe(societe);
        }
        let (served, left_out) = listed.map_or_else(Default::default, |l| (l.served, l.left_out));
        for (name, cause) in left_out {
            self.0.left_out.note(Spot::entry(societe, &name), cause);
        }
        let names: BTreeSet<&FileName> = served.iter().map(|file| &file.name).collect();
        let differing = served.iter().filter(|file| !self.is_as_stored(societe, &file.name, Some(file.stat)));
        let mut suspects: Vec<FileName> = differing.map(|file| file.name.clone()).collect();
        let known = self.0.ledger.index.files(societe).unwrap_or_default();
        suspects.extend(known.iter().map(|meta| meta.filename.clone()).filter(|name| !names.contains(name)));
        for filename in suspects {
            if let Err(error) = self.reconcile_file(societe, &filename).await {
                self.leave_out(Spot::file(societe, &filename), error)?;
            }
        }
        if !is_there {
            self.0.ledger.index.remove_empty_societe(societe);
        }
        self.0.left_out.end_look(Some(societe), round);
        Ok(())
    }

    /// Records an error that concerns one item; one that concerns everything is returned.
    pub(super) fn leave_out(&self, spot: Spot, error: RelayError) -> Result<(), RelayError> {
        if error.concerns_everything() {
            return Err(error);
        }
        self.0.left_out.note(spot, Cause::Failed(error.said().french().to_owned()));
        Ok(())
    }

    fn is_as_stored(&self, societe: &SocieteName, filename: &FileName, stat: Option<Stat>) -> bool {
        let meta = self.0.ledger.index.file(societe, filename);
        meta.map(|meta| meta.stat()) == stat
    }

    /// Compares one plain file with the database, and stores and publishes another program's change. A content that is
    /// not accepted (it may be half written) is left alone until it changes again.
    ///
    /// # Errors
    /// A database error.
    pub async fn reconcile_file(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<Reconciled, RelayError> {
        let ledger = &self.0.ledger;
        if ledger.index.is_changing(societe, filename) || !filename.has_extension(&self.0.config.extensions) {
            return Ok(Reconciled::Nothing);
        }
        let refused = |cause| {
            self.0.left_out.note(Spot::file(societe, filename), cause);
            Ok(Reconciled::Refused)
        };
        // Most often this is the relay's own change, and a stat costs less than a hop to the blocking pool.
        let stat = match ledger.folder.stat(societe, filename) {
            Ok(stat) => stat,
            Err(error) => return refused(Cause::Unreadable(error.to_string())),
        };
        if self.is_as_stored(societe, filename, stat) {
            return Ok(Reconciled::Nothing);
        }
        if stat.is_none() {
            let outcome = self.adopt_removal(societe, filename).await?;
            if outcome != Reconciled::Refused {
                self.0.left_out.clear(&Spot::file(societe, filename));
            }
            return Ok(outcome);
        }
        let (folder, max) = (Arc::clone(&ledger.folder), self.0.config.file_bytes_max);
        let (societe_name, name) = (societe.clone(), filename.clone());
        let found = tokio::task::spawn_blocking(move || folder.read(&societe_name, &name, max));
        match found.await.map_err(|e| RelayError::Io(e.into()))? {
            Err(error) => refused(Cause::Unreadable(error.to_string())),
            Ok(Found::Nothing) => Ok(Reconciled::Refused),
            Ok(Found::Unfit(cause)) => refused(cause),
            Ok(Found::Content(stat, bytes)) => match self.checked(societe, filename, bytes.into()).await {
                Ok(content) => {
                    let outcome = self.take(societe, filename, content, stat).await?;
                    self.0.left_out.clear(&Spot::file(societe, filename));
                    Ok(outcome)
                }
                Err(error) => refused(Cause::Content(error.said().french().to_owned())),
            },
        }
    }

    /// Stores what a plain file holds. A content identical to the previous one costs no transaction, however often a
    /// program touches its file.
    async fn take(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        content: super::change::Content,
        stat: Stat,
    ) -> Result<Reconciled, RelayError> {
        let known = self.0.ledger.index.file(societe, filename);
        match known.filter(|meta| meta.sha256 == content.sha256) {
            Some(meta) => {
                self.0.ledger.note_stat(societe, filename, meta.seq, stat.proven());
                Ok(Reconciled::Nothing)
            }
            None => self.adopt(societe, filename, content, stat, None).await,
        }
    }

    async fn adopt(
        &self,
        societe: &SocieteName,
        filename: &FileName,
        content: super::change::Content,
        stat: Stat,
        only_after: Option<u64>,
    ) -> Result<Reconciled, RelayError> {
        self.keep_large(&content).await?;
        let (ledger, request) = (Arc::clone(&self.0.ledger), by_folder(societe, filename));
        let stored =
            self.0.store.write(move |tx| ledger.adopt(tx, &request, &content, stat, only_after)).await?;
        Ok(if stored.is_some_and(|s| s.changed) { Reconciled::Changed } else { Reconciled::Nothing })
    }

    /// A disk that lost both the plain file and its stored content is not taken for a deletion: clients would delete
    /// their copies.
    async fn adopt_removal(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<Reconciled, RelayError> {
        let Some(meta) = self.0.ledger.index.file(societe, filename) else { return Ok(Reconciled::Nothing) };
        match self.stored_content(societe, filename, meta.version).await {
            Err(error @ RelayError::Damaged { .. }) => {
                self.0
                    .left_out
                    .note(Spot::file(societe, filename), Cause::Damaged(error.said().french().to_owned()));
                return Ok(Reconciled::Refused);
            }
            // Changed meanwhile, or not kept as a version: then there is nothing to compare with.
            Ok(_) | Err(RelayError::NoVersion(_)) => {}
            Err(error) => return Err(error),
        }
        let (ledger, request) = (Arc::clone(&self.0.ledger), by_folder(societe, filename));
        self.0
            .store
            .write(move |tx| {
                let still_gone = ledger.folder.stat(&request.societe, &request.filename)?.is_none();
                if ledger.index.is_changing(&request.societe, &request.filename) || !still_gone {
                    return Ok(Reconciled::Nothing);
                }
                ledger.announce_removal(tx, &request)
            })
            .await
    }

    /// Records what another process committed, or this one without being notified: the plain file follows at once
    /// ([`Relay::bring_up_to_date`]), and until then nothing older is served.
    pub(crate) fn take_in(&self, event: &Event) {
        if event.topic.family() != TOPIC_FAMILY {
            return;
        }
        let named = serde_json::from_str::<Named>(&event.data).ok().and_then(|named| {
            Some((SocieteName::new(&named.societe).ok()?, FileName::new(&named.filename?).ok()?))
        });
        if let Some((societe, filename)) = named {
            self.0.ledger.note_unplaced(societe, filename, event.seq);
            self.0.behind.notify_one();
        }
    }

    /// Returns when a file must be brought up to date.
    pub(super) async fn fell_behind(&self) {
        self.0.behind.notified().await;
    }

    /// Brings a file's plain file and its metadata up to the state of the database, one file after the other: an older
    /// state cannot overtake a newer one.
    ///
    /// # Errors
    /// An error of the database or the disk.
    pub(super) async fn bring_up_to_date(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<(), RelayError> {
        let _one_after_the_other = self.0.catching_up.lock().await;
        for _ in 0..CHANGES_MEANWHILE_MAX {
            if !self.0.ledger.is_unplaced(societe, filename) {
                break;
            }
            let (wanted, name) = (societe.clone(), filename.clone());
            let row = self.0.store.read(move |tx| store::file(tx, &wanted, &name)).await;
            match row.map_err(RelayError::Store)? {
                Some(row) => self.finish(row).await?,
                None => self.0.ledger.forget_unplaced(societe, filename, u64::MAX),
            }
        }
        Ok(())
    }

    /// Syncs the plain files so that they survive a power failure, and records up to which event they do.
    ///
    /// # Errors
    /// An error of the database or the disk.
    pub async fn settle(&self) -> Result<(), RelayError> {
        for (societe, filename) in self.0.ledger.unplaced() {
            let spot = Spot::file(&societe, &filename);
            match self.bring_up_to_date(&societe, &filename).await {
                Ok(()) => self.0.left_out.clear(&spot),
                Err(error) => self.leave_out(spot, error)?,
            }
        }
        let (placed, ledger) = (self.0.ledger.placed_seq(), Arc::clone(&self.0.ledger));
        if !ledger.unplaced().is_empty() || placed <= self.settled_seq() {
            return Ok(());
        }
        let folder = Arc::clone(&ledger.folder);
        let synced = tokio::task::spawn_blocking(move || folder.sync()).await;
        synced.map_err(|e| RelayError::Io(e.into()))??;
        let noted =
            self.0.store.write(move |tx| store::set_settled_seq(tx, ledger.folder.id(), placed)).await;
        noted.map_err(RelayError::Store)?;
        self.note_settled(placed);
        Ok(())
    }
}

impl Relay {
    /// Stores the stat of at most `limit` plain files, so that the next start need not read them. Returns their number.
    ///
    /// # Errors
    /// A database error; then they are read at the next start.
    pub(super) async fn save_stats(&self, limit: usize) -> Result<usize, RelayError> {
        let some = self.0.ledger.take_unsaved(limit);
        let count = some.len();
        if count > 0 {
            let saved = self.0.store.write(move |tx| {
                some.iter().try_for_each(|(societe, meta)| store::put_stat(tx, societe, meta))
            });
            saved.await.map_err(RelayError::Store)?;
        }
        Ok(count)
    }
}

fn by_folder(societe: &SocieteName, filename: &FileName) -> Request {
    Request {
        by: FOLDER_USER.into(),
        permit: None,
        societe: societe.clone(),
        filename: filename.clone(),
        precondition: Precondition::None,
    }
}

impl super::change::Ledger {
    /// A file that another program removed is deleted like any other, if the database still has it.
    fn announce_removal(
        self: &Arc<Self>,
        tx: &mut relais_store::WriteTx<'_>,
        request: &Request,
    ) -> Result<Reconciled, RelayError> {
        match self.delete_row(tx, request) {
            Err(RelayError::NoFile) => Ok(Reconciled::Nothing),
            Err(error) => Err(error),
            Ok(_) => Ok(Reconciled::Changed),
        }
    }
}
