//! Timestamps, and the clock that is passed as an argument.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// A point in time in UTC: milliseconds since 1970-01-01T00:00:00Z.
///
/// Stored as a 64-bit integer in both databases and written as RFC 3339 with milliseconds and `Z` on the
/// wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This time plus `ms` milliseconds, saturating at the ends of the range.
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(moment.as_millisecond()))
    }
}

/// Where the time comes from. Production code takes one as an argument; tests pass one that stands still.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day: what is told and stored. It may be wrong, and leap whenever somebody or something sets it.
    fn now(&self) -> Timestamp;

    /// A monotonic clock, unaffected by changes of the wall clock: for waits, rates and deadlines in memory. It starts
    /// at some wall-clock time when the process starts, so it is neither displayed nor stored.
    fn steady(&self) -> Timestamp;

    /// This moment as the timers of the system count: for a wait that they end, and for how long something took. Nobody
    /// sets it, and it may stand still while the computer sleeps.
    #[expect(clippy::disallowed_methods, reason = "the one place where the timers' time is read")]
    fn instant(&self) -> Instant {
        Instant::now()
    }

    /// This moment on both.
    fn moment(&self) -> Moment {
        Moment { now: self.now(), steady: self.steady() }
    }
}

/// A point in time, as both clocks of a [`Clock`] show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// See [`Clock::now`].
    pub now: Timestamp,
    /// See [`Clock::steady`].
    pub steady: Timestamp,
}

impl Moment {
    /// The steady time that corresponds to the wall-clock time `at`, if the wall clock is right now.
    #[must_use]
    pub const fn steady_at(self, at: Timestamp) -> Timestamp {
        self.steady.plus_millis(at.0.saturating_sub(self.now.0))
    }
}

/// A clock that several owners share.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the computer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time of day is read")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn steady(&self) -> Timestamp {
        static BEGAN: OnceLock<(Timestamp, i64)> = OnceLock::new();
        let (day, began_ms) = *BEGAN.get_or_init(|| (self.now(), since_boot_ms()));
        day.plus_millis(since_boot_ms() - began_ms)
    }
}

/// Includes the time in which the computer sleeps, where the system reports it.
fn since_boot_ms() -> i64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_time_passes_and_is_told_in_the_time_of_day() {
        let clock = SystemClock;
        let begin = clock.moment();
        let in_a_minute = begin.now.plus_millis(60_000);
        assert_eq!(begin.steady_at(in_a_minute), begin.steady.plus_millis(60_000));
        assert!(clock.steady() >= begin.steady);
    }

    #[test]
    fn a_timestamp_is_written_as_rfc_3339_and_read_back() {
        let moment = Timestamp::from_millis(1_702_981_800_250);
        assert_eq!(moment.to_string(), "2023-12-19T10:30:00.250Z");
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }
}
