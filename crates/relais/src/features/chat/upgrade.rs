//! Work left by an upgrade, done gradually while the server runs: indexing older messages for the search, and updating
//! texts in the log that were edited or deleted. The progress is stored in the database, so that it resumes after a
//! restart.

use std::time::Duration;

use relais_store::{StoreError, WriteTx};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::carriers::{named, refreshed};
use super::service::Chat;
use super::store;
use super::store::backfill::{LOG, WORDS};
use super::words::stored;

/// Messages, and log positions, per step.
const MESSAGES_AT_ONCE: usize = 200;
const EVENTS_AT_ONCE: u64 = 500;
/// Delay after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Does the work left by an upgrade, until it is done or the server stops.
pub async fn catch_up(chat: Chat, stop: CancellationToken) {
    for task in [LOG, WORDS] {
        let mut steps = 0u64;
        loop {
            let began = chat.0.clock.instant();
            // Others write as long in between.
            let pause = match chat.catch_up_step(task).await {
                Ok(false) => break,
                Ok(true) => chat.0.clock.instant() - began,
                Err(error) => {
                    tracing::warn!(%error, task, "what an upgrade left could not be done; trying again");
                    PAUSE
                }
            };
            steps += 1;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if steps > 0 {
            tracing::info!(task, steps, "what an upgrade left is done");
        }
    }
}

impl Chat {
    /// One step of a task. Returns whether there may be more.
    async fn catch_up_step(&self, task: &'static str) -> Result<bool, StoreError> {
        let store = &self.0.store;
        if store.read(move |tx| store::backfill::below(tx, task)).await? == 0 {
            return Ok(false);
        }
        let first_kept = store.log_bounds().await?.first_seq_kept;
        store.write(move |tx| if task == WORDS { index_some(tx) } else { refresh_some(tx, first_kept) }).await
    }
}

/// Indexes the last messages not yet indexed, and stores the progress.
fn index_some(tx: &mut WriteTx<'_>) -> Result<bool, StoreError> {
    let below = store::backfill::below(tx, WORDS)?;
    let some = store::backfill::messages_below(tx, below, MESSAGES_AT_ONCE)?;
    let words: Vec<_> = some.iter().map(|(key, content)| (*key, stored(content))).collect();
    store::search::index_each(&mut tx.rows(), &words)?;
    let left = some.last().map_or(0, |(key, _)| *key);
    store::backfill::set_below(tx, WORDS, left)?;
    Ok(left > 0)
}

/// Records which events contain the text of a message, and updates those that are not current.
fn refresh_some(tx: &mut WriteTx<'_>, first_kept: u64) -> Result<bool, StoreError> {
    let below = store::backfill::below(tx, LOG)?;
    let from = below.saturating_sub(EVENTS_AT_ONCE).max(first_kept);
    for event in store::backfill::carriers_between(tx, from, below)? {
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { continue };
        for id in named(&data) {
            let Some(row) = store::messages::find(tx, id)? else { continue };
            if event.name == "new_message" && event.topic.key() == row.conversation_id {
                store::carriers::set_first(tx, id, event.seq)?;
            } else {
                store::carriers::add(tx, id, event.seq)?;
            }
            tx.amend(event.seq, |data| refreshed(data, &row))?;
        }
    }
    let left = if from > first_kept { from } else { 0 };
    store::backfill::set_below(tx, LOG, left)?;
    Ok(left > 0)
}
