//! `relais watch`: files to the server whenever they change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use serde_json::json;
use tokio::sync::Notify;

use super::client::folder::{self, LocalFile};
use super::client::model::Manifest;
use super::client::{Backoff, ClientError, Remote, ServerArgs, Stop, progress};
use super::transfer::outbox::{Outbox, Round};
use super::transfer::plan::Difference;
use super::{CliError, Globals, out};

/// Changes that come this close together are handled together.
const QUIET: Duration = Duration::from_millis(200);
/// How soon a file that is still being written is looked at again.
const UNFINISHED_PAUSE: Duration = Duration::from_millis(500);
/// The folder is looked at this often even without a notification: network shares send none.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);

/// Arguments of `relais watch`.
#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// The folder; without --societe its subfolders are sociétés
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The société that the files belong to
    #[arg(long, value_name = "S")]
    societe: Option<String>,
    /// Delete on the server what is removed from the folder
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sends what differs, then what changes, until a signal.
pub(super) async fn run(args: WatchArgs, globals: &Globals) -> Result<(), CliError> {
    if !args.folder.is_dir() {
        let place = args.folder.display();
        return Err(CliError::new(format!(
            "{place} is not a folder; to send single files use `relais push`"
        )));
    }
    let remote = args.server.remote(globals)?;
    let stop = Stop::on_signals();
    let changed = Arc::new(Notify::new());
    let _watcher = watcher(&args.folder, Arc::clone(&changed))?;
    let mut watch = Watch {
        args: &args,
        remote: &remote,
        stop: &stop,
        outbox: Outbox::default(),
        compared: false,
        began: false,
    };
    let mut backoff = Backoff::from_entropy();
    while !stop.is_asked() {
        let mut round = Round::default();
        let outcome = watch.round(&mut round).await;
        print_round(&round, globals.json)?;
        let pause = match outcome {
            Ok(()) => {
                backoff.reset();
                if round.unfinished { UNFINISHED_PAUSE } else { LOOK_ANYWAY }
            }
            Err(error) => watch.lost(&error, &mut backoff)?,
        };
        let away = backoff.failures() > 0;
        stop.until(wait(&changed, pause, away)).await;
    }
    Ok(())
}

/// Waits for a change and for the quiet after it. While the server is away only time helps.
async fn wait(changed: &Notify, pause: Duration, away: bool) {
    if away {
        return tokio::time::sleep(pause).await;
    }
    if tokio::time::timeout(pause, changed.notified()).await.is_ok() {
        tokio::time::sleep(QUIET).await;
    }
}

/// Reports that something changed; what it was is found by looking.
fn watcher(folder: &Path, changed: Arc<Notify>) -> Result<notify::RecommendedWatcher, CliError> {
    let told = move |event: notify::Result<notify::Event>| {
        // Reading is what this command does itself; it must not wake itself.
        let reading = event.is_ok_and(|event| {
            use notify::event::{AccessKind, AccessMode, EventKind};
            let closed_after_writing = EventKind::Access(AccessKind::Close(AccessMode::Write));
            matches!(event.kind, EventKind::Access(_)) && event.kind != closed_after_writing
        });
        if !reading {
            changed.notify_one();
        }
    };
    let explained = |e: notify::Error| {
        CliError::new(format!("cannot watch {}: {e}; check the permissions", folder.display()))
    };
    let mut watcher = notify::recommended_watcher(told).map_err(explained)?;
    watcher.watch(folder, RecursiveMode::Recursive).map_err(explained)?;
    Ok(watcher)
}

struct Watch<'a> {
    args: &'a WatchArgs,
    remote: &'a Remote,
    stop: &'a Stop,
    outbox: Outbox,
    /// The server has been asked what it has since it was last away.
    compared: bool,
    /// A first round has succeeded: what fails from here on is a disturbance, not a mistake in the call.
    began: bool,
}

