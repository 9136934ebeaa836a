//! Folds SQLite's write-ahead log into the file without holding up commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::StoreError;
use crate::sqlite::store_error;

/// Pages in the write-ahead log from which a checkpoint is worth its fsync.
const START_PAGES: u64 = 2048;
/// Pages from which the writer itself finishes what a checkpoint left over. Under steady load a checkpoint
/// beside the writer never catches up with the last commit, and only a complete one lets the log start again.
const FINISH_PAGES: u64 = 4 * START_PAGES;

/// A thread with a connection of its own that checkpoints when the writer requests it.
pub(crate) struct Checkpointer {
    pages: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
    /// The length at which the next checkpoint starts.
    next: u64,
    wake: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    /// Starts the thread. `pages` is kept up to date with the length of the write-ahead log.
    pub(crate) fn start(path: &Path, pages: Arc<AtomicU64>) -> Result<Self, StoreError> {
        let (wake, woken) = sync_channel(1);
        let busy = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&busy);
        let path = PathBuf::from(path);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || run(&path, &woken, &own))
            .map_err(|e| StoreError::Unavailable(format!("no thread for checkpoints: {e}")))?;
        Ok(Self { pages, busy, next: START_PAGES, wake, thread })
    }

    /// Called by the writer between two groups.
    pub(crate) fn after_commit(&mut self, writer: &rusqlite::Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < START_PAGES {
            self.next = START_PAGES;
        } else if pages >= self.next && !self.busy.load(Ordering::Acquire) {
            self.next = pages + START_PAGES;
            if pages >= FINISH_PAGES || self.wake.try_send(()).is_err() {
                checkpoint(writer);
            }
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(path: &Path, woken: &Receiver<()>, busy: &AtomicBool) {
    let connection = match rusqlite::Connection::open(path) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, "checkpoints happen between commits: no connection of their own");
            return;
        }
    };
    for () in woken {
        busy.store(true, Ordering::Release);
        checkpoint(&connection);
        busy.store(false, Ordering::Release);
    }
}

/// Copies what no reader still needs; never waits for anybody.
fn checkpoint(connection: &rusqlite::Connection) {
    let result = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |row| row.get::<_, i64>(0));
    if let Err(error) = result {
        tracing::warn!(error = %store_error(error), "a checkpoint failed; the next one tries again");
    }
}
