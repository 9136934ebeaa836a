//! A folder that is kept the same as the server's files.

use relais_protocol::time::{Clock as _, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use reqwest::StatusCode;

use super::fetch::{Fetched, fetch};
use super::guard::{Guard, Loss, held_back};
use super::state::{Kept, State};
use super::summary::{Failure, Item, Summary};
use crate::cli::client::folder::{self, Stamp};
use crate::cli::client::progress::{self, Progress};
use crate::cli::client::{ChangesQuery, ClientError, Remote, Stop, names};

/// What is said of files that are to be removed.
const GONE: &str = "are gone from the server (is it the right one, with its data?)";

/// The most pages of changes that are read in one go before files are fetched.
const PAGES_MAX: usize = 1000;

/// How a mirror is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MirrorOptions {
    /// How many files are under way at once.
    pub jobs: usize,
    /// Remove here what the server deleted.
    pub delete: bool,
    /// Even if that is nearly everything.
    pub mass_delete: bool,
    /// Output is for programs: no progress bar.
    pub json: bool,
}

/// A folder and the server it mirrors.
pub(crate) struct Mirror<'a> {
    remote: &'a Remote,
    folder: PathBuf,
    state: State,
    options: MirrorOptions,
    /// Deletions that are held back and have been said, by société.
    held: BTreeMap<String, usize>,
    /// Sociétés that the server did not list, each with the reason, until that is said.
    unlisted: Vec<(String, ClientError)>,
    /// Their names, until the next list.
    unread: BTreeSet<String>,
    /// What is left out and has been said.
    said: BTreeSet<String>,
}

/// What one file needs.
enum Need {
    Nothing(Stamp),
    Download,
}

