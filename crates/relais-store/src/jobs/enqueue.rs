//! Enqueues jobs in the caller's transaction.

use std::collections::HashMap;
use std::sync::Arc;

use relais_protocol::time::Timestamp;
use serde::Serialize;

use super::as_json;
use super::job::{JobId, JobState, NewJob};
use super::kind::JobKind;
use crate::error::StoreError;
use crate::params;
use crate::tx::{Backend, Query, WriteTx};

/// The most jobs that one statement adds.
const BATCH_MAX: usize = 10_000;
/// The most characters of a unique key.
const KEY_MAX: usize = 255;

const ADD: &str = "INSERT INTO jobs (kind, unique_key, payload, state, priority, run_at, attempts_max, enqueued_at, attempt, \
     fence, cancel) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0) ON CONFLICT DO NOTHING RETURNING id";
const FIND_ACTIVE: &str = "SELECT id FROM jobs WHERE kind = $1 AND unique_key = $2 \
     AND state IN ('scheduled', 'pending', 'running')";
const ADD_ALL_SQLITE: &str = "INSERT INTO jobs (kind, unique_key, payload, state, priority, run_at, attempts_max, \
     enqueued_at, attempt, fence, cancel) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, $2, 0, 0, 0 \
     FROM json_each($1) WHERE true ON CONFLICT DO NOTHING";
const ADD_ALL_POSTGRES: &str = "INSERT INTO jobs (kind, unique_key, payload, state, priority, run_at, attempts_max, \
     enqueued_at, attempt, fence, cancel) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, CAST(value ->> 4 AS BIGINT), \
     CAST(value ->> 5 AS BIGINT), CAST(value ->> 6 AS BIGINT), $2, 0, 0, 0 \
     FROM jsonb_array_elements(CAST(CAST($1 AS TEXT) AS JSONB)) ON CONFLICT DO NOTHING";

