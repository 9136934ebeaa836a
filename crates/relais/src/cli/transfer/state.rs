//! What a mirror remembers between two runs, in one small file inside its folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use relais_protocol::event::Cursor;
use serde::{Deserialize, Serialize};

use crate::cli::client::ClientError;
use crate::cli::client::folder::Stamp;
use crate::cli::client::model::{Frame, RemoteFile};

/// The name of the file; the dot keeps it apart from what is mirrored.
const STATE_FILE: &str = ".relais-pull.json";
/// The version of its format; another one is as good as no state.
const FORMAT: u32 = 1;

/// The server's files as last learnt, and which of them are here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct State {
    format: u32,
    /// The server it belongs to.
    pub server: String,
    /// The sociétés mirrored; empty for all.
    pub societes: Vec<String>,
    /// Everything up to here has been learnt; none means that the files have to be listed.
    pub cursor: Option<String>,
    /// The last cursor of the server, whatever sociétés were mirrored then: another epoch means that it began anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<String>,
    /// Sociétés of which nothing is removed here without being asked for: the server began anew since, so what it does
    /// not name may only be lost there, or files are held back already.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubtful: BTreeSet<String>,
    /// By société, then by file name.
    pub files: BTreeMap<String, BTreeMap<String, Kept>>,
}

/// One file of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Kept {
    /// The hash of its content on the server.
    pub sha256: String,
    /// Its size on the server.
    pub size: u64,
    /// The stamp of the local file when it had that content; none if it never had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
    /// The server deleted it and it is still here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl State {
    /// The state kept in `folder`, if it is one of this server.
    ///
    /// A mirror of other sociétés keeps what it knows about files, but lists them again.
    pub(crate) fn load(folder: &Path, server: &str, societes: &[String]) -> Self {
        let fresh = Self {
            format: FORMAT,
            server: server.to_owned(),
            societes: societes.to_vec(),
            ..Self::default()
        };
        let kept =
            std::fs::read(file(folder)).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        match kept.filter(|kept| kept.format == FORMAT && kept.server == server) {
            Some(kept) if kept.societes == societes => kept,
            Some(Self { reached, doubtful, files, .. }) => Self { reached, doubtful, files, ..fresh },
            None => fresh,
        }
    }

    /// Notes where the log of the server stands after everything was listed; none if no société was. If the server began
    /// anew since the last time, or may have, all that is known so far becomes doubtful.
    pub(crate) fn reach(&mut self, cursor: Option<String>) {
        if self.reached.as_deref().is_some_and(|before| !goes_on(before, cursor.as_deref())) {
            self.doubtful.extend(self.files.keys().cloned());
        }
        self.reached = cursor.clone().or(self.reached.take());
        self.cursor = cursor;
    }

    /// Keeps the state in `folder`; a crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`ClientError::Local`] if the folder cannot be written.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), ClientError> {
        let (target, part) = (file(folder), folder.join(format!("{STATE_FILE}.part")));
        let text = serde_json::to_vec(self).map_err(|e| ClientError::local(&target, e))?;
        std::fs::write(&part, text)
            .and_then(|()| std::fs::rename(&part, &target))
            .map_err(|e| ClientError::local(&target, e))
    }

    /// Takes over one change.
    pub(crate) fn apply(&mut self, frame: &Frame) {
        let (Some(societe), Some(filename)) = (&frame.societe, &frame.filename) else { return };
        let files = self.files.entry(societe.clone()).or_default();
        match (frame.kind.as_str(), &frame.sha256) {
            ("file_uploaded", Some(sha256)) => wanted(files, filename, sha256, frame.size.unwrap_or(0)),
            ("file_deleted", _) => {
                if let Some(kept) = files.get_mut(filename) {
                    kept.gone = true;
                }
            }
            _ => {}
        }
    }

    /// Takes over the complete list of a société; what it does not name any more is gone.
    pub(crate) fn replace(&mut self, societe: &str, listed: &[RemoteFile]) {
        let files = self.files.entry(societe.to_owned()).or_default();
        for kept in files.values_mut() {
            kept.gone = true;
        }
        for file in listed {
            wanted(files, &file.filename, &file.sha256, file.size);
        }
    }

    /// One file, if it is known.
    pub(crate) fn get_mut(&mut self, societe: &str, filename: &str) -> Option<&mut Kept> {
        self.files.get_mut(societe)?.get_mut(filename)
    }

    /// Forgets one file.
    pub(crate) fn forget(&mut self, societe: &str, filename: &str) {
        if let Some(files) = self.files.get_mut(societe) {
            files.remove(filename);
        }
    }
}

