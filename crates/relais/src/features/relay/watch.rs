//! Detects changes by other programs in the folder, and runs the relay's maintenance.

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
use super::left_out::Spot;
use super::name::{FileName, SocieteName};

/// Maximum number of queued changes; beyond it the whole folder is compared at the next sync.
const QUEUE_MAX: usize = 4096;
/// How long the folder must be quiet before a change is examined: a program that writes in pieces has probably
/// finished, and its renames are seen as one change.
const QUIET: Duration = Duration::from_millis(10);
/// How often plain files are synced to survive a power failure; until then the database is the durable copy.
const SETTLE: Duration = Duration::from_secs(2);
/// How often blobs without a version are collected.
const GARBAGE: Duration = Duration::from_secs(3600);
/// How often the folder is compared while it cannot be watched.
const POLL: Duration = Duration::from_secs(5);
/// Rows whose stat is updated at each sync and at shutdown.
const SAVED_MAX: usize = 100;
const SAVED_AT_ONCE: usize = 1000;
/// How often that is done at shutdown.
const SAVES_AT_THE_END_MAX: usize = 100;

/// Watches the folder and keeps it settled until `stop`.
///
/// The folder of sociétés and each société's folder are watched one by one, not recursively, so that the
/// relay's own staging costs no events.
pub(crate) async fn run(relay: Relay, stop: CancellationToken) {
    let (sender, mut changed) = mpsc::channel(QUEUE_MAX);
    let overflowed = Arc::new(AtomicBool::new(false));
    let mut watched = Watched::start(&relay, sender, Arc::clone(&overflowed));
    // Requests are accepted already: changes they made before the watch began caused no event.
    report(watched.catch_up(&relay).await);
    let mut settle = interval(SETTLE);
    let mut poll = interval(POLL.min(Duration::from_secs(relay.config().rescan_s.max(1))));
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
                report(relay.save_stats(SAVED_MAX).await.map(drop));
                report(relay.compact_if_due().await);
            }
            _ = poll.tick(), if relay.is_polling() => report(watched.catch_up(&relay).await),
            _ = rescan.tick() => {
                report(watched.catch_up(&relay).await);
            }
            _ = garbage.tick() => report(relay.collect_garbage().await.map(drop)),
        }
    }
    report(relay.settle().await);
    for _ in 0..SAVES_AT_THE_END_MAX {
        match relay.save_stats(SAVED_AT_ONCE).await {
            Ok(0) => break,
            outcome => report(outcome.map(drop)),
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.reset();
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
    notices: mpsc::Sender<PathBuf>,
    overflowed: Arc<AtomicBool>,
    base: PathBuf,
    folders: BTreeSet<SocieteName>,
    /// What has kept a folder from being watched since all of them last were.
    fault: Option<String>,
}

impl Watched {
    fn start(relay: &Relay, notices: mpsc::Sender<PathBuf>, overflowed: Arc<AtomicBool>) -> Self {
        let base = std::path::absolute(relay.0.ledger.folder.path())
            .unwrap_or_else(|_| relay.0.ledger.folder.path().to_owned());
        Self { watcher: None, notices, overflowed, base, folders: BTreeSet::new(), fault: None }
    }

    /// Watches every existing folder, then compares it: in this order no change is missed. A folder that was removed
    /// and created again is a different one, so all are watched anew. When the system has no watch left, only the
    /// comparison remains: it then runs often, until a watch is available again.
    async fn catch_up(&mut self, relay: &Relay) -> Result<(), RelayError> {
        self.fault = None;
        self.folders.clear();
        self.watch(&self.base.clone());
        for societe in relay.list_societes().await? {
            self.add(relay, &societe);
        }
        self.report(relay);
        relay.rescan().await
    }

    /// Whether only the list of all sociétés reports a path: it is no valid name, it is no folder (any more), or its
    /// name is in another form than the one it is served under.
    fn is_unlisted(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.base) else { return false };
        let mut parts = inside.iter();
        let Some(first) = parts.next().filter(|first| !first.as_encoded_bytes().starts_with(b".")) else {
            return false;
        };
        match first.to_str().map(SocieteName::new) {
            Some(Ok(societe)) => {
                let is_folder = || std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
                parts.next().is_none() && (societe.as_str() != first || !is_folder())
            }
            _ => true,
        }
    }

    fn add(&mut self, relay: &Relay, societe: &SocieteName) {
        let path = self.base.join(relay.0.ledger.folder.path_of(societe));
        // The system follows a link, and would then report changes in the folder under the name of the link.
        let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if is_folder && !self.folders.contains(societe) && self.watch(&path) {
            self.folders.insert(societe.clone());
        }
    }

    fn watch(&mut self, path: &Path) -> bool {
        let watched = self.watcher().and_then(|watcher| watcher.watch(path, RecursiveMode::NonRecursive));
        match watched {
            Ok(()) => true,
            // Gone, or unreadable: the comparison reports the fault.
            Err(error) if !is_of_the_system(&error) => false,
            Err(error) => {
                self.fault = Some(error.to_string());
                false
            }
        }
    }

    fn watcher(&mut self) -> notify::Result<&mut RecommendedWatcher> {
        if self.watcher.is_none() {
            let (notices, overflowed) = (self.notices.clone(), Arc::clone(&self.overflowed));
            self.watcher = Some(notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                forward(event, &notices, &overflowed);
            })?);
        }
        self.watcher.as_mut().ok_or_else(|| notify::Error::generic("there is no watcher"))
    }

    /// Says when watching ends and when it begins again.
    fn report(&self, relay: &Relay) {
        let was_polling = relay.0.is_polling.swap(self.fault.is_some(), Ordering::Relaxed);
        match &self.fault {
            Some(fault) if !was_polling => tracing::warn!(
                fault,
                every_s = POLL.as_secs(),
                "the folder cannot be watched live, so it is compared often instead: raise \
                 fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl), or end what uses them up"
            ),
            None if was_polling => tracing::info!("the folder is watched live again"),
            _ => {}
        }
    }
}

