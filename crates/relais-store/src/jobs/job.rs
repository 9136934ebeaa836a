//! What a job is: as it is enqueued, as a handler gets it, and how it ended.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use relais_protocol::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kind::JobKind;
use super::lease::Lease;
use crate::error::StoreError;

/// Names a job for as long as the database lives; later jobs have larger ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its time: it was enqueued with a delay, or is to be tried again.
    Scheduled,
    /// Waits for a worker.
    Pending,
    /// Is held by a worker under a lease.
    Running,
    /// Ended well.
    Done,
    /// A dead letter: failed for good, or as often as it may.
    Dead,
    /// Was cancelled or discarded.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Pending, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// As the database and the command line have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows by itself.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| {
            StoreError::Value(format!(
                "{text:?} is no state of a job: expected one of scheduled, pending, running, done, dead, cancelled"
            ))
        })
    }
}

/// A job to be enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    pub(crate) kind: String,
    pub(crate) payload: String,
    pub(crate) unique_key: Option<String>,
    pub(crate) delay_ms: i64,
    pub(crate) run_at: Option<Timestamp>,
    pub(crate) priority: i16,
    pub(crate) attempts_max: u32,
}

impl NewJob {
    /// A job of this kind, whose payload is already serialised; JSON by custom, since people will read it.
    pub fn new(kind: &JobKind, payload: impl Into<String>) -> Self {
        Self {
            kind: kind.name.to_owned(),
            payload: payload.into(),
            unique_key: None,
            delay_ms: 0,
            run_at: None,
            priority: 0,
            attempts_max: kind.attempts_max,
        }
    }

    /// A job of this kind with this payload as JSON.
    ///
    /// # Errors
    /// [`StoreError::Value`] if it has no JSON.
    pub fn json(kind: &JobKind, payload: &impl Serialize) -> Result<Self, StoreError> {
        let payload = serde_json::to_string(payload);
        payload.map(|payload| Self::new(kind, payload)).map_err(|e| StoreError::Value(e.to_string()))
    }

    /// No second job of the kind with this key is enqueued while one waits or runs.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// Not before this has passed since it was enqueued.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = millis(delay);
        self
    }

    /// Not before this moment, in place of a delay.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.run_at = Some(at);
        self
    }

    /// Before jobs of the same kind with a larger number; 0 unless set.
    #[must_use]
    pub fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// How often it may be tried in all, at least once; as its kind has it unless set.
    #[must_use]
    pub fn attempts(mut self, attempts_max: u32) -> Self {
        self.attempts_max = attempts_max.max(1);
        self
    }
}

/// A job in the hands of its handler.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// What it was enqueued with.
    pub payload: String,
    /// Its unique key, if it has one.
    pub unique_key: Option<String>,
    /// Its place among those of its kind.
    pub priority: i64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many there may be.
    pub attempts_max: u32,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// Under which it is held.
    pub lease: Lease,
}

impl Job {
    /// The payload from JSON, or the outcome for one that cannot be read: it will not be readable the next time either.
    ///
    /// # Errors
    /// [`Outcome::Dead`], for the handler to return.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        serde_json::from_str(&self.payload).map_err(|e| Outcome::Dead(format!("unreadable payload: {e}")))
    }
}

/// How a run of a handler ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Not, and why: to be tried again after a pause, while attempts are left.
    Failed(String),
    /// The other side said when to come back (`Retry-After`). Counts as an attempt, so that it ends; never sooner than
    /// said, at most a day later.
    RetryAfter(Duration, String),
    /// Not, and never will: a dead letter at once.
    Dead(String),
    /// It stopped because it was cancelled.
    Cancelled,
}

impl<E: fmt::Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        result.map_or_else(|error| Self::Failed(error.to_string()), |()| Self::Done)
    }
}

/// Milliseconds, saturating far beyond any sensible time.
pub(super) fn millis(duration: Duration) -> i64 {
    const CENTURY_MS: i64 = 100 * 366 * 86_400_000;
    i64::try_from(duration.as_millis()).unwrap_or(CENTURY_MS).min(CENTURY_MS)
}