impl<'a> Mirror<'a> {
    /// A mirror of `societes` (empty: all) in `folder`, with what it remembers.
    ///
    /// # Errors
    /// [`ClientError::Local`] if the folder cannot be made.
    pub(crate) fn open(
        remote: &'a Remote,
        folder: PathBuf,
        societes: &[String],
        options: MirrorOptions,
    ) -> Result<Self, ClientError> {
        std::fs::create_dir_all(&folder).map_err(|e| ClientError::local(&folder, e))?;
        let state = State::load(&folder, remote.server(), societes);
        let (held, unlisted) = (BTreeMap::new(), Vec::new());
        let (unread, said) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { remote, folder, state, options, held, unlisted, unread, said })
    }

    /// Whether the next [`learn`](Self::learn) can wait at the server for something to happen.
    pub(crate) fn can_wait(&self) -> bool {
        self.state.cursor.is_some()
    }

    /// Learns what the server has: what changed since the last time, or everything if that is not known. Waits
    /// up to `wait_s` seconds for a change.
    ///
    /// # Errors
    /// [`ClientError`]; what was learnt before it is kept.
    pub(crate) async fn learn(&mut self, wait_s: u64) -> Result<(), ClientError> {
        if self.state.cursor.is_some() {
            match self.learn_changes(wait_s).await {
                Err(error) if error.status() == Some(StatusCode::GONE) => {
                    self.state.cursor = None;
                }
                settled => return settled,
            }
        }
        self.list().await
    }

    async fn learn_changes(&mut self, mut wait_s: u64) -> Result<(), ClientError> {
        for _ in 0..PAGES_MAX {
            let query = ChangesQuery {
                since: self.state.cursor.as_deref(),
                societes: &self.state.societes,
                wait_s: std::mem::take(&mut wait_s),
            };
            let page = self.remote.changes(query).await?;
            page.changes.iter().for_each(|frame| self.state.apply(frame));
            self.state.reached = Some(page.cursor.clone());
            self.state.cursor = Some(page.cursor);
            if !page.has_more {
                break;
            }
        }
        Ok(())
    }

    /// The cursor of the first list is the one to go on from: what happened during the others comes again, and
    /// a change that is known already changes nothing.
    async fn list(&mut self) -> Result<(), ClientError> {
        let mut cursor = None;
        let present = self.remote.societes().await?;
        let missing = self.state.societes.iter().find(|societe| !present.contains(societe));
        if let Some(societe) = missing {
            let known = present.join(", ");
            let text = format!("the server has no société {societe} that this key may read; it has: {known}");
            return Err(ClientError::Usage(text));
        }
        let wanted = if self.state.societes.is_empty() { present } else { self.state.societes.clone() };
        self.unlisted.clear();
        self.unread.clear();
        for societe in &wanted {
            match self.remote.files(societe).await {
                Ok(listing) => {
                    let listing = listing.unwrap_or_default();
                    self.state.replace(societe, &listing.files);
                    cursor = cursor.or(listing.cursor);
                }
                // What is not told is not gone, and the others go on.
                Err(error) if error.is_about_what_was_asked() => {
                    self.unlisted.push((societe.clone(), error));
                    self.unread.insert(societe.clone());
                }
                Err(error) => return Err(error),
            }
        }
        if self.state.societes.is_empty() {
            let left: Vec<String> =
                self.state.files.keys().filter(|s| !wanted.contains(s)).cloned().collect();
            left.iter().for_each(|societe| self.state.replace(societe, &[]));
        }
        self.state.reach(cursor);
        Ok(())
    }

    /// Makes the folder the same as what was learnt, and remembers how far it got.
    ///
    /// # Errors
    /// [`ClientError::Local`] if the state cannot be kept. What happens to single files is in the [`Summary`].
    pub(crate) async fn apply(&mut self, stop: &Stop) -> Result<Summary, ClientError> {
        let started = SystemClock.instant();
        let mut summary = Summary::default();
        for (societe, error) in std::mem::take(&mut self.unlisted) {
            self.leave_out(&mut summary, Item::new(societe, ""), &error);
        }
        self.download(stop, &mut summary).await;
        if self.options.delete && !stop.is_asked() {
            self.remove_gone(stop, &mut summary).await;
        }
        // Without the state, the next run only has more to ask: what was done is told all the same.
        if let Err(error) = self.state.save(&self.folder) {
            self.leave_out(&mut summary, Item::default(), &error);
        }
        summary.interrupted = stop.is_asked();
        summary.seconds = progress::seconds(SystemClock.instant() - started);
        Ok(summary)
    }

    /// What is in the mirrored part of the state, as `(file, what is known about it)`.
    fn known(&self, gone: bool) -> Vec<(Item, Kept)> {
        let mirrored = |s: &String| self.state.societes.is_empty() || self.state.societes.contains(s);
        let societes = self.state.files.iter().filter(|(societe, _)| mirrored(societe));
        let files = societes.flat_map(|(s, files)| files.iter().map(move |(f, kept)| (s, f, kept)));
        let chosen = files.filter(|(.., kept)| kept.gone == gone);
        chosen.map(|(s, f, kept)| (Item::new(s.clone(), f.clone()), kept.clone())).collect()
    }

    async fn download(&mut self, stop: &Stop, summary: &mut Summary) {
        let (safe, unsafe_names): (Vec<_>, Vec<_>) = self
            .known(false)
            .into_iter()
            .partition(|(item, _)| names::is_safe(&item.societe) && names::is_safe(&item.filename));
        for (item, _) in unsafe_names {
            let error = ClientError::Usage("the name is not fit for a file here; left out".to_owned());
            self.leave_out(summary, item, &error);
        }
        let mut missing = Vec::new();
        for (item, kept) in safe {
            match self.need(&item, &kept) {
                Need::Nothing(stamp) => {
                    summary.unchanged += 1;
                    self.remember(&item, &kept.sha256, stamp);
                }
                Need::Download => missing.push((item, kept)),
            }
        }
        if !missing.is_empty() {
            self.fetch_all(missing, stop, summary).await;
        }
    }

    /// A file whose stamp is the remembered one is not read again; else its content decides.
    fn need(&self, item: &Item, kept: &Kept) -> Need {
        let path = self.folder.join(&item.societe).join(&item.filename);
        match Stamp::of(&path) {
            Ok(stamp) if Some(stamp) == kept.stamp => Need::Nothing(stamp),
            Ok(stamp) if stamp.size == kept.size => match folder::hash_file(&path) {
                Ok(hash) if hash == kept.sha256 => Need::Nothing(stamp),
                _ => Need::Download,
            },
            _ => Need::Download,
        }
    }

    async fn fetch_all(&mut self, missing: Vec<(Item, Kept)>, stop: &Stop, summary: &mut Summary) {
        let total = missing.iter().map(|(_, kept)| kept.size).sum();
        let bar = Progress::start(total, missing.len(), self.options.json);
        let (remote, folder) = (self.remote, self.folder.clone());
        let fetches = missing.into_iter().map(|(item, kept)| {
            let folder = folder.clone();
            async move {
                let outcome = {
                    let attempts = remote.retrying(stop, || fetch(remote, &folder, &item, &kept));
                    stop.until(attempts).await
                };
                (item, outcome)
            }
        });
        let mut fetches = stream::iter(fetches).buffer_unordered(self.options.jobs);
        while let Some((item, outcome)) = fetches.next().await {
            match outcome {
                Some(Ok(Some(Fetched { sha256, stamp }))) => {
                    bar.advance(stamp.size, &item.filename);
                    summary.bytes += stamp.size;
                    self.remember(&item, &sha256, stamp);
                    summary.sent.push(item);
                }
                // Deleted meanwhile: the change that says so is on its way.
                Some(Ok(None)) | None => {}
                Some(Err(error)) => {
                    let failure = Failure::new(item, &error);
                    bar.note(&failure.line());
                    summary.failed.push(failure);
                }
            }
        }
        bar.finish();
        summary.sent.sort_by(|a, b| (&a.societe, &a.filename).cmp(&(&b.societe, &b.filename)));
    }

    fn remember(&mut self, item: &Item, sha256: &str, stamp: Stamp) {
        if let Some(kept) = self.state.get_mut(&item.societe, &item.filename) {
            *kept = Kept { sha256: sha256.to_owned(), size: stamp.size, stamp: Some(stamp), gone: false };
        }
    }

    /// Removes what the server deleted, unless somebody changed it here. Looks each time whether it may: a server that
    /// lost its data is not one where everything was deleted.
    async fn remove_gone(&mut self, stop: &Stop, summary: &mut Summary) {
        let (mut ours, mut losses) = (Vec::new(), BTreeMap::<String, Loss>::new());
        for (item, kept) in self.known(true) {
            let path = self.path_of(&item);
            let untouched = || {
                let stamp = Stamp::of(&path).ok();
                (stamp.is_some() && stamp == kept.stamp)
                    || folder::hash_file(&path).is_ok_and(|hash| hash == kept.sha256)
            };
            let is_ours = names::is_safe(&item.societe) && names::is_safe(&item.filename) && untouched();
            if is_ours {
                losses.entry(item.societe.clone()).or_default().gone += 1;
                ours.push(item);
            } else {
                self.state.forget(&item.societe, &item.filename);
            }
        }
        for (item, _) in self.known(false) {
            losses.entry(item.societe).or_default().remaining += 1;
        }
        for (societe, loss) in &mut losses {
            loss.is_doubtful = self.state.doubtful.contains(societe);
        }
        let guard = Guard { allowed: self.options.mass_delete, json: self.options.json, stop };
        let held = guard.hold(&mut ours, &losses, &self.held, GONE).await;
        for (societe, files) in &held {
            self.leave_out(summary, Item::new(&**societe, ""), &ClientError::Usage(held_back(*files, GONE)));
        }
        self.settle_doubts(&held);
        self.held = held;
        for item in ours {
            let path = self.path_of(&item);
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    self.state.forget(&item.societe, &item.filename);
                    summary.deleted.push(item);
                }
                Err(error) => self.leave_out(summary, item, &ClientError::local(path, error)),
            }
        }
    }

    /// What is held back stays doubtful until it is back or meant. What was listed and has nothing to be removed, or was
    /// removed because that was meant, no longer is.
    fn settle_doubts(&mut self, held: &BTreeMap<String, usize>) {
        let State { societes, doubtful, .. } = &mut self.state;
        let is_mirrored = |societe: &String| societes.is_empty() || societes.contains(societe);
        doubtful.retain(|societe| !is_mirrored(societe) || self.unread.contains(societe));
        doubtful.extend(held.keys().cloned());
    }

    /// Counts what is left out each time, and says it once.
    fn leave_out(&mut self, summary: &mut Summary, item: Item, error: &ClientError) {
        let failure = Failure::new(item, error);
        if self.said.insert(failure.line()) {
            crate::cli::out::note(&failure.line());
        }
        summary.failed.push(failure);
    }

    fn path_of(&self, item: &Item) -> PathBuf {
        self.folder.join(&item.societe).join(&item.filename)
    }
}
