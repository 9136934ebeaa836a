//! Bringing the folder and the database together: what other programs changed, and what a crash interrupted.

use std::collections::BTreeSet;
use std::sync::Arc;

use relais_protocol::event::Event;
use relais_store::StoreError;

use super::Relay;
use super::change::TOPIC_FAMILY;
use super::error::RelayError;
use super::folder::Stat;
use super::model::{FileMeta, Precondition, Request};
use super::name::{FileName, SocieteName};
use super::store::{self, FileRow};

/// Who stores what other programs wrote.
const FOLDER_USER: &str = "folder";
/// How often a file may change while it is brought up to date; beyond it the next look goes on.
const CHANGES_MEANWHILE_MAX: usize = 5;

/// The file that an event is about; an event about the whole société names none.
#[derive(serde::Deserialize)]
struct Named {
    societe: String,
    filename: Option<String>,
}

/// What a comparison of one file led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The folder holds what the database says, or a change is under way that will be looked at again.
    Nothing,
    /// A change by another program was stored and announced.
    Changed,
    /// The folder holds something that is not accepted; the last good content stays.
    Refused,
}

impl Relay {
    /// Loads what is stored and finishes what a crash interrupted. Called once, before anybody is served.
    ///
    /// # Errors
    /// What the database or the disk reports.
    pub(super) async fn recover(&self) -> Result<(), RelayError> {
        let ledger = Arc::clone(&self.0.ledger);
        let (rows, settled) = self
            .0
            .store
            .read(move |tx| {
                Ok::<_, StoreError>((store::all_files(tx)?, store::settled_seq(tx, ledger.folder.id())?))
            })
            .await?;
        for row in rows.iter().filter(|row| !row.deleted) {
            self.0.ledger.index.put(&row.societe, row.meta.clone());
        }
        for row in rows.into_iter().filter(|row| row.meta.seq > settled) {
            self.finish(row).await?;
        }
        self.rescan().await
    }

