//! Modules as watchers see them, in the words of the pages that exist.

use std::sync::Arc;

use jiff::tz::TimeZone;
use relais_protocol::event::{Epoch, Event, Topic};
use relais_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::diagnosis::{Refusal, Trouble};
use super::entry::Entry;
use super::model::write_id;

/// How times are written for people.
pub(super) struct TimeFormat(TimeZone);

impl TimeFormat {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self(zone)
    }

    /// As French pages write it: `21/11/2026 14:05:09`.
    pub(super) fn french(&self, at: Timestamp) -> String {
        let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
        moment.to_zoned(self.0.clone()).strftime("%d/%m/%Y %H:%M:%S").to_string()
    }
}

/// The last known state of a module.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StateView<'a> {
    module_id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(serialize_with = "write_id")]
    user_id: &'a Option<String>,
    online: bool,
    last_seen: Option<Timestamp>,
    last_seen_formatted: Option<String>,
    uptime: Option<&'a Value>,
    position: Option<&'a Value>,
    status: Option<&'a Value>,
    telemetry: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'a Trouble>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<&'a Refusal>,
    version: u64,
}

impl<'a> StateView<'a> {
    pub(super) fn of(entry: &'a Entry, format: &TimeFormat) -> Self {
        let Entry { module, telemetry, version, last_seen, presence, diagnosis, .. } = entry;
        Self {
            module_id: &module.id,
            name: &module.name,
            kind: &module.kind,
            user_id: &module.owner,
            online: presence.is_online(),
            last_seen: *last_seen,
            last_seen_formatted: last_seen.map(|at| format.french(at)),
            uptime: telemetry.get("uptime"),
            position: telemetry.get("position"),
            status: telemetry.get("status"),
            telemetry,
            trouble: diagnosis.trouble.as_ref(),
            last_refusal: diagnosis.refusal.as_ref(),
            version: *version,
        }
    }
}

/// `module_trouble`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Diagnosed<'a> {
    module_id: &'a str,
    trouble: Option<&'a Trouble>,
    last_refusal: Option<&'a Refusal>,
    timestamp: Timestamp,
    version: u64,
}

impl<'a> Diagnosed<'a> {
    pub(super) fn of(entry: &'a Entry, timestamp: Timestamp) -> Self {
        let Entry { module, version, diagnosis, .. } = entry;
        Self {
            module_id: &module.id,
            trouble: diagnosis.trouble.as_ref(),
            last_refusal: diagnosis.refusal.as_ref(),
            timestamp,
            version: *version,
        }
    }
}

/// `rt_telemetry_updated`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TelemetryUpdated<'a> {
    module_id: &'a str,
    telemetry: &'a Map<String, Value>,
    online: bool,
    last_seen: Option<Timestamp>,
    last_seen_formatted: Option<String>,
    timestamp: Timestamp,
    version: u64,
}

impl<'a> TelemetryUpdated<'a> {
    pub(super) fn of(entry: &'a Entry, format: &TimeFormat, timestamp: Timestamp) -> Self {
        Self {
            module_id: &entry.module.id,
            telemetry: &entry.telemetry,
            online: entry.presence.is_online(),
            last_seen: entry.last_seen,
            last_seen_formatted: entry.last_seen.map(|at| format.french(at)),
            timestamp,
            version: entry.version,
        }
    }
}

/// `module_telemetry`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ModuleTelemetry<'a> {
    module_id: &'a str,
    uptime: Option<&'a Value>,
    position: Option<&'a Value>,
    status: Option<&'a Value>,
    timestamp: Timestamp,
    version: u64,
}

impl<'a> ModuleTelemetry<'a> {
    pub(super) fn of(entry: &'a Entry, timestamp: Timestamp) -> Self {
        let Entry { module, telemetry, version, .. } = entry;
        Self {
            module_id: &module.id,
            uptime: telemetry.get("uptime"),
            position: telemetry.get("position"),
            status: telemetry.get("status"),
            timestamp,
            version: *version,
        }
    }
}

/// `rt_module_last_seen_updated`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen<'a> {
    module_id: &'a str,
    last_seen: Option<Timestamp>,
    last_seen_formatted: Option<String>,
    timestamp: Timestamp,
}

impl<'a> Seen<'a> {
    pub(super) fn of(entry: &'a Entry, format: &TimeFormat, timestamp: Timestamp) -> Self {
        let last_seen = entry.last_seen;
        let last_seen_formatted = last_seen.map(|at| format.french(at));
        Self { module_id: &entry.module.id, last_seen, last_seen_formatted, timestamp }
    }
}

/// `rt_module_online`, `rt_module_offline`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PresenceUpdate<'a> {
    module_id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(serialize_with = "write_id")]
    user_id: &'a Option<String>,
    online: bool,
    last_seen: Option<Timestamp>,
    last_seen_formatted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<Timestamp>,
    timestamp: Timestamp,
    version: u64,
}

impl<'a> PresenceUpdate<'a> {
    pub(super) fn of(entry: &'a Entry, online: bool, format: &TimeFormat, timestamp: Timestamp) -> Self {
        let Entry { module, last_seen, version, .. } = entry;
        Self {
            module_id: &module.id,
            name: &module.name,
            kind: &module.kind,
            user_id: &module.owner,
            online,
            last_seen: *last_seen,
            last_seen_formatted: last_seen.map(|at| format.french(at)),
            disconnected_at: (!online).then_some(timestamp),
            timestamp,
            version: *version,
        }
    }
}

/// JSON of something that always has one.
pub(super) fn json(view: &impl Serialize) -> String {
    serde_json::to_string(view).unwrap_or_else(|_| "{}".to_owned())
}

/// An event that only those hear who listen now.
pub(super) fn passing(
    topic: Topic,
    epoch: Epoch,
    name: &Arc<str>,
    data: &Arc<str>,
    at: Timestamp,
) -> Arc<Event> {
    let (name, data) = (Arc::clone(name), Arc::clone(data));
    Arc::new(Event { topic, epoch, offset: 0, seq: 0, name, data, at })
}
