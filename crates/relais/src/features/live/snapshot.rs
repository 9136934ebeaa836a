//! How everything is that somebody sees, whole or since a version.

use std::collections::HashSet;
use std::sync::Arc;

use relais_protocol::event::Cursor;
use relais_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::modules::Visibility;
use super::service::Live;

/// States by module, for somebody who may have seen some before.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Of the last change in it.
    pub version: u64,
    /// Whether these are all; otherwise those that changed.
    pub full: bool,
    /// Those that are gone, by id.
    pub removed: Vec<String>,
    /// The place in the log of which it is at least as new.
    pub cursor: Cursor,
    /// When.
    pub timestamp: Timestamp,
    states: Vec<(String, Arc<str>)>,
}

impl Snapshot {
    /// The states by the ids of their modules, JSON.
    #[must_use]
    pub fn states(&self) -> String {
        let bytes: usize = self.states.iter().map(|(id, state)| id.len() + state.len() + 8).sum();
        let mut text = String::with_capacity(bytes + 2);
        text.push('{');
        for (number, (id, state)) in self.states.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            text.push_str(&Value::from(id.as_str()).to_string());
            text.push(':');
            text.push_str(state);
        }
        text.push('}');
        text
    }

    /// `{version, full, removed, cursor, timestamp, …, states}`, with what else there is to say.
    #[must_use]
    pub fn fields(&self, more: &[(&str, Value)]) -> String {
        let Self { version, full, removed, cursor, timestamp, .. } = self;
        let mut fields = json!({
            "version": version, "full": full, "removed": removed, "cursor": cursor.to_string(), "timestamp": timestamp,
        });
        for (name, value) in more {
            fields[*name] = value.clone();
        }
        let mut text = fields.to_string();
        text.pop();
        text.push_str(",\"states\":");
        text.push_str(&self.states());
        text.push('}');
        text
    }
}

impl Live {
    /// Hands what `visibility` sees to `tell`, whole or what changed after `since`. Nothing is told to watchers meanwhile:
    /// what `tell` sends through the hub comes after everything that is older, and before everything that is newer.
    pub fn snapshot<T>(
        &self,
        visibility: &Visibility,
        since: Option<u64>,
        publish: impl FnOnce(Snapshot) -> T,
    ) -> T {
        let _publishing = self.0.publishing.lock();
        let snapshot = self.read_snapshot(visibility, since);
        publish(snapshot)
    }

    fn read_snapshot(&self, visibility: &Visibility, since: Option<u64>) -> Snapshot {
        let (cursor, timestamp) = (self.0.hub.head(), self.now());
        let mut states = self.0.states.lock();
        let sees_all = *visibility == Visibility::All;
        let saw = |owner: Option<&str>| match visibility {
            Visibility::All => true,
            Visibility::Own(own) => owner == Some(own),
        };
        let after = since.and_then(|since| states.resume(since));
        let removed = after.map(|after| states.removed(after, saw, sees_all)).unwrap_or_default();
        let removed: HashSet<String> = removed.into_iter().map(str::to_owned).collect();
        let version = states.version();
        let seen = states.all_mut().filter(|entry| visibility.sees(&entry.module));
        let changed = seen.filter(|entry| after.is_none_or(|after| entry.version > after));
        let told: Vec<_> =
            changed.map(|entry| (entry.module.id.clone(), entry.text(&self.0.format))).collect();
        drop(states);
        let back: HashSet<&str> = told.iter().map(|(id, _)| id.as_str()).collect();
        let removed = removed.into_iter().filter(|id| !back.contains(id.as_str())).collect();
        Snapshot { version, full: after.is_none(), removed, cursor, timestamp, states: told }
    }

    /// The last known state of one module, JSON; nothing if `visibility` does not see it.
    #[must_use]
    pub fn state(&self, visibility: &Visibility, id: &str) -> Option<Arc<str>> {
        let mut states = self.0.states.lock();
        let entry = states.find_mut(id).filter(|entry| visibility.sees(&entry.module))?;
        Some(entry.text(&self.0.format))
    }

    /// How many modules somebody sees, and how many of them are online.
    #[must_use]
    pub fn count(&self, visibility: &Visibility) -> (usize, usize) {
        self.0.states.lock().count(|module| visibility.sees(module))
    }
}
