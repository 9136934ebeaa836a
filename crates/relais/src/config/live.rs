//! Settings of live pages and of modules, the machines in the field.

use serde::{Deserialize, Serialize};

use super::HistoryConfig;
use super::MqttConfig;

/// Longest pause between two attempts that a page may be told to keep, in milliseconds: a day.
const PAUSE_MAX_MS: u64 = 86_400_000;

/// Live pages; modules, and what may be one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// What the whole id of a module looks like, as a regular expression.
    pub id_pattern: String,
    /// The types that there are; empty is any.
    pub types: Vec<ModuleType>,
    /// Seconds without a report after which a module that has no connection is offline, and that modules have to
    /// come back after a restart of the server.
    pub offline_after_s: u32,
    /// Seconds that a module has to come back after its connection ended; longer if it flaps.
    pub offline_delay_s: u32,
    /// Milliseconds for which changes are gathered before watchers are told.
    pub window_ms: u32,
    /// How often watchers are told of one module at most, each second; in between, the newest counts.
    pub updates_per_s: u32,
    /// The longest message of a device, in bytes.
    pub report_bytes: u32,
    /// Messages of one device each second; one that sends more is disconnected.
    pub reports_per_s: u32,
    /// Seconds for which a device's answer to a command is waited for.
    pub command_timeout_s: u32,
    /// Days that commands are kept after they were finished.
    pub commands_kept_days: u32,
    /// What devices say when they answer.
    pub answers: AnswerWords,
    /// The time zone of times that are written for people, such as `Europe/Paris`; empty is the computer's.
    pub time_zone: String,
    /// Whether administrators are told statistics without asking.
    pub stats: bool,
    /// How pages come back.
    pub reconnect: ReconnectConfig,
    /// What is kept of what modules report.
    pub history: HistoryConfig,
    /// The broker that modules are connected to.
    pub mqtt: MqttConfig,
}

/// Words of devices in the `status` of an answer, in any case; spaces and hyphens are underscores. Any other word says
/// that it failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerWords {
    /// It is done.
    pub done: Vec<String>,
    /// The device is at it, and another answer follows.
    pub in_progress: Vec<String>,
}

impl Default for AnswerWords {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            done: words(&[
                "success",
                "successful",
                "succeeded",
                "ok",
                "okay",
                "done",
                "complete",
                "completed",
                "finished",
                "true",
            ]),
            in_progress: words(&[
                "in_progress",
                "progress",
                "pending",
                "accepted",
                "received",
                "started",
                "running",
                "processing",
                "executing",
                "moving",
            ]),
        }
    }
}

/// What `/js/reconnection-manager.js` does where a page says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconnectConfig {
    /// Attempts in a row.
    pub max_attempts: u32,
    /// Milliseconds before the first attempt; each further one waits twice as long.
    pub delay_ms: u64,
    /// The longest pause, in milliseconds.
    pub max_delay_ms: u64,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self { max_attempts: 15, delay_ms: 1_000, max_delay_ms: 15_000 }
    }
}

/// A type of module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleType {
    /// Its name, as people see it.
    pub name: String,
    /// What ids of this type end with after a hyphen; empty if that says nothing.
    #[serde(default)]
    pub code: String,
}

impl Default for LiveConfig {
    fn default() -> Self {
        let usual = [
            ("Station", "STN"),
            ("Light FX", "LFX"),
            ("Audio Player", "AP"),
            ("Smoke Machine", "SM"),
            ("Switch Track", "ST"),
            ("Launch Track", "LT"),
        ];
        let types = usual.map(|(name, code)| ModuleType { name: name.into(), code: code.into() });
        Self {
            id_pattern: "[A-Za-z0-9][A-Za-z0-9._-]{0,62}[A-Za-z0-9]".into(),
            types: types.into(),
            offline_after_s: 90,
            offline_delay_s: 5,
            window_ms: 20,
            updates_per_s: 10,
            report_bytes: 16 * 1024,
            reports_per_s: 20,
            command_timeout_s: 15,
            commands_kept_days: 30,
            answers: AnswerWords::default(),
            time_zone: String::new(),
            stats: true,
            reconnect: ReconnectConfig::default(),
            history: HistoryConfig::default(),
            mqtt: MqttConfig::default(),
        }
    }
}

impl LiveConfig {
    /// The zone of [`time_zone`](Self::time_zone).
    ///
    /// # Errors
    /// There is no zone of this name.
    pub fn zone(&self) -> Result<jiff::tz::TimeZone, jiff::Error> {
        match self.time_zone.as_str() {
            "" => Ok(jiff::tz::TimeZone::system()),
            name => jiff::tz::TimeZone::get(name),
        }
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Err(error) = regex::Regex::new(&self.id_pattern) {
            found.push(format!("live.id_pattern: not a regular expression: {error}"));
        }
        if let Some(word) = self.answers.done.iter().find(|word| self.answers.in_progress.contains(word)) {
            found.push(format!("live.answers: {word:?} cannot be both done and in_progress"));
        }
        if self.types.iter().any(|known| known.name.trim().is_empty()) {
            found.push("live.types: a type has a name".into());
        }
        for (name, value, range) in [
            ("offline_after_s", self.offline_after_s, 1..=86_400),
            ("offline_delay_s", self.offline_delay_s, 0..=3_600),
            ("window_ms", self.window_ms, 1..=1_000),
            ("updates_per_s", self.updates_per_s, 1..=1_000),
            ("report_bytes", self.report_bytes, 256..=1_048_576),
            ("reports_per_s", self.reports_per_s, 1..=10_000),
            ("command_timeout_s", self.command_timeout_s, 1..=3_600),
            ("commands_kept_days", self.commands_kept_days, 1..=3_650),
        ] {
            if !range.contains(&value) {
                let (from, to) = (range.start(), range.end());
                found.push(format!("live.{name}: {value} is not from {from} to {to}"));
            }
        }
        found.extend(self.mqtt.mistakes());
        if let Err(error) = self.zone() {
            found.push(format!("live.time_zone: {error}; use a name such as Europe/Paris"));
        }
        let ReconnectConfig { max_attempts, delay_ms, max_delay_ms } = self.reconnect;
        if max_attempts == 0 || delay_ms == 0 {
            found.push("live.reconnect: max_attempts and delay_ms are at least 1".into());
        }
        if !(delay_ms..=PAUSE_MAX_MS).contains(&max_delay_ms) {
            found.push(format!(
                "live.reconnect.max_delay_ms: {max_delay_ms} is not between delay_ms ({delay_ms}) and a day \
                 ({PAUSE_MAX_MS})"
            ));
        }
        found.extend(self.history.mistakes());
        found
    }
}
