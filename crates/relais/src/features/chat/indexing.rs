//! Indexing of messages for the search, in batches shortly after they are stored, so that sending does not wait for it.
//!
//! The position up to which messages are indexed is stored with the words: after a crash it continues from there. A
//! search first indexes all earlier messages.

use std::time::Duration;

use relais_store::{RowTx, StoreError};
use tokio_util::sync::CancellationToken;

use super::service::Chat;
use super::store;
use super::words::stored;

/// Messages per step.
const MESSAGES_AT_ONCE: usize = 200;
/// How long messages are collected.
const GATHERED: Duration = Duration::from_millis(500);
/// Delay after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Indexes messages until the server stops.
pub async fn index_messages(chat: Chat, stop: CancellationToken) {
    loop {
        let pause = match chat.note_words().await {
            Ok(()) => GATHERED,
            Err(error) => {
                tracing::warn!(%error, "the words of messages could not be noted; trying again");
                chat.0.unindexed.notify_one();
                PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = chat.0.unindexed.notified() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Chat {
    /// Returns once all messages stored before this call are indexed.
    pub(super) async fn note_words(&self) -> Result<(), StoreError> {
        let _one_after_the_other = self.0.indexing.lock().await;
        let (from, newest) = self.0.store.read(|tx| store::backfill::fresh(tx)).await?;
        let mut next = Some(from);
        while next.is_some_and(|from| from <= newest) {
            next = self.0.store.write_rows(note_some).await?;
        }
        Ok(())
    }
}

/// Indexes the first messages not yet indexed. Returns the key from which the next ones wait; `None` if there were
/// none.
fn note_some(tx: &mut RowTx<'_, '_>) -> Result<Option<u64>, StoreError> {
    let from = store::backfill::hold_fresh(tx)?;
    let some = store::messages::from_key(tx, from, MESSAGES_AT_ONCE)?;
    let Some((last, _)) = some.last() else { return Ok(None) };
    let words: Vec<_> = some.iter().map(|(key, content)| (*key, stored(content))).collect();
    store::search::index_each(tx, &words)?;
    store::backfill::set_fresh(tx, last + 1)?;
    Ok(Some(last + 1))
}
