//! One module, as it is in memory.

use std::sync::Arc;

use relais_protocol::time::Timestamp;
use serde_json::{Map, Value};

use super::diagnosis::Diagnosis;
use super::dirty::Marks;
use super::model::Module;
use super::presence::Presence;
use super::view::{StateView, TimeFormat, json};

/// One module.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) module: Module,
    pub(super) telemetry: Map<String, Value>,
    /// Of its last change.
    pub(super) version: u64,
    pub(super) last_seen: Option<Timestamp>,
    /// When the newest of its values were measured, by what devices say.
    pub(super) measured_at: Timestamp,
    /// When it was last said that its times cannot be, in steady time.
    pub(super) times_reported: Option<Timestamp>,
    pub(super) presence: Presence,
    /// What is wrong with it.
    pub(super) diagnosis: Diagnosis,
    /// Who has still to take in how it is.
    pub(super) marks: Marks,
    /// What was taken in last.
    pub(super) told: Told,
    /// Its view as JSON, until something in it changes.
    pub(super) text: Option<Arc<str>>,
}

/// What consumers have last taken in of a module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Whether the log says that it is online.
    pub(super) online: bool,
    /// When live watchers were last told of its values, in milliseconds of steady time.
    pub(super) values_ms: i64,
    /// When they were last told that it was seen, in the same.
    pub(super) seen_ms: i64,
}

/// A module that came or went.
#[derive(Clone, Debug)]
pub(super) struct PresenceChange {
    pub(super) online: bool,
    pub(super) entry: Entry,
}

/// What the database keeps of a module's state.
#[derive(Clone, Debug)]
pub(super) struct StoredState {
    pub(super) id: String,
    pub(super) online: bool,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) version: u64,
    pub(super) telemetry: Map<String, Value>,
}

impl Entry {
    pub(super) fn of(module: Module) -> Self {
        Self {
            module,
            telemetry: Map::new(),
            version: 0,
            last_seen: None,
            measured_at: Timestamp::default(),
            times_reported: None,
            presence: Presence::default(),
            diagnosis: Diagnosis::default(),
            marks: Marks::default(),
            told: Told::default(),
            text: None,
        }
    }

    /// It is somebody else's now, who has no business with what it said before.
    pub(super) fn empty(&mut self) {
        self.telemetry.clear();
        self.last_seen = None;
        self.measured_at = Timestamp::default();
        self.diagnosis = Diagnosis::default();
    }

    /// Its device says times that cannot be; that is said once an hour.
    pub(super) fn report_time(&mut self, steady: Timestamp) {
        metrics::counter!("relais_live_times_refused_total").increment(1);
        if self.times_reported.is_none_or(|told| steady.as_millis() - told.as_millis() >= 3_600_000) {
            self.times_reported = Some(steady);
            tracing::warn!(
                module = self.module.id,
                "measured_at of a report is no time, or more than a week ago or a minute ahead: the server's time is \
                 taken; set the device's clock"
            );
        }
    }

    pub(super) fn kept(&self) -> StoredState {
        StoredState {
            id: self.module.id.clone(),
            online: self.told.online,
            last_seen: self.last_seen,
            version: self.version,
            telemetry: self.telemetry.clone(),
        }
    }

    /// As watchers see it, JSON.
    pub(super) fn text(&mut self, format: &TimeFormat) -> Arc<str> {
        if let Some(text) = &self.text {
            return Arc::clone(text);
        }
        let text: Arc<str> = json(&StateView::of(self, format)).into();
        self.text = Some(Arc::clone(&text));
        text
    }
}
