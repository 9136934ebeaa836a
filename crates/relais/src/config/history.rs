//! Settings of the history of modules.

use serde::{Deserialize, Serialize};

/// Which values reported by modules are kept, and for how long: in tiers, the finer the shorter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Whether anything is kept.
    pub enabled: bool,
    /// Hours for which raw values are kept; 0 keeps none beyond what aggregates need.
    pub raw_hours: u32,
    /// Days for which one-minute aggregates are kept; 0 keeps none.
    pub minute_days: u32,
    /// Days for which one-hour aggregates are kept; 0 keeps none.
    pub hour_days: u32,
    /// Milliseconds between two writes: the most that a power failure loses.
    pub flush_ms: u64,
    /// Maximum bytes of values in memory; values beyond it are dropped while the database does not keep up.
    pub memory_bytes: usize,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            raw_hours: 48,
            minute_days: 30,
            hour_days: 730,
            flush_ms: 1000,
            memory_bytes: 64 * 1024 * 1024,
        }
    }
}

impl HistoryConfig {
    /// A retention of more days than this is a typing error.
    const DAYS_MAX: u32 = 36_500;

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.enabled && (self.raw_hours, self.minute_days, self.hour_days) == (0, 0, 0) {
            found.push("live.history: no tier is kept: give one a retention, or set enabled = false".into());
        }
        for (name, value, most) in [
            ("raw_hours", self.raw_hours, Self::DAYS_MAX * 24),
            ("minute_days", self.minute_days, Self::DAYS_MAX),
            ("hour_days", self.hour_days, Self::DAYS_MAX),
        ] {
            if value > most {
                found.push(format!("live.history.{name}: {value} is more than {most}"));
            }
        }
        if !(100..=60_000).contains(&self.flush_ms) {
            found.push(format!("live.history.flush_ms: {} is not between 100 and 60000", self.flush_ms));
        }
        if self.memory_bytes < 1024 * 1024 {
            found.push(format!("live.history.memory_bytes: {} is less than 1 MiB", self.memory_bytes));
        }
        found
    }
}
