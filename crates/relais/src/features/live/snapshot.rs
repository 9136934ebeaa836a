//! How everything is that somebody sees, whole or since a version.

use relais_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::modules::Sight;
use super::service::Live;

/// States by module, for somebody who may have seen some before.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Snapshot {
    /// Of the last change in it.
    pub version: u64,
    /// Whether these are all; otherwise those that changed.
    pub full: bool,
    /// By the id of the module.
    #[schema(value_type = std::collections::HashMap<String, Object>)]
    pub states: Map<String, Value>,
    /// Those that are gone, by id.
    pub removed: Vec<String>,
    /// When.
    #[schema(value_type = String)]
    pub timestamp: Timestamp,
}

impl Live {
    /// Hands what `sight` sees to `tell`, whole or what changed after `since`. No event that is older comes after
    /// what `tell` sends, and none that is newer comes before.
    pub fn snapshot<T>(&self, sight: &Sight, since: Option<u64>, tell: impl FnOnce(Snapshot) -> T) -> T {
        let _telling = self.0.telling.lock();
        let snapshot = self.read_snapshot(sight, since);
        tell(snapshot)
    }

    fn read_snapshot(&self, sight: &Sight, since: Option<u64>) -> Snapshot {
        let states = self.0.states.lock();
        let sees_all = *sight == Sight::All;
        let saw = |owner: Option<&str>| match sight {
            Sight::All => true,
            Sight::Own(own) => owner == Some(own),
        };
        let after = since.and_then(|since| states.resume(since));
        let removed = after.map(|after| states.removed(after, saw, sees_all));
        let seen = states.all().filter(|entry| sight.sees(&entry.module));
        let changed = seen.filter(|entry| after.is_none_or(|after| entry.version > after));
        let told = changed.map(|entry| {
            let view = serde_json::to_value(entry.view(&self.0.format)).unwrap_or_default();
            (entry.module.id.clone(), view)
        });
        let told: Map<String, Value> = told.collect();
        let back = |id: &&str| !told.contains_key(*id);
        Snapshot {
            version: states.version(),
            full: after.is_none(),
            removed: removed.unwrap_or_default().into_iter().filter(back).map(str::to_owned).collect(),
            states: told,
            timestamp: self.now(),
        }
    }

    /// The last known state of one module; nothing if `sight` does not see it.
    #[must_use]
    pub fn state(&self, sight: &Sight, id: &str) -> Option<Value> {
        let states = self.0.states.lock();
        let entry = states.find(id).filter(|entry| sight.sees(&entry.module))?;
        serde_json::to_value(entry.view(&self.0.format)).ok()
    }

    /// How many modules somebody sees, and how many of them are online.
    #[must_use]
    pub fn count(&self, sight: &Sight) -> (usize, usize) {
        self.0.states.lock().count(|module| sight.sees(module))
    }
}
