//! What a watched folder still owes the server.
//!
//! States are compared, not notifications counted: whatever was missed, a look at the folder finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::send::upload;
use super::summary::{Failure, Item};
use crate::cli::client::folder::{self, Collected, LocalFile, Stamp};
use crate::cli::client::{ClientError, Remote, Stop};
use crate::text::column_in_characters;

/// How often a file that is not valid JSON is looked at again before its writer is taken to have finished.
const LOOKS_AT_INVALID: u32 = 8;

/// The watched files and what the server is known to have of them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    files: BTreeMap<(String, String), Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// The stamp at which the file was last settled: sent, found the same, or refused.
    settled: Option<Stamp>,
    /// The content that the server has.
    sent: Option<String>,
    /// How often the file was found invalid at `invalid_at`.
    invalid_looks: u32,
    invalid_at: Option<Stamp>,
}

/// What one look at the folder led to.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Files sent, with their sizes.
    pub sent: Vec<(Item, u64)>,
    /// Files deleted on the server.
    pub deleted: Vec<Item>,
    /// Files that the server refuses, or that are not JSON.
    pub failed: Vec<Failure>,
    /// Some file is still being written: look again soon.
    pub unfinished: bool,
}

impl Outbox {
    /// Notes what the server has, from a comparison: `same` is what is there with the content it has here.
    pub(crate) fn learn(&mut self, file: &LocalFile, hash: &str) {
        let watched = self.files.entry(key(file)).or_default();
        watched.settled = Some(file.stamp);
        watched.sent = Some(hash.to_owned());
    }

    /// Notes that the server has a file that is not here.
    pub(crate) fn learn_server_only(&mut self, societe: &str, filename: &str) {
        let watched = self.files.entry((societe.to_owned(), filename.to_owned())).or_default();
        watched.sent = Some(String::new());
    }

    /// Sends every file whose stamp is not settled.
    ///
    /// # Errors
    /// One that passes by itself: the rest of the round is still owed.
    pub(crate) async fn settle(
        &mut self,
        remote: &Remote,
        files: &[LocalFile],
        stop: &Stop,
        round: &mut Round,
    ) -> Result<(), ClientError> {
        for file in files {
            if stop.is_asked() {
                return Ok(());
            }
            let watched = self.files.entry(key(file)).or_default();
            if watched.settled != Some(file.stamp) {
                watched.settle(remote, file, stop, round).await?;
            }
        }
        Ok(())
    }

    /// What the server has and is not here any more. What it never had is forgotten.
    pub(crate) fn missing(&mut self, here: &Collected) -> Vec<Item> {
        let present: BTreeSet<_> = here.files.iter().map(key).collect();
        self.files.retain(|key, watched| {
            watched.sent.is_some() || present.contains(key) || !here.knows_absent(&key.0, &key.1)
        });
        let absent = self.files.keys().filter(|key| !present.contains(*key));
        let absent = absent.filter(|(societe, filename)| here.knows_absent(societe, filename));
        absent.map(|(societe, filename)| Item::new(societe.clone(), filename.clone())).collect()
    }

    /// Forgets what is not here any more, and with `delete` deletes it on the server.
    ///
    /// # Errors
    /// One that passes by itself: the rest of the deletions is still owed.
    pub(crate) async fn let_go(
        &mut self,
        remote: &Remote,
        missing: Vec<Item>,
        delete: bool,
        stop: &Stop,
        round: &mut Round,
    ) -> Result<(), ClientError> {
        for item in missing {
            self.files.remove(&(item.societe.clone(), item.filename.clone()));
            if delete {
                self.delete(remote, item, stop, round).await?;
            }
        }
        Ok(())
    }

    async fn delete(
        &mut self,
        remote: &Remote,
        item: Item,
        stop: &Stop,
        round: &mut Round,
    ) -> Result<(), ClientError> {
        match remote.retrying(stop, || remote.delete(&item.societe, &item.filename)).await {
            Ok(_) => round.deleted.push(item),
            Err(error) if error.may_pass_for_a_follower() => {
                self.learn_server_only(&item.societe, &item.filename);
                return Err(error);
            }
            Err(error) => round.failed.push(Failure::new(item, &error)),
        }
        Ok(())
    }
}

impl Watched {
    async fn settle(
        &mut self,
        remote: &Remote,
        file: &LocalFile,
        stop: &Stop,
        round: &mut Round,
    ) -> Result<(), ClientError> {
        let Some(content) = self.finished_content(file, round).await else { return Ok(()) };
        let hash = folder::hash_bytes(&content);
        if self.sent.as_deref() != Some(&*hash) {
            let item = Item::new(file.societe.clone(), file.filename.clone());
            match upload(remote, &item, content, stop).await {
                Ok(stored) => round.sent.push((item, stored.bytes)),
                Err(error) if error.may_pass_for_a_follower() => return Err(error),
                Err(error) => {
                    round.failed.push(Failure::new(item, &error));
                    self.settled = Some(file.stamp);
                    return Ok(());
                }
            }
        }
        self.sent = Some(hash);
        self.settled = Some(file.stamp);
        Ok(())
    }

