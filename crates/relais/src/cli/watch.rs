//! `relais watch`: files to the server whenever they change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use serde_json::json;
use tokio::sync::Notify;

use super::client::folder::{self, Collected, LeftOut, LocalFile, Place};
use super::client::model::Manifest;
use super::client::{Backoff, ClientError, Remote, ServerArgs, Stop, backoff, progress};
use super::transfer::guard::{Guard, Loss, held_back};
use super::transfer::outbox::{Outbox, Round};
use super::transfer::plan::Difference;
use super::transfer::summary::{Failure, Item};
use super::{CliError, Globals, out};

/// Changes that come this close together are handled together.
const QUIET: Duration = Duration::from_millis(200);
/// How soon a file that is still being written is looked at again.
const UNFINISHED_PAUSE: Duration = Duration::from_millis(500);
/// The folder is looked at this often even without a notification: network shares send none.
const LOOK_ANYWAY: Duration = Duration::from_secs(30);
/// And this often if the system gives no notifications at all.
const POLL: Duration = Duration::from_secs(2);
/// What is said of files that are to be deleted.
const GONE: &str = "are gone from the folder (is it mounted?)";

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
    /// Do so even if more goes than remains; on a terminal it is asked
    #[arg(long, requires = "delete")]
    allow_mass_delete: bool,
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
    let mut eye = Eye::new(&args.folder);
    let mut watch = Watch {
        args: &args,
        guard: Guard { allowed: args.allow_mass_delete, json: globals.json, stop: &stop },
        remote: &remote,
        stop: &stop,
        outbox: Outbox::default(),
        compared: false,
        began: false,
        said: BTreeSet::new(),
        refused: BTreeSet::new(),
        places: BTreeMap::new(),
        held: BTreeMap::new(),
    };
    let mut backoff = backoff();
    while !stop.is_asked() {
        eye.open();
        let mut round = Round::default();
        let outcome = watch.round(&mut round).await;
        print_round(&round, globals.json)?;
        let pause = match outcome {
            Ok(()) => {
                backoff.reset();
                if round.unfinished { UNFINISHED_PAUSE } else { eye.pause() }
            }
            Err(error) => watch.lost(&error, &mut backoff)?,
        };
        let away = backoff.failures() > 0;
        stop.until(wait(&eye.changed, pause, away)).await;
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
struct Eye<'a> {
    folder: &'a Path,
    changed: Arc<Notify>,
    /// With the folder that it looks at: a share that was mounted again is another one.
    watcher: Option<(notify::RecommendedWatcher, Option<Place>)>,
    is_blind: bool,
}

impl<'a> Eye<'a> {
    fn new(folder: &'a Path) -> Self {
        Self { folder, changed: Arc::default(), watcher: None, is_blind: false }
    }

