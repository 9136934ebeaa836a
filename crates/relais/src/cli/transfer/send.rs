//! Sending local files: only what differs, several at once, each with its own outcome.

use relais_protocol::time::{Clock as _, SystemClock};
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::guard::{Guard, Loss, held_back};
use super::plan::Difference;
use super::summary::{Failure, Item, Summary};
use crate::cli::client::folder::{self, Collected, LocalFile};
use crate::cli::client::model::Manifest;
use crate::cli::client::progress::{self, Progress};
use crate::cli::client::{ClientError, Remote, Stop};

/// What is said of files that are to be deleted.
const ON_THE_SERVER_ONLY: &str = "are on the server and not in the folder";

/// How files are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendOptions {
    /// How many files are under way at once.
    pub jobs: usize,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Delete on the server what is not here.
    pub delete: bool,
    /// Even if that is nearly everything.
    pub mass_delete: bool,
    /// Output is for programs: no progress bar.
    pub json: bool,
}

/// What there is to do, after comparing.
#[derive(Debug, Default)]
struct Work {
    send: Vec<LocalFile>,
    delete: Vec<Item>,
    losses: BTreeMap<String, Loss>,
}

/// Makes the server's sociétés the same as `files`.
///
/// # Errors
/// [`ClientError`] if nothing could be compared. What happens to single files is in the [`Summary`].
pub(crate) async fn send_changed(
    remote: &Remote,
    here: Collected,
    options: SendOptions,
    stop: &Stop,
) -> Result<Summary, ClientError> {
    let started = SystemClock.instant();
    let mut summary = Summary { dry_run: options.dry_run, ..Summary::default() };
    for left in &here.left_out {
        let item =
            Item::new(left.societe.clone().unwrap_or_default(), left.filename.clone().unwrap_or_default());
        summary.leave_out(item, &ClientError::local(&left.path, &left.reason));
    }
    let mut work = compare(remote, here, options, stop, &mut summary).await?;
    let guard = Guard { allowed: options.mass_delete || options.dry_run, json: options.json, stop };
    let held = guard.hold(&mut work.delete, &work.losses, &BTreeMap::new(), ON_THE_SERVER_ONLY).await;
    for (societe, files) in held {
        let error = ClientError::Usage(held_back(files, ON_THE_SERVER_ONLY));
        summary.leave_out(Item::new(societe, ""), &error);
    }
    if options.dry_run {
        summary.bytes = work.send.iter().map(|file| file.stamp.size).sum();
        summary.sent = work.send.into_iter().map(|file| Item::new(file.societe, file.filename)).collect();
        summary.deleted = work.delete;
    } else {
        carry_out(remote, work, options, stop, &mut summary).await;
    }
    summary.interrupted = stop.is_asked();
    summary.seconds = progress::seconds(SystemClock.instant() - started);
    Ok(summary)
}

/// Hashes what is here and asks the server what differs, société by société. One that the server refuses does not keep
/// the others waiting.
async fn compare(
    remote: &Remote,
    here: Collected,
    options: SendOptions,
    stop: &Stop,
    summary: &mut Summary,
) -> Result<Work, ClientError> {
    let mut work = Work::default();
    for (societe, files) in by_societe(here.files.clone()) {
        if stop.is_asked() {
            break;
        }
        let present: BTreeSet<String> = files.iter().map(|file| file.filename.clone()).collect();
        let (manifest, mut files) = hash_all(files, options.jobs, summary).await;
        let difference = match remote.retrying(stop, || difference(remote, &societe, &manifest)).await {
            Ok(difference) => difference,
            Err(error) if error.is_about_what_was_asked() => {
                summary.leave_out(Item::new(&*societe, ""), &error);
                continue;
            }
            Err(error) => return Err(error),
        };
        summary.unchanged += difference.unchanged;
        for name in difference.refused {
            summary.leave_out(Item::new(&*societe, name.filename), &ClientError::Usage(name.detail));
        }
        work.send.extend(difference.send.iter().filter_map(|name| files.remove(name)));
        if options.delete {
            // What is here and could not be read is not gone.
            let gone = difference.server_only.into_iter();
            let gone = gone.filter(|name| !present.contains(name) && here.knows_absent(&societe, name));
            let before = work.delete.len();
            work.delete.extend(gone.map(|name| Item::new(&*societe, name)));
            let gone = work.delete.len() - before;
            work.losses.insert(societe, Loss { gone, remaining: present.len(), is_doubtful: false });
        }
    }
    Ok(work)
}