/// Why a job was not enqueued; nothing of the call is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueError {
    /// As many wait as may.
    #[error(
        "{limit} jobs of the kind {kind:?} wait already, which is the limit: see why they are not worked off, or raise \
         the limit"
    )]
    Backlog {
        /// Of this kind.
        kind: String,
        /// As many.
        limit: usize,
    },
    /// The payload is larger than the limit.
    #[error(
        "the payload of a job of the kind {kind:?} has {bytes} bytes, the limit is {limit}: store the content elsewhere \
         and name it in the payload"
    )]
    Payload {
        /// Of this kind.
        kind: String,
        /// Its size.
        bytes: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// A kind or a key that is empty or too long.
    #[error("{0}")]
    Name(String),
    /// More jobs at once than one statement takes.
    #[error("{count} jobs at once are more than {BATCH_MAX}: enqueue them in several calls")]
    Batch {
        /// As many were given.
        count: usize,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<EnqueueError> for StoreError {
    fn from(error: EnqueueError) -> Self {
        match error {
            EnqueueError::Store(error) => error,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// What became of a job that was to be enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// It is enqueued, under this name.
    New(JobId),
    /// One with its key waits or runs already: this one.
    Duplicate(JobId),
}

impl Enqueued {
    /// The job that will do it.
    #[must_use]
    pub fn id(self) -> JobId {
        match self {
            Self::New(id) | Self::Duplicate(id) => id,
        }
    }
}

/// What became of many jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnqueuedBatch {
    /// As many are enqueued.
    pub new: usize,
    /// As many were not, because one with their key waits or runs already.
    pub duplicates: usize,
}

/// A job as a row of one parameter: kind, key, payload, state, priority, time, attempts.
#[derive(Serialize)]
struct Columns<'a>(&'a str, Option<&'a str>, &'a str, &'static str, i16, i64, u32);

impl WriteTx<'_> {
    /// Enqueues a job in this transaction. Workers of this process hear of it at the commit, others when they next look.
    ///
    /// # Errors
    /// [`EnqueueError`]: limits, names, or whatever the database reports; after the last the closure's changes are undone.
    pub fn enqueue(&mut self, job: &NewJob) -> Result<Enqueued, EnqueueError> {
        let backlog = Arc::clone(self.backlog());
        check(job, backlog.limits.payload_bytes_max)?;
        let now = self.database_now()?;
        let (state, run_at) = due(job, now);
        backlog.take(self, &job.kind, 1)?;
        let (key, priority) = (job.unique_key.as_deref(), i64::from(job.priority));
        let state = state.as_str();
        let row = params![&job.kind, key, &job.payload, state, priority, run_at, job.attempts_max, now];
        if let Some(id) = self.query_opt(ADD, row, |row| row.i64(0).map(JobId))? {
            self.announce(vec![(job.kind.clone(), 1)]);
            return Ok(Enqueued::New(id));
        }
        let active = self.query_opt(FIND_ACTIVE, params![&job.kind, key], |row| row.i64(0).map(JobId))?;
        active.map(Enqueued::Duplicate).ok_or_else(|| {
            StoreError::Internal(format!("a job of the kind {:?} was neither added nor found", job.kind))
                .into()
        })
    }

    /// Enqueues up to ten thousand jobs in this transaction, by one statement.
    ///
    /// # Errors
    /// As [`WriteTx::enqueue`]; then none of them is enqueued.
    pub fn enqueue_all(&mut self, jobs: &[NewJob]) -> Result<EnqueuedBatch, EnqueueError> {
        if jobs.len() > BATCH_MAX {
            return Err(EnqueueError::Batch { count: jobs.len() });
        }
        if jobs.is_empty() {
            return Ok(EnqueuedBatch::default());
        }
        let backlog = Arc::clone(self.backlog());
        let now = self.database_now()?;
        let mut kinds: HashMap<&str, usize> = HashMap::new();
        let mut rows = Vec::with_capacity(jobs.len());
        for job in jobs {
            check(job, backlog.limits.payload_bytes_max)?;
            *kinds.entry(&job.kind).or_default() += 1;
            let (state, run_at) = due(job, now);
            let key = job.unique_key.as_deref();
            let (state, run_at) = (state.as_str(), run_at.as_millis());
            rows.push(Columns(&job.kind, key, &job.payload, state, job.priority, run_at, job.attempts_max));
        }
        for (kind, count) in &kinds {
            backlog.take(self, kind, *count)?;
        }
        let sql = match self.backend() {
            Backend::Sqlite => ADD_ALL_SQLITE,
            Backend::Postgres => ADD_ALL_POSTGRES,
        };
        let new = usize::try_from(self.execute(sql, params![&as_json(&rows)?, now])?).unwrap_or(0);
        if new > 0 {
            self.announce(kinds.into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect());
        }
        Ok(EnqueuedBatch { new, duplicates: jobs.len() - new })
    }

    fn announce(&mut self, kinds: Vec<(String, usize)>) {
        let backlog = Arc::clone(self.backlog());
        self.after_commit(move || {
            for (kind, count) in kinds {
                metrics::counter!("relais_jobs_enqueued_total", "kind" => kind).increment(count as u64);
            }
            backlog.wake();
        });
    }
}

fn due(job: &NewJob, now: Timestamp) -> (JobState, Timestamp) {
    let run_at = job.run_at.unwrap_or(now.plus_millis(job.delay_ms));
    if run_at > now { (JobState::Scheduled, run_at) } else { (JobState::Pending, run_at) }
}

fn check(job: &NewJob, bytes_max: usize) -> Result<(), EnqueueError> {
    if job.kind.is_empty() || job.kind.chars().count() > JobKind::NAME_MAX {
        let max = JobKind::NAME_MAX;
        return Err(EnqueueError::Name(format!(
            "{:?} names no kind of job: 1 to {max} characters",
            job.kind
        )));
    }
    if let Some(key) = job.unique_key.as_ref().filter(|key| key.is_empty() || key.chars().count() > KEY_MAX) {
        return Err(EnqueueError::Name(format!(
            "{key:?} is no unique key of a job: 1 to {KEY_MAX} characters"
        )));
    }
    let bytes = job.payload.len();
    if bytes > bytes_max {
        return Err(EnqueueError::Payload { kind: job.kind.clone(), bytes, limit: bytes_max });
    }
    let texts = [&job.kind, &job.payload].into_iter().chain(&job.unique_key);
    match texts.into_iter().any(|text| text.contains('\0')) {
        true => Err(StoreError::Unstorable("a text contains the character U+0000").into()),
        false => Ok(()),
    }
}
