//! The current state of the relay in memory: lists, the status and downloads need no database query.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use relais_protocol::time::Timestamp;

use super::model::{FileMeta, Totals};
use super::name::{FileName, SocieteName};
use super::plain_file::Stat;

/// The current files of every société. Changes are applied in the order in which they were committed.
#[derive(Default)]
pub struct Index {
    societes: RwLock<BTreeMap<SocieteName, Files>>,
    /// When a file of each société was last deleted.
    deleted_at: RwLock<BTreeMap<SocieteName, Timestamp>>,
    /// Files whose committed content is not in place yet, with the number of such changes.
    in_flight: RwLock<HashMap<(SocieteName, FileName), usize>>,
}

type Files = BTreeMap<FileName, Arc<FileMeta>>;

impl Index {
    /// The names of all sociétés, in order.
    #[must_use]
    pub fn societes(&self) -> Vec<SocieteName> {
        self.societes.read().keys().cloned().collect()
    }

    /// The files of a société in the order of their names; `None` if there is no such société.
    #[must_use]
    pub fn files(&self, societe: &SocieteName) -> Option<Vec<Arc<FileMeta>>> {
        self.societes.read().get(societe).map(|files| files.values().cloned().collect())
    }

    /// The number of files of a société; `None` if there is no such société.
    #[must_use]
    pub fn file_count(&self, societe: &SocieteName) -> Option<usize> {
        self.societes.read().get(societe).map(BTreeMap::len)
    }

    /// One file.
    #[must_use]
    pub fn file(&self, societe: &SocieteName, filename: &FileName) -> Option<Arc<FileMeta>> {
        self.societes.read().get(societe)?.get(filename).cloned()
    }

    /// Totals over the sociétés that pass `visible`.
    #[must_use]
    pub fn totals(&self, visible: impl Fn(&SocieteName) -> bool) -> Totals {
        let societes = self.societes.read();
        let mut totals = Totals::default();
        for (_, files) in societes.iter().filter(|(name, _)| visible(name)) {
            totals.societes += 1;
            totals.files += files.len();
            totals.last_update = totals.last_update.max(files.values().map(|meta| meta.modified_at).max());
        }
        let deleted_at = self.deleted_at.read();
        let deletions = deleted_at.iter().filter(|(name, _)| visible(name)).map(|(_, at)| *at);
        totals.last_update = totals.last_update.max(deletions.max());
        totals
    }

    /// Adds a société.
    pub fn add_societe(&self, societe: &SocieteName) {
        let mut societes = self.societes.write();
        if !societes.contains_key(societe) {
            societes.insert(societe.clone(), Files::new());
        }
    }

    /// Removes a société whose folder is gone, if it has no files.
    pub fn remove_empty_societe(&self, societe: &SocieteName) {
        let mut societes = self.societes.write();
        if societes.get(societe).is_some_and(BTreeMap::is_empty) {
            societes.remove(societe);
        }
    }

    /// Sets the current content of a file.
    pub fn put(&self, societe: &SocieteName, meta: FileMeta) {
        let mut societes = self.societes.write();
        match societes.get_mut(societe) {
            Some(files) => {
                files.insert(meta.filename.clone(), Arc::new(meta));
            }
            None => {
                let files = Files::from([(meta.filename.clone(), Arc::new(meta))]);
                societes.insert(societe.clone(), files);
            }
        }
    }

    /// Sets the stat of the plain file of the event `seq`. Returns whether it changed.
    pub fn set_stat(&self, societe: &SocieteName, filename: &FileName, seq: u64, stat: Stat) -> bool {
        let mut societes = self.societes.write();
        let known = societes.get_mut(societe).and_then(|files| files.get_mut(filename));
        match known.filter(|meta| meta.seq == seq && meta.stat() != stat) {
            Some(meta) => {
                *meta = Arc::new(FileMeta::clone(meta).looking_like(stat));
                true
            }
            None => false,
        }
    }

    /// Records the deletion of a file at `at`: that is a change too.
    pub fn note_deletion(&self, societe: &SocieteName, at: Timestamp) {
        let mut deleted_at = self.deleted_at.write();
        let last = deleted_at.entry(societe.clone()).or_insert(at);
        *last = at.max(*last);
    }

    /// Removes a file.
    pub fn remove(&self, societe: &SocieteName, filename: &FileName) {
        if let Some(files) = self.societes.write().get_mut(societe) {
            files.remove(filename);
        }
    }

    /// A change of this file is in progress until the guard is dropped: its state in the folder is not to be taken for
    /// another program's change.
    #[must_use]
    pub fn begin_change(self: &Arc<Self>, societe: &SocieteName, filename: &FileName) -> InFlight {
        let key = (societe.clone(), filename.clone());
        *self.in_flight.write().entry(key.clone()).or_default() += 1;
        InFlight { index: Arc::clone(self), key }
    }

    /// Whether a change of this file is in progress.
    #[must_use]
    pub fn is_changing(&self, societe: &SocieteName, filename: &FileName) -> bool {
        let in_flight = self.in_flight.read();
        !in_flight.is_empty() && in_flight.contains_key(&(societe.clone(), filename.clone()))
    }
}

/// A change in progress: see [`Index::begin_change`].
pub struct InFlight {
    index: Arc<Index>,
    key: (SocieteName, FileName),
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut in_flight = self.index.in_flight.write();
        if let Some(count) = in_flight.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                in_flight.remove(&self.key);
            }
        }
    }
}
