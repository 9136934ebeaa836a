//! Settings of live pages and of modules, the machines in the field.

use serde::{Deserialize, Serialize};

use super::HistoryConfig;
use super::MqttConfig;

/// The longest delay between two attempts that a page can be configured with, in milliseconds: a day.
const PAUSE_MAX_MS: u64 = 86_400_000;

/// Live pages, and which modules are accepted.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveConfig {
    /// The regular expression that the whole id of a module must match.
    pub id_pattern: String,
    /// The known types; if empty, any.
    pub types: Vec<ModuleType>,
    /// Seconds without a report after which a module without a connection is offline; also the time that modules have
    /// to reconnect after a restart of the server.
    pub offline_after_s: u32,
    /// Seconds that a module has to reconnect after its connection ended; longer if it flaps.
    pub offline_delay_s: u32,
    /// Milliseconds for which changes are coalesced before watchers are notified.
    pub window_ms: u32,
    /// Maximum updates per second and module sent to watchers; in between, only the latest is kept.
    pub updates_per_s: u32,
    /// Maximum size of a device's message, in bytes.
    pub report_bytes: u32,
    /// Messages per second and device; a device that sends more is disconnected.
    pub reports_per_s: u32,
    /// Seconds to wait for a device's response to a command.
    pub command_timeout_s: u32,
    /// Days for which finished commands are kept.
    pub commands_kept_days: u32,
    /// The words that devices use in responses.
    pub answers: AnswerWords,
    /// The time zone of human-readable times, such as `Europe/Paris`; if empty, the computer's.
    pub time_zone: String,
    /// Whether administrators are sent statistics without requesting them.
    pub stats: bool,
    /// How pages reconnect.
    pub reconnect: ReconnectConfig,
    /// Which values reported by modules are kept.
    pub history: HistoryConfig,
    /// The broker that modules connect to.
    pub mqtt: MqttConfig,
}

/// Words of devices in the `status` of a response, case-insensitive; spaces and hyphens count as underscores. Any other
/// word means failure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerWords {
    /// Completed.
    pub done: Vec<String>,
    /// In progress; another response follows.
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

/// The defaults of `/js/reconnection-manager.js`, which a page may override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconnectConfig {
    /// Consecutive attempts.
    pub max_attempts: u32,
    /// Milliseconds before the first attempt; the delay doubles with each further one.
    pub delay_ms: u64,
    /// The longest delay, in milliseconds.
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
    /// Its display name.
    pub name: String,
    /// The suffix of ids of this type, after a hyphen; empty if ids do not show the type.
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
    /// The time zone named by [`time_zone`](Self::time_zone).
    ///
    /// # Errors
    /// The time zone does not exist.
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