    /// Watches the folder that is there now. Where the system gives no notifications, looking often remains; that is
    /// said once.
    fn open(&mut self) {
        let place = Place::of(self.folder);
        if self.watcher.as_ref().is_some_and(|(_, watched)| *watched == place) {
            return;
        }
        self.watcher = None;
        match watcher(self.folder, Arc::clone(&self.changed)) {
            Ok(watcher) => {
                self.watcher = Some((watcher, place));
                self.is_blind = false;
            }
            Err(error) => {
                if place.is_some() && !std::mem::replace(&mut self.is_blind, true) {
                    out::note(&format!(
                        "the system gives no notifications of {} ({error}), so it is looked at every {} s. If a \
                         limit is reached, raise fs.inotify.max_user_watches and fs.inotify.max_user_instances \
                         (sysctl)",
                        self.folder.display(),
                        POLL.as_secs()
                    ));
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.watcher.is_some() { LOOK_ANYWAY } else { POLL }
    }
}

fn watcher(folder: &Path, changed: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
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
    let mut watcher = notify::recommended_watcher(told)?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

struct Watch<'a> {
    args: &'a WatchArgs,
    guard: Guard<'a>,
    remote: &'a Remote,
    stop: &'a Stop,
    outbox: Outbox,
    /// The server has been asked what it has since it was last away.
    compared: bool,
    /// A first round has succeeded: what fails from here on is a disturbance, not a mistake in the call.
    began: bool,
    /// What is left out and has been said.
    said: BTreeSet<LeftOut>,
    /// Sociétés and files that the server takes under no condition; they are not tried again. A file name is empty
    /// if it is about the whole société.
    refused: BTreeSet<(String, String)>,
    /// Where the files of each société were when there were any; under the empty name, the folder itself.
    places: Places,
    /// Deletions that are held back and have been said, by société.
    held: BTreeMap<String, usize>,
}

impl Watch<'_> {
    /// One look at the folder, and everything that follows from it.
    async fn round(&mut self, round: &mut Round) -> Result<(), ClientError> {
        let (folder, societe) = (self.args.folder.clone(), self.args.societe.clone());
        let known = self.places.clone();
        let looked = tokio::task::spawn_blocking(move || {
            // The places before and after: another one that was there only for this look is noticed too.
            let root = Place::of(&folder).map(|place| (folder.clone(), place));
            let mut moved = moved(&known);
            let here = folder::collect(&[folder], societe.as_deref())?;
            moved.extend(self::moved(&known));
            let places = places(root, &here);
            Ok((Look { here, moved }, places))
        });
        let (look, places) =
            looked.await.unwrap_or_else(|e| Err(ClientError::local(&self.args.folder, e)))?;
        let here = &look.here;
        self.say_left_out(here, round);
        if !self.compared {
            let compared = self.stop.until(self.compare(&here.files, round)).await;
            compared.unwrap_or(Ok(()))?;
            self.compared = true;
        }
        let is_refused = |file: &LocalFile| {
            self.refused.contains(&(file.societe.clone(), String::new()))
                || self.refused.contains(&(file.societe.clone(), file.filename.clone()))
        };
        let taken: Vec<LocalFile> = here.files.iter().filter(|file| !is_refused(file)).cloned().collect();
        self.outbox.settle(self.remote, &taken, self.stop, round).await?;
        let mut missing = self.outbox.missing(here);
        if self.args.delete {
            self.hold_back(&mut missing, &look, round).await;
        }
        self.learn_places(places);
        self.outbox.let_go(self.remote, missing, self.args.delete, self.stop, round).await?;
        self.began = true;
        Ok(())
    }

    /// Says once what is left out, and again if the reason is another one.
    fn say_left_out(&mut self, here: &Collected, round: &mut Round) {
        for left in here.left_out.iter().filter(|left| !self.said.contains(*left)) {
            let item = Item::new(
                left.societe.clone().unwrap_or_default(),
                left.filename.clone().unwrap_or_default(),
            );
            round.failed.push(Failure::new(item, &ClientError::local(&left.path, &left.reason)));
        }
        self.said = here.left_out.iter().cloned().collect();
    }

    /// Looks each time whether what is gone may be deleted on the server: a share may be unmounted at any moment.
    async fn hold_back(&mut self, missing: &mut Vec<Item>, look: &Look, round: &mut Round) {
        let mut losses: BTreeMap<String, Loss> = BTreeMap::new();
        for item in missing.iter() {
            losses.entry(item.societe.clone()).or_default().gone += 1;
        }
        // What was held back stays so until it is back: files that came meanwhile say nothing about it.
        let is_doubtful = |societe: &String| {
            look.moved.contains("") || look.moved.contains(societe) || self.held.contains_key(societe)
        };
        for (societe, loss) in &mut losses {
            loss.remaining = look.here.files.iter().filter(|file| file.societe == *societe).count();
            loss.is_doubtful = is_doubtful(societe);
        }
        let mut held = self.guard.hold(missing, &losses, &self.held, GONE).await;
        let unseen = self.held.iter().filter(|(societe, _)| !look.here.knows_all_of(societe));
        for (societe, files) in unseen {
            held.entry(societe.clone()).or_insert(*files);
        }
        for (societe, files) in &held {
            if self.held.get(societe) != Some(files) {
                let error = ClientError::Usage(held_back(*files, GONE));
                round.failed.push(Failure::new(Item::new(&**societe, ""), &error));
            }
        }
        self.held = held;
    }

    /// Notes where files are now. The places of what is held back stay those where it was.
    fn learn_places(&mut self, mut places: Places) {
        if !self.held.is_empty() {
            places.remove("");
        }
        places.retain(|societe, _| !self.held.contains_key(societe));
        self.places.extend(places);
    }

    /// Asks the server what it has. An empty folder deletes nothing: it is more often not mounted than meant.
    async fn compare(&mut self, files: &[LocalFile], round: &mut Round) -> Result<(), ClientError> {
        let mut societes: BTreeMap<&str, Vec<&LocalFile>> = BTreeMap::new();
        for file in files {
            societes.entry(&file.societe).or_default().push(file);
        }
        for (societe, files) in societes {
            let hashed = hash_all(&files).await?;
            let manifest: Manifest =
                hashed.iter().map(|(f, hash)| (f.filename.clone(), hash.clone())).collect();
            let difference = match self.remote.compare(societe, &manifest).await {
                Ok(Some(reply)) => Difference::from_sync(&manifest, &reply),
                Ok(None) => Difference::all(&manifest),
                Err(error) if error.is_about_what_was_asked() => {
                    self.refuse(societe, "", &error, round);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for name in difference.refused {
                self.refuse(societe, &name.filename, &ClientError::Usage(name.detail), round);
            }
            let same = |file: &LocalFile| difference.send.binary_search(&file.filename).is_err();
            let known = hashed.iter().filter(|(file, _)| same(file));
            for (file, hash) in known {
                self.outbox.learn(file, hash);
            }
            for filename in &difference.server_only {
                self.outbox.learn_server_only(societe, filename);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, societe: &str, filename: &str, error: &ClientError, round: &mut Round) {
        if self.refused.insert((societe.to_owned(), filename.to_owned())) {
            round.failed.push(Failure::new(Item::new(societe, filename), error));
        }
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

/// What one look at the folder found.
struct Look {
    here: Collected,
    /// Sociétés whose folder is another one than before; an empty name stands for the folder itself.
    moved: BTreeSet<String>,
}

/// Folders by société, as the disk calls them, and under the empty name the folder itself.
type Places = BTreeMap<String, (PathBuf, Place)>;

/// Whose folder is not the one that is known.
fn moved(known: &Places) -> BTreeSet<String> {
    let moved = known.iter().filter(|(_, (path, place))| Place::of(path) != Some(*place));
    moved.map(|(societe, _)| societe.clone()).collect()
}

/// Where the files of each société are, and the folder itself. A place without any says nothing.
fn places(root: Option<(PathBuf, Place)>, here: &Collected) -> Places {
    if here.files.is_empty() {
        return Places::new();
    }
    let mut places: Places = root.map(|root| (String::new(), root)).into_iter().collect();
    for file in &here.files {
        if !places.contains_key(&file.societe) {
            let parent = file.path.parent();
            let place = parent.and_then(|parent| Some((parent.to_owned(), Place::of(parent)?)));
            places.extend(place.map(|place| (file.societe.clone(), place)));
        }
    }
    places
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