fn wanted(files: &mut BTreeMap<String, Kept>, filename: &str, sha256: &str, size: u64) {
    let kept = files.entry(filename.to_owned()).or_default();
    if kept.sha256 != sha256 {
        *kept = Kept { sha256: sha256.to_owned(), size, ..Kept::default() };
    }
    kept.gone = false;
}

/// Whether `now` is a later place, or the same, in the log that `before` is a place in.
fn goes_on(before: &str, now: Option<&str>) -> bool {
    match (before.parse::<Cursor>(), now.map(str::parse::<Cursor>)) {
        (Ok(before), Some(Ok(now))) => before.epoch == now.epoch && before.seq <= now.seq,
        _ => false,
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join(STATE_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { size: 1, modified_ns: 2, changed_ns: 3, inode: 4 };

    fn uploaded(filename: &str, sha256: &str) -> Frame {
        Frame {
            kind: "file_uploaded".into(),
            societe: Some("s".into()),
            filename: Some(filename.into()),
            sha256: Some(sha256.into()),
            size: Some(1),
            ..Frame::default()
        }
    }

    fn deleted(filename: &str) -> Frame {
        Frame { kind: "file_deleted".into(), sha256: None, ..uploaded(filename, "") }
    }

    fn fetched(state: &mut State, filename: &str) {
        state.get_mut("s", filename).unwrap().stamp = Some(STAMP);
    }

    #[test]
    fn a_change_of_content_makes_the_local_copy_stale_and_a_repeat_does_not() {
        let mut state = State::default();
        state.apply(&uploaded("a.json", "1"));
        fetched(&mut state, "a.json");
        state.apply(&uploaded("a.json", "1"));
        assert_eq!(state.get_mut("s", "a.json").unwrap().stamp, Some(STAMP));
        state.apply(&uploaded("a.json", "2"));
        assert_eq!(state.get_mut("s", "a.json").unwrap().stamp, None);
    }

    #[test]
    fn snapshot_and_changes_since_make_a_fresh_snapshot() {
        let listed =
            |name: &str, hash: &str| RemoteFile { filename: name.into(), sha256: hash.into(), size: 1 };
        let mut followed = State::default();
        followed.replace("s", &[listed("a", "1"), listed("b", "1")]);
        for frame in [uploaded("c", "1"), deleted("a"), uploaded("b", "2"), deleted("c"), uploaded("c", "3")]
        {
            followed.apply(&frame);
        }
        let mut afresh = followed.clone();
        afresh.replace("s", &[listed("b", "2"), listed("c", "3")]);
        assert_eq!(afresh, followed);
    }

    #[test]
    fn a_state_is_read_back_for_its_server_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::load(folder.path(), "http://a", &[]);
        state.cursor = Some("e-1".into());
        state.apply(&uploaded("a.json", "1"));
        state.save(folder.path()).unwrap();
        assert_eq!(State::load(folder.path(), "http://a", &[]), state);
        assert_eq!(State::load(folder.path(), "http://b", &[]).files.len(), 0);
        let narrower = State::load(folder.path(), "http://a", &["s".into()]);
        assert_eq!((narrower.cursor, narrower.files), (None, state.files));
    }

    #[test]
    fn a_server_that_began_anew_makes_all_that_is_known_doubtful() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = ("00000000000000aa", "00000000000000bb");
        for (before, now, is_doubtful) in [
            (Some(format!("{one}-5")), Some(format!("{one}-5")), false),
            (Some(format!("{one}-5")), Some(format!("{one}-9")), false),
            (Some(format!("{one}-5")), Some(format!("{one}-4")), true),
            (Some(format!("{one}-5")), Some(format!("{other}-9")), true),
            (Some(format!("{one}-5")), None, true),
            (None, Some(format!("{one}-5")), false),
        ] {
            let mut state = State::load(folder.path(), "http://a", &[]);
            state.apply(&uploaded("a.json", "1"));
            state.reach(before.clone());
            state.save(folder.path()).unwrap();
            let mut state = State::load(folder.path(), "http://a", &["s".into()]);
            state.reach(now.clone());
            assert_eq!(state.doubtful.contains("s"), is_doubtful, "{before:?} {now:?}");
            std::fs::remove_file(file(folder.path())).unwrap();
        }
    }

    #[test]
    fn a_damaged_state_is_no_state() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path()), "{\"format\":1,").unwrap();
        assert_eq!(State::load(folder.path(), "http://a", &[]).cursor, None);
    }
}