impl Watch<'_> {
    /// One look at the folder, and everything that follows from it.
    async fn round(&mut self, round: &mut Round) -> Result<(), ClientError> {
        let (folder, societe) = (self.args.folder.clone(), self.args.societe.clone());
        let looked = tokio::task::spawn_blocking(move || folder::collect(&[folder], societe.as_deref()));
        let files = looked.await.unwrap_or_else(|e| Err(ClientError::local(&self.args.folder, e)))?;
        if !self.compared {
            let compared = self.stop.until(self.compare(&files)).await;
            compared.unwrap_or(Ok(()))?;
            self.compared = true;
        }
        self.outbox.settle(self.remote, &files, self.args.delete, self.stop, round).await?;
        self.began = true;
        Ok(())
    }

    /// Asks the server what it has. An empty folder deletes nothing: it is more often not mounted than meant.
    async fn compare(&mut self, files: &[LocalFile]) -> Result<(), ClientError> {
        let mut societes: BTreeMap<&str, Vec<&LocalFile>> = BTreeMap::new();
        for file in files {
            societes.entry(&file.societe).or_default().push(file);
        }
        for (societe, files) in societes {
            let hashed = hash_all(&files).await?;
            let manifest: Manifest =
                hashed.iter().map(|(f, hash)| (f.filename.clone(), hash.clone())).collect();
            let difference = match self.remote.compare(societe, &manifest).await? {
                Some(reply) => Difference::from_sync(&manifest, &reply),
                None => Difference::all(&manifest),
            };
            let same = |file: &LocalFile| difference.send.binary_search(&file.filename).is_err();
            hashed.iter().filter(|(f, _)| same(f)).for_each(|(f, hash)| self.outbox.learn(f, hash));
            for filename in &difference.server_only {
                self.outbox.learn_server_only(societe, filename);
            }
        }
        Ok(())
    }

    /// How long to wait for a server that is away; an error if waiting does not help.
    fn lost(&mut self, error: &ClientError, backoff: &mut Backoff) -> Result<Duration, CliError> {
        let local = self.began && matches!(error, ClientError::Local { .. });
        if !local && !error.may_pass_for_a_follower() {
            return Err(CliError::new(error.to_string()));
        }
        if backoff.failures() == 0 {
            out::note(&format!("{error}; trying again, and nothing that changes meanwhile is lost"));
        }
        // It may come back from a backup: what it has is asked again.
        self.compared = false;
        Ok(backoff.next(error.retry_after()))
    }
}

async fn hash_all(files: &[&LocalFile]) -> Result<Vec<(LocalFile, String)>, ClientError> {
    let files: Vec<LocalFile> = files.iter().copied().cloned().collect();
    let hashed = tokio::task::spawn_blocking(move || {
        let hashed = files.into_iter().filter_map(|file| {
            // Unreadable or removed just now: the round that follows reports it or no longer sees it.
            let hash = folder::hash_file(&file.path).ok()?;
            Some((file, hash))
        });
        hashed.collect()
    });
    hashed.await.map_err(|e| ClientError::Usage(e.to_string()))
}

fn print_round(round: &Round, json: bool) -> Result<(), CliError> {
    for (item, bytes) in &round.sent {
        if json {
            out::json_line(&json!({
                "event": "sent", "societe": item.societe, "filename": item.filename, "bytes": bytes,
            }))?;
        } else {
            out::line(&format!("sent     {}  {}", item.shown(), progress::size(*bytes)))?;
        }
    }
    for item in &round.deleted {
        if json {
            out::json_line(&json!({
                "event": "deleted", "societe": item.societe, "filename": item.filename,
            }))?;
        } else {
            out::line(&format!("deleted  {}", item.shown()))?;
        }
    }
    for failure in &round.failed {
        out::problem(&failure.line());
        if json {
            out::json_line(&json!({ "event": "failed", "failure": failure }))?;
        }
    }
    Ok(())
}
