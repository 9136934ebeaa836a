//! Changes that the command line makes beside a running server: its live sessions must feel them, too.

use std::collections::HashSet;

use relais_protocol::time::Timestamp;
use relais_store::StoreError;

use super::Accounts;
use super::store;
use crate::AppError;

/// How far back each look goes: longer than a commit may take between its time and its appearance.
const LOOK_BACK_MS: i64 = 30_000;

/// Changes read at once.
const PAGE: usize = 1_000;

/// What was seen already.
#[derive(Debug)]
pub struct OutsideChanges {
    seen: HashSet<String>,
    started: Timestamp,
}

impl OutsideChanges {
    /// Nothing seen; changes before `started` are what this server began with.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self { seen: HashSet::new(), started }
    }
}

impl Accounts {
    /// Makes the rights that the command line changed since the last look take effect here: what is
    /// remembered of them is forgotten, and live sessions end.
    ///
    /// # Errors
    /// What the database reports; the next look makes up for it.
    pub async fn notice_outside_changes(&self, changes: &mut OutsideChanges) -> Result<(), AppError> {
        let since = changes.started.max(self.auth.now().plus_millis(-LOOK_BACK_MS));
        let mut found: Vec<(String, String)> = Vec::new();
        loop {
            let after = found.last().map(|(entry, _)| entry.clone()).unwrap_or_default();
            let page = self.auth.store().read(move |tx| store::changed_from_outside(tx, since, &after, PAGE));
            let page = page.await.map_err(|error: StoreError| AppError::from(error))?;
            let is_last = page.len() < PAGE;
            found.extend(page);
            if is_last {
                break;
            }
        }
        for (entry, target) in &found {
            if changes.seen.contains(entry) {
                continue;
            }
            match target.split_once(':') {
                Some(("user", id)) => self.auth.user_changed(id),
                Some(("key", id)) => self.auth.key_changed(id),
                _ => {}
            }
        }
        changes.seen = found.into_iter().map(|(entry, _)| entry).collect();
        Ok(())
    }
}