/// Whether the system lacks something, rather than the folder.
fn is_of_the_system(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound | notify::ErrorKind::WatchNotFound => false,
        notify::ErrorKind::Io(error) => {
            !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied)
        }
        _ => true,
    }
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
    /// Whether something appeared that is no plain file (a folder, in which there may be files that are not served, a
    /// link, a pipe), or whether what was recorded may be gone: the comparison of the folder reports it.
    fn is_for_the_comparison(&self, societe: &SocieteName, name: &str, path: &Path) -> bool {
        match std::fs::symlink_metadata(path) {
            Ok(found) => !found.is_file(),
            Err(_) => self.0.left_out.has(&Spot::entry(societe, name)),
        }
    }

    /// Examines the changes. A problem of one item does not delay the others.
    async fn look_at(&self, dirty: BTreeSet<PathBuf>, watched: &mut Watched) -> Result<(), RelayError> {
        let mut odd = BTreeSet::new();
        // Once, however many there are, and before anything is examined: from here on the form of each folder's name is
        // known.
        if dirty.iter().any(|path| watched.is_unlisted(path)) {
            self.list_societes().await?;
        }
        for path in dirty {
            let Ok(inside) = path.strip_prefix(&watched.base) else { continue };
            let mut parts = inside.iter();
            let Some(first) = parts.next() else { continue };
            // The relay's own files, and those that other programs hide from it.
            if first.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let Some(Ok(societe)) = first.to_str().map(SocieteName::new) else { continue };
            let Some(second) = parts.next() else {
                // A folder was created or removed: watch before examining, so that no change is missed.
                watched.folders.remove(&societe);
                watched.add(self, &societe);
                watched.report(self);
                odd.insert(societe);
                continue;
            };
            match second.to_str().map(FileName::new) {
                Some(Ok(filename)) => {
                    let on_disk = second.to_str().unwrap_or_default();
                    if self.is_for_the_comparison(&societe, on_disk, &path) {
                        odd.insert(societe);
                        continue;
                    }
                    if !self.0.ledger.folder.notice_form(&societe, &filename, on_disk) {
                        odd.insert(societe.clone());
                    }
                    if let Err(error) = self.reconcile_file(&societe, &filename).await {
                        self.leave_out(Spot::file(&societe, &filename), error)?;
                    }
                }
                // No file can have this name; or it is hidden.
                _ if second.as_encoded_bytes().starts_with(b".") => {}
                _ => drop(odd.insert(societe)),
            }
        }
        for societe in odd {
            self.rescan_societe(&societe).await?;
        }
        Ok(())
    }
}