    /// The content, if its writer has finished: it is valid JSON and did not change while it was read.
    async fn finished_content(&mut self, file: &LocalFile, round: &mut Round) -> Option<Bytes> {
        let (path, stamp): (PathBuf, Stamp) = (file.path.clone(), file.stamp);
        let read = tokio::task::spawn_blocking(move || {
            let content = folder::read(&path)?;
            let after = Stamp::of(&path).map_err(|e| ClientError::local(&path, e))?;
            let valid = serde_json::from_slice::<IgnoredAny>(&content).map(|_| ()).map_err(|e| {
                let column = column_in_characters(&content, e.line(), e.column());
                let what = e.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                format!("line {}, column {column}: {what}", e.line())
            });
            Ok::<_, ClientError>((content, after == stamp, valid))
        });
        let read = read.await.unwrap_or_else(|e| Err(ClientError::local(&file.path, e)));
        let reason = match read {
            Ok((content, true, Ok(()))) => return Some(content.into()),
            Ok((_, false, _)) => {
                round.unfinished = true;
                return None;
            }
            Ok((_, true, Err(invalid))) => {
                ClientError::local(&file.path, format!("is not valid JSON: {invalid}"))
            }
            Err(error) => error,
        };
        self.not_yet(file, &reason, round);
        None
    }

    /// A file that is not valid yet is looked at a few times more, then reported once.
    fn not_yet(&mut self, file: &LocalFile, reason: &ClientError, round: &mut Round) {
        if self.invalid_at != Some(file.stamp) {
            (self.invalid_at, self.invalid_looks) = (Some(file.stamp), 0);
        }
        self.invalid_looks += 1;
        if self.invalid_looks < LOOKS_AT_INVALID {
            round.unfinished = true;
            return;
        }
        let item = Item::new(file.societe.clone(), file.filename.clone());
        round.failed.push(Failure::new(item, reason));
        self.settled = Some(file.stamp);
    }
}

fn key(file: &LocalFile) -> (String, String) {
    (file.societe.clone(), file.filename.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir, content: &str) -> LocalFile {
        let path = folder.path().join("a.json");
        std::fs::write(&path, content).unwrap();
        LocalFile { societe: "s".into(), filename: "a.json".into(), stamp: Stamp::of(&path).unwrap(), path }
    }

    fn nobody() -> Remote {
        // Port 1 of loopback has no listener: whatever is sent fails at once, and visibly.
        Remote::new("http://127.0.0.1:1", None, 0).unwrap()
    }

    #[tokio::test]
    async fn a_half_written_file_waits_and_is_reported_once_if_it_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let half = [file(&folder, "{\"a\":")];
        let (mut outbox, remote, stop) = (Outbox::default(), nobody(), Stop::default());
        for look in 1..=LOOKS_AT_INVALID + 2 {
            let mut round = Round::default();
            outbox.settle(&remote, &half, &stop, &mut round).await.unwrap();
            assert_eq!(round.unfinished, look < LOOKS_AT_INVALID, "look {look}");
            assert_eq!(round.failed.len(), usize::from(look == LOOKS_AT_INVALID), "look {look}");
        }
        let whole = [file(&folder, "{\"a\":1}")];
        let sent = outbox.settle(&remote, &whole, &stop, &mut Round::default()).await;
        assert!(matches!(sent, Err(ClientError::Unreachable { .. })), "the finished file is sent: {sent:?}");
    }

    #[tokio::test]
    async fn what_a_server_that_is_away_did_not_get_is_still_owed() {
        let folder = tempfile::tempdir().unwrap();
        let files = [file(&folder, "{}")];
        let (mut outbox, remote, stop) = (Outbox::default(), nobody(), Stop::default());
        for _ in 0..3 {
            assert!(outbox.settle(&remote, &files, &stop, &mut Round::default()).await.is_err());
        }
        outbox.learn(&files[0], &folder::hash_bytes(b"{}"));
        let mut round = Round::default();
        outbox.settle(&remote, &files, &stop, &mut round).await.unwrap();
        assert!(round.sent.is_empty(), "what the server has is not sent");
        for _ in 0..2 {
            let missing = outbox.missing(&Collected::default());
            let deleted = outbox.let_go(&remote, missing, true, &stop, &mut Round::default()).await;
            assert!(deleted.is_err(), "the deletion is still owed");
        }
    }
}