fn by_societe(files: Vec<LocalFile>) -> BTreeMap<String, Vec<LocalFile>> {
    let mut groups: BTreeMap<String, Vec<LocalFile>> = BTreeMap::new();
    for file in files {
        groups.entry(file.societe.clone()).or_default().push(file);
    }
    groups
}

/// Hashes files, several at once. One that cannot be read is reported and left out.
async fn hash_all(
    files: Vec<LocalFile>,
    jobs: usize,
    summary: &mut Summary,
) -> (Manifest, BTreeMap<String, LocalFile>) {
    let hashed = stream::iter(files).map(|file| async move {
        let path = file.path.clone();
        let hash = tokio::task::spawn_blocking(move || folder::hash_file(&path)).await;
        (file, hash.map_err(std::io::Error::other).flatten())
    });
    let mut hashed = hashed.buffer_unordered(jobs);
    let (mut manifest, mut readable) = (Manifest::new(), BTreeMap::new());
    while let Some((file, hash)) = hashed.next().await {
        match hash {
            Ok(hash) => {
                manifest.insert(file.filename.clone(), hash);
                readable.insert(file.filename.clone(), file);
            }
            Err(error) => {
                let error = ClientError::local(&file.path, error);
                summary.leave_out(Item::new(file.societe, file.filename), &error);
            }
        }
    }
    (manifest, readable)
}

async fn difference(remote: &Remote, societe: &str, manifest: &Manifest) -> Result<Difference, ClientError> {
    Ok(match remote.compare(societe, manifest).await? {
        Some(reply) => Difference::from_sync(manifest, &reply),
        None => Difference::all(manifest),
    })
}

async fn carry_out(remote: &Remote, work: Work, options: SendOptions, stop: &Stop, summary: &mut Summary) {
    let total = work.send.iter().map(|file| file.stamp.size).sum();
    let bar = Progress::start(total, work.send.len(), options.json);
    let sends = work.send.into_iter().map(|file| send_one(remote, file, stop));
    let mut sends = stream::iter(sends).buffer_unordered(options.jobs);
    while let Some((item, outcome)) = sends.next().await {
        match outcome {
            Ok(Some(stored)) => {
                bar.advance(stored.bytes, &item.filename);
                summary.bytes += stored.bytes;
                if stored.changed {
                    summary.sent.push(item);
                } else {
                    summary.unchanged += 1;
                }
            }
            Ok(None) => {}
            Err(error) => fail(summary, &bar, item, &error),
        }
    }
    drop(sends);
    for item in work.delete {
        if stop.is_asked() {
            break;
        }
        match remote.retrying(stop, || remote.delete(&item.societe, &item.filename)).await {
            Ok(_) => summary.deleted.push(item),
            Err(error) => fail(summary, &bar, item, &error),
        }
    }
    bar.finish();
    summary.sent.sort_by(|a, b| (&a.societe, &a.filename).cmp(&(&b.societe, &b.filename)));
}

fn fail(summary: &mut Summary, bar: &Progress, item: Item, error: &ClientError) {
    let failure = Failure::new(item, error);
    bar.note(&failure.line());
    summary.failed.push(failure);
}

/// Sends one file; none if a stop was asked for before it began.
async fn send_one(
    remote: &Remote,
    file: LocalFile,
    stop: &Stop,
) -> (Item, Result<Option<Stored>, ClientError>) {
    let item = Item::new(file.societe.clone(), file.filename.clone());
    if stop.is_asked() {
        return (item, Ok(None));
    }
    let outcome = async {
        let path = file.path.clone();
        let read = tokio::task::spawn_blocking(move || folder::read(&path)).await;
        let content = read.map_err(|e| ClientError::local(&file.path, e)).flatten()?;
        upload(remote, &item, content.into(), stop).await.map(Some)
    };
    let outcome = outcome.await;
    (item, outcome)
}

/// What the server did with a content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// How much was sent.
    pub bytes: u64,
    /// It was not the one that the server had.
    pub changed: bool,
}

/// Sends one content and checks that the server got what was sent.
pub(crate) async fn upload(
    remote: &Remote,
    item: &Item,
    content: Bytes,
    stop: &Stop,
) -> Result<Stored, ClientError> {
    let answer =
        remote.retrying(stop, || remote.upload(&item.societe, &item.filename, content.clone())).await?;
    let expected = folder::hash_bytes(&content);
    match answer.sha256 {
        Some(stored) if stored != expected => Err(ClientError::Unexpected {
            place: item.shown(),
            reason: format!("the server stored content {stored}, {expected} was sent"),
        }),
        _ => Ok(Stored { bytes: content.len() as u64, changed: answer.changed.unwrap_or(true) }),
    }
}
