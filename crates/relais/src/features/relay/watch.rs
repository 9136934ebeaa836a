//! Noticing what other programs do in the folder, and the relay's own upkeep.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Relay;
use super::error::RelayError;
use super::name::{FileName, SocieteName};

/// Changes that may wait; beyond it the whole folder is compared at the next settling.
const QUEUE_MAX: usize = 4096;
/// How long the folder must be quiet before a change is looked at: a program that writes in pieces is
/// probably done, and what it renames is seen as one change.
const QUIET: Duration = Duration::from_millis(10);
/// How often plain files are made to survive a power cut; until then the database does.
const SETTLE: Duration = Duration::from_secs(2);
/// How often blobs without a version are looked for.
const GARBAGE: Duration = Duration::from_secs(3600);

/// Watches the folder and keeps it settled until `stop`.
///
/// The folder of sociétés and each société's folder are watched one by one, not recursively, so that the
/// relay's own staging costs no events.
pub(crate) async fn run(relay: Relay, stop: CancellationToken) {
    let (sender, mut changed) = mpsc::channel(QUEUE_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let mut watched = Watched::start(&relay, sender, Arc::clone(&overflowed));
    // Requests are taken already: what they made before the watch began caused no event.
    report(watched.catch_up(&relay).await);
    let mut settle = interval(SETTLE);
    let mut rescan = interval(Duration::from_secs(relay.config().rescan_s.max(1)));
    let mut garbage = interval(GARBAGE);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(first) = changed.recv() => {
                let dirty = gather(first, &mut changed).await;
                report(relay.look_at(dirty, &mut watched).await);
            }
            () = relay.fell_behind() => report(relay.settle().await),
            _ = settle.tick() => {
                if overflowed.swap(false, Ordering::AcqRel) {
                    report(watched.catch_up(&relay).await);
                }
                report(relay.settle().await);
                report(relay.compact_if_due().await);
            }
            _ = rescan.tick() => {
                report(watched.catch_up(&relay).await);
            }
            _ = garbage.tick() => report(relay.collect_garbage().await.map(drop)),
        }
    }
    report(relay.settle().await);
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

fn report(outcome: Result<(), RelayError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "the relay's folder could not be looked after; trying again");
    }
}

async fn gather(first: PathBuf, changed: &mut mpsc::Receiver<PathBuf>) -> BTreeSet<PathBuf> {
    let mut dirty = BTreeSet::from([first]);
    while dirty.len() < QUEUE_MAX
        && let Ok(Some(next)) = tokio::time::timeout(QUIET, changed.recv()).await
    {
        dirty.insert(next);
    }
    dirty
}

/// The folders that are watched.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    base: PathBuf,
    folders: BTreeSet<SocieteName>,
}

impl Watched {
    fn start(relay: &Relay, sender: mpsc::Sender<PathBuf>, overflowed: Arc<AtomicBool>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            forward(event, &sender, &overflowed);
        });
        let base = std::path::absolute(relay.0.ledger.folder.path())
            .unwrap_or_else(|_| relay.0.ledger.folder.path().to_owned());
        let watcher = watcher.inspect_err(explain).ok();
        let mut watched = Self { watcher, base: base.clone(), folders: BTreeSet::new() };
        watched.watch(&base);
        watched
    }

    /// Watches every société's folder that is there, then compares it: in this order nothing falls in between.
    /// A folder that was removed and made again is another one, so all are watched anew.
    async fn catch_up(&mut self, relay: &Relay) -> Result<(), RelayError> {
        let folder = Arc::clone(&relay.0.ledger.folder);
        let present = tokio::task::spawn_blocking(move || folder.societes()).await;
        self.folders.clear();
        for societe in present.map_err(|e| RelayError::Io(e.into()))?? {
            self.add(&societe);
        }
        relay.rescan().await
    }

    fn add(&mut self, societe: &SocieteName) {
        if !self.folders.contains(societe) && self.watch(&self.base.join(societe.as_str())) {
            self.folders.insert(societe.clone());
        }
    }

    fn watch(&mut self, path: &Path) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        watcher.watch(path, RecursiveMode::NonRecursive).inspect_err(explain).is_ok()
    }
}

fn explain(error: &notify::Error) {
    tracing::warn!(%error, "the folder cannot be watched live; changes by other programs are found by the \
        regular comparison only (relay.rescan_s). Raise fs.inotify.max_user_watches if it is the limit");
}

/// Runs on the watcher's thread.
fn forward(event: notify::Result<notify::Event>, sender: &mpsc::Sender<PathBuf>, overflowed: &AtomicBool) {
    let Ok(event) = event else {
        overflowed.store(true, Ordering::Release);
        return;
    };
    if event.need_rescan() {
        overflowed.store(true, Ordering::Release);
    }
    let only_read = matches!(event.kind, EventKind::Access(access) if !is_close_after_write(access));
    if only_read {
        return;
    }
    for path in event.paths {
        if sender.try_send(path).is_err() {
            overflowed.store(true, Ordering::Release);
            metrics::counter!("relais_relay_watch_overflows_total").increment(1);
        }
    }
}

fn is_close_after_write(access: notify::event::AccessKind) -> bool {
    access == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
}

impl Relay {
    async fn look_at(&self, dirty: BTreeSet<PathBuf>, watched: &mut Watched) -> Result<(), RelayError> {
        for path in dirty {
            let Ok(inside) = path.strip_prefix(&watched.base) else { continue };
            let mut parts = inside.iter().map(|part| part.to_str().unwrap_or_default());
            let Some(Ok(societe)) = parts.next().map(SocieteName::new) else { continue };
            match parts.next().map(FileName::new) {
                // A folder came or went: watch before looking, so that nothing falls in between.
                None => {
                    watched.folders.remove(&societe);
                    watched.add(&societe);
                    self.rescan_societe(&societe).await?;
                }
                Some(Ok(filename)) => {
                    self.reconcile_file(&societe, &filename).await?;
                }
                Some(Err(_)) => {}
            }
        }
        Ok(())
    }
}