    /// Brings the plain file of one row up to date, whose writing may have been interrupted.
    pub(super) async fn finish(&self, row: FileRow) -> Result<(), RelayError> {
        let (folder, max) = (Arc::clone(&self.0.ledger.folder), self.0.config.file_bytes_max);
        let (societe, filename) = (row.societe.clone(), row.meta.filename.clone());
        let found = tokio::task::spawn_blocking(move || folder.read(&societe, &filename, max)).await;
        let found = found.map_err(|e| RelayError::Io(e.into()))??;
        if row.deleted {
            return self.finish_deletion(&row, found.map(|(stat, _)| stat));
        }
        let Some((stat, bytes)) = found else { return self.rewrite(row).await };
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
    fn finish_deletion(&self, row: &FileRow, found: Option<Stat>) -> Result<(), RelayError> {
        let as_in = |meta: &FileMeta| found == Some(Stat { size: meta.size, mtime_ns: meta.mtime_ns });
        let known = self.0.ledger.index.file(&row.societe, &row.meta.filename);
        if as_in(&row.meta) || known.is_some_and(|meta| as_in(&meta)) {
            self.0.ledger.folder.remove(&row.societe, &row.meta.filename)?;
        }
        self.0.ledger.index.remove(&row.societe, &row.meta.filename);
        self.0.ledger.forget_unplaced(&row.societe, &row.meta.filename, row.meta.seq);
        Ok(())
    }

    /// Writes the plain file anew. If what is stored is damaged, there is nothing to write: everything else goes on.
    async fn rewrite(&self, row: FileRow) -> Result<(), RelayError> {
        let ledger = Arc::clone(&self.0.ledger);
        let content = match self.stored_content(&row.societe, &row.meta.filename, row.meta.version).await {
            Err(error @ RelayError::Damaged { .. }) => {
                tracing::error!(societe = %row.societe, filename = %row.meta.filename, %error, "a plain file cannot be made");
                ledger.forget_unplaced(&row.societe, &row.meta.filename, row.meta.seq);
                return Ok(());
            }
            content => content?,
        };
        self.0.store.write(move |tx| ledger.replace_plain_file(tx, &row, &content)).await
    }

    /// Compares the whole folder with what is stored.
    ///
    /// # Errors
    /// What the database or the disk reports.
    pub async fn rescan(&self) -> Result<(), RelayError> {
        let folder = Arc::clone(&self.0.ledger.folder);
        let present = tokio::task::spawn_blocking(move || folder.societes()).await;
        let present = present.map_err(|e| RelayError::Io(e.into()))??;
        let mut all: BTreeSet<SocieteName> = present.iter().cloned().collect();
        all.extend(self.0.ledger.index.societes());
        for societe in &all {
            self.rescan_societe(societe).await?;
        }
        Ok(())
    }

    /// Compares one société's folder with what is stored.
    ///
    /// # Errors
    /// What the database or the disk reports.
    pub async fn rescan_societe(&self, societe: &SocieteName) -> Result<(), RelayError> {
        let (folder, name) = (Arc::clone(&self.0.ledger.folder), societe.clone());
        let extensions = self.0.config.extensions.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let Some(files) = folder.files(&name, &extensions)? else { return Ok(None) };
            let with_stat = |file: FileName| Ok((folder.stat(&name, &file)?, file));
            files.into_iter().map(with_stat).collect::<std::io::Result<Vec<_>>>().map(Some)
        });
        let listed = listed.await.map_err(|e| RelayError::Io(e.into()))??;
        let is_there = listed.is_some();
        if is_there {
            self.0.ledger.index.add_societe(societe);
        }
        let listed = listed.unwrap_or_default();
        let names: BTreeSet<FileName> = listed.iter().map(|(_, name)| name.clone()).collect();
        let differing = listed.into_iter().filter(|(stat, name)| !self.is_as_stored(societe, name, *stat));
        let mut suspects: Vec<FileName> = differing.map(|(_, name)| name).collect();
        let known = self.0.ledger.index.files(societe).unwrap_or_default();
        suspects.extend(known.iter().map(|meta| meta.filename.clone()).filter(|name| !names.contains(name)));
        for filename in suspects {
            self.reconcile_file(societe, &filename).await?;
        }
        if !is_there {
            self.0.ledger.index.remove_empty_societe(societe);
        }
        Ok(())
    }

    fn is_as_stored(&self, societe: &SocieteName, filename: &FileName, stat: Option<Stat>) -> bool {
        let meta = self.0.ledger.index.file(societe, filename);
        meta.map(|meta| Stat { size: meta.size, mtime_ns: meta.mtime_ns }) == stat
    }

    /// Compares one plain file with what is stored, and stores and announces what another program changed.
    /// A content that is not accepted (it may be half written) is left alone until it changes again.
    ///
    /// # Errors
    /// What the database or the disk reports.
    pub async fn reconcile_file(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<Reconciled, RelayError> {
        let ledger = &self.0.ledger;
        if ledger.index.is_changing(societe, filename) || !filename.has_extension(&self.0.config.extensions) {
            return Ok(Reconciled::Nothing);
        }
        // Most often it is the relay's own change that is seen here, and asking where it stands costs less than
        // a hop to the blocking pool.
        let stat = ledger.folder.stat(societe, filename)?;
        if self.is_as_stored(societe, filename, stat) {
            return Ok(Reconciled::Nothing);
        }
        if stat.is_none() {
            return self.adopt_removal(societe, filename).await;
        }
        let (folder, max) = (Arc::clone(&ledger.folder), self.0.config.file_bytes_max);
        let (societe_name, name) = (societe.clone(), filename.clone());
        let found = tokio::task::spawn_blocking(move || folder.read(&societe_name, &name, max));
        match found.await.map_err(|e| RelayError::Io(e.into()))?? {
            None => Ok(Reconciled::Refused),
            Some((stat, bytes)) => match self.checked(societe, filename, bytes.into()).await {
                Ok(content) => self.adopt(societe, filename, content, stat, None).await,
                Err(error) => {
                    tracing::warn!(%societe, %filename, %error, "a file in the folder is not accepted; its last good content stays");
                    metrics::counter!("relais_relay_folder_refused_total").increment(1);
                    Ok(Reconciled::Refused)
                }
            },
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

    /// A disk that lost the plain file and what is stored of it as well is not taken for somebody who deletes: clients
    /// would delete theirs.
    async fn adopt_removal(
        &self,
        societe: &SocieteName,
        filename: &FileName,
    ) -> Result<Reconciled, RelayError> {
        let Some(meta) = self.0.ledger.index.file(societe, filename) else { return Ok(Reconciled::Nothing) };
        match self.stored_content(societe, filename, meta.version).await {
            Err(error @ RelayError::Damaged { .. }) => {
                tracing::error!(%societe, %filename, %error, "a plain file is missing and cannot be made");
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

    /// Notes what another process committed, or this one without learning of it: the plain file follows at once
    /// ([`Relay::bring_up_to_date`]), and before that nothing older is given out.
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

    /// Returns when something is to be brought up to date.
    pub(super) async fn fell_behind(&self) {
        self.0.behind.notified().await;
    }

    /// Brings a file's plain file and what is known of it to what the database says, one file after the other: an
    /// older state cannot overtake a newer one.
    ///
    /// # Errors
    /// What the database or the disk reports.
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

    /// Makes the plain files survive a power cut, and remembers up to where they do.
    ///
    /// # Errors
    /// What the database or the disk reports.
    pub async fn settle(&self) -> Result<(), RelayError> {
        for (societe, filename) in self.0.ledger.unplaced() {
            self.bring_up_to_date(&societe, &filename).await?;
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
