//! Leases: which worker holds which job, for how long, and under which fence. The statements for
//! [`Worker`](super::Worker) and others that run jobs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relais_protocol::time::Timestamp;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::backlog::server_now;
use super::job::{Job, JobId, JobState, millis};
use super::{as_json, shortened};
use crate::error::StoreError;
use crate::params;
use crate::row::Row;
use crate::tx::{Backend, Query, ReadTx, WriteTx};

/// The longest lease. One that ends later was given before a clock went back, and is over.
pub const LEASE_MAX: Duration = Duration::from_secs(600);
/// The most jobs that one statement claims, moves or rescues.
pub const BATCH_MAX: usize = 2000;
/// The most characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 1000;

/// Holds a job: the right to work on it and to report its outcome, until another claims it.
#[derive(Clone, Debug)]
pub struct Lease {
    id: JobId,
    fence: i64,
    stop: CancellationToken,
    completed: Arc<AtomicBool>,
}

/// Why something was not done under a lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another holds the job, or it has ended: what this holder does counts no more.
    #[error("job {id} is held no more under fence {fence}: another worker has it, or it has ended")]
    Lost {
        /// This job.
        id: JobId,
        /// The fence that counts no more.
        fence: i64,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<LeaseError> for StoreError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => error,
            lost @ LeaseError::Lost { .. } => Self::Refused(lost.to_string()),
        }
    }
}

impl Lease {
    fn new(id: JobId, fence: i64) -> Self {
        Self { id, fence, stop: CancellationToken::new(), completed: Arc::default() }
    }

    /// The fencing token: larger than that of every earlier claim of any job in the database. Another system that keeps
    /// the largest it has seen can refuse a holder that was overtaken.
    #[must_use]
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Cancelled when the handler should stop: the job was cancelled, the lease was lost or the worker stops.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Refuses what is done under a lease that was lost: called first in the transaction of an effect, it makes that
    /// effect one of the present holder.
    ///
    /// # Errors
    /// [`LeaseError::Lost`], or whatever the database reports.
    pub fn check(&self, tx: &mut WriteTx<'_>) -> Result<(), LeaseError> {
        let sql = match tx.backend() {
            Backend::Sqlite => "SELECT 1 FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running'",
            Backend::Postgres => {
                "SELECT 1 FROM jobs WHERE id = $1 AND fence = $2 AND state = 'running' FOR SHARE"
            }
        };
        let held = tx.query_opt(sql, params![self.id.0, self.fence], |_| Ok(()))?;
        held.ok_or(LeaseError::Lost { id: self.id, fence: self.fence })
    }

    /// Ends the job well in the transaction of its effect, which therefore happens exactly once. The handler returns
    /// [`Outcome::Done`](super::Outcome::Done) after it.
    ///
    /// # Errors
    /// [`LeaseError::Lost`], or whatever the database reports.
    pub fn complete(&self, tx: &mut WriteTx<'_>) -> Result<(), LeaseError> {
        let ending = Ending { id: self.id, fence: self.fence, end: End::Done };
        if !finish(tx, &[ending])?.is_empty() {
            return Err(LeaseError::Lost { id: self.id, fence: self.fence });
        }
        let completed = Arc::clone(&self.completed);
        tx.after_commit(move || completed.store(true, Ordering::Release));
        Ok(())
    }

    /// Whether [`Lease::complete`] was committed.
    pub(super) fn is_completed(&self) -> bool {
        self.completed.load(Ordering::Acquire)
    }
}

/// A request for jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks, for people to read.
    pub holder: String,
    /// How long without a heartbeat, at most [`LEASE_MAX`].
    pub lease: Duration,
    /// The kinds that are wanted, in the order of their turns, and the most of each.
    pub kinds: Vec<(&'static str, usize)>,
    /// The most in all.
    pub limit: usize,
}

/// What was claimed.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs, by kind in order of priority and time.
    pub jobs: Vec<Job>,
    /// Rows that cannot be read as a job, held as well, with what is wrong: to be ended as dead letters.
    pub unreadable: Vec<(JobId, i64, String)>,
}

const NEXT_FENCE: &str = "UPDATE job_fence SET last = last + 1 WHERE id = 1 RETURNING last";
/// Kinds take turns: the first of each, in the order asked for, then the second of each, and so on.
const CLAIM_SQLITE: &str = "UPDATE jobs SET state = 'running', fence = $3, attempt = attempt + 1, lease_until = $4, \
         holder = $5, started_at = $6 \
     WHERE id IN (SELECT c.id FROM (SELECT j.id AS id, w.key AS place, w.value ->> 1 AS most, \
             ROW_NUMBER() OVER (PARTITION BY w.key ORDER BY j.priority, j.run_at, j.id) AS turn \
         FROM json_each($1) AS w CROSS JOIN jobs AS j \
         WHERE j.id IN (SELECT q.id FROM jobs AS q WHERE q.kind = w.value ->> 0 AND q.state = 'pending' \
             ORDER BY q.priority, q.run_at, q.id LIMIT $2)) AS c \
         WHERE c.turn <= c.most ORDER BY c.turn, c.place LIMIT $2) \
     RETURNING id, kind, payload, unique_key, priority, attempt, attempts_max, enqueued_at, run_at";
const CLAIM_POSTGRES: &str = "WITH picked AS MATERIALIZED (SELECT c.id FROM (SELECT j.id, w.place, \
             ROW_NUMBER() OVER (PARTITION BY w.place ORDER BY j.priority, j.run_at, j.id) AS turn \
         FROM (SELECT (value ->> 0) COLLATE \"C\" AS kind, CAST(value ->> 1 AS BIGINT) AS most, place \
             FROM jsonb_array_elements(CAST(CAST($1 AS TEXT) AS JSONB)) WITH ORDINALITY AS e (value, place)) AS w \
         CROSS JOIN LATERAL (SELECT q.id, q.priority, q.run_at FROM jobs AS q \
             WHERE q.kind = w.kind AND q.state = 'pending' ORDER BY q.priority, q.run_at, q.id \
             LIMIT LEAST(w.most, $2) FOR UPDATE SKIP LOCKED) AS j) AS c \
         ORDER BY c.turn, c.place LIMIT $2) \
     UPDATE jobs SET state = 'running', fence = $3, attempt = attempt + 1, lease_until = $4, holder = $5, \
         started_at = $6 \
     FROM picked WHERE jobs.id = picked.id \
     RETURNING jobs.id, kind, payload, unique_key, priority, attempt, attempts_max, enqueued_at, run_at";

/// Takes jobs that wait, under one new fence, by one statement.
///
/// # Errors
/// Whatever the database reports.
pub fn claim(tx: &mut WriteTx<'_>, wanted: &Claim) -> Result<Claimed, StoreError> {
    let now = tx.database_now()?;
    let fence = tx.query_one(NEXT_FENCE, params![], |row| row.i64(0))?;
    let kinds = as_json(&wanted.kinds)?;
    let limit = wanted.limit.min(BATCH_MAX);
    let until = now.plus_millis(millis(wanted.lease.min(LEASE_MAX)));
    let sql = match tx.backend() {
        Backend::Sqlite => CLAIM_SQLITE,
        Backend::Postgres => CLAIM_POSTGRES,
    };
    let mut claimed = Claimed::default();
    let mut order = Vec::new();
    let params = params![&kinds, limit, fence, until, &wanted.holder, now];
    tx.visit(sql, params, &mut |row| {
        let id = JobId(row.i64(0)?);
        match read_job(row, id, fence) {
            Ok(job) => order.push((row.i64(4)?, row.i64(8)?, job)),
            Err(error) => claimed.unreadable.push((id, fence, error.to_string())),
        }
        Ok(())
    })?;
    order.sort_by_key(|(priority, run_at, job)| (*priority, *run_at, job.id));
    claimed.jobs = order.into_iter().map(|(_, _, job)| job).collect();
    Ok(claimed)
}

fn read_job(row: &Row<'_>, id: JobId, fence: i64) -> Result<Job, StoreError> {
    row.i64(8)?;
    Ok(Job {
        id,
        kind: row.text(1)?,
        payload: row.text(2)?,
        unique_key: row.opt_text(3)?,
        priority: row.i64(4)?,
        attempt: u32::try_from(row.i64(5)?).unwrap_or(u32::MAX),
        attempts_max: u32::try_from(row.i64(6)?).unwrap_or(u32::MAX),
        enqueued_at: row.timestamp(7)?,
        lease: Lease::new(id, fence),
    })
}

/// How a lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The job is done.
    Done,
    /// It is to be tried again after so many milliseconds, and why; a job that was asked to cancel ends as cancelled.
    Retry(i64, String),
    /// It is a dead letter, and why.
    Dead(String),
    /// It stopped because it was cancelled.
    Cancelled,
    /// It was not begun, or was broken off by its worker: it waits again, and the attempt does not count.
    Release,
}

/// The end of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Of this job.
    pub id: JobId,
    /// Under this fence.
    pub fence: i64,
    /// How.
    pub end: End,
}

/// An ending as a row of one parameter: id, fence, state, time of the next attempt, error, attempts given back.
#[derive(Serialize)]
struct EndingColumns(i64, i64, &'static str, Option<i64>, Option<String>, i64);

impl EndingColumns {
    fn new(ending: &Ending, now: Timestamp) -> Self {
        let Ending { id, fence, end } = ending;
        let error = |text: &str| Some(shortened(text, ERROR_CHARS_MAX));
        let (state, at, error, back) = match end {
            End::Done => (JobState::Done, None, None, 0),
            End::Retry(ms, why) => (JobState::Scheduled, Some(now.plus_millis(*ms)), error(why), 0),
            End::Dead(why) => (JobState::Dead, None, error(why), 0),
            End::Cancelled => (JobState::Cancelled, None, None, 0),
            End::Release => (JobState::Pending, None, None, 1),
        };
        Self(id.0, *fence, state.as_str(), at.map(Timestamp::as_millis), error, back)
    }
}

macro_rules! finish {
    ($rows:literal) => {
        concat!(
            "UPDATE jobs SET state = CASE WHEN jobs.cancel = 1 AND d.state IN ('scheduled', 'pending') THEN 'cancelled' \
                 ELSE d.state END, \
                 ended_at = CASE WHEN jobs.cancel = 0 AND d.state IN ('scheduled', 'pending') THEN NULL ELSE CAST($2 AS BIGINT) END, \
                 run_at = COALESCE(d.at, jobs.run_at), attempt = jobs.attempt - d.back, \
                 error = COALESCE(d.error, jobs.error), lease_until = NULL \
             FROM (SELECT ",
            $rows,
            ") AS d WHERE jobs.id = d.id AND jobs.fence = d.fence AND jobs.state = 'running' RETURNING jobs.id"
        )
    };
}

const FINISH_SQLITE: &str = finish!(
    "value ->> 0 AS id, value ->> 1 AS fence, value ->> 2 AS state, value ->> 3 AS at, value ->> 4 AS error, \
     value ->> 5 AS back FROM json_each($1)"
);
const FINISH_POSTGRES: &str = finish!(
    "CAST(value ->> 0 AS BIGINT) AS id, CAST(value ->> 1 AS BIGINT) AS fence, value ->> 2 AS state, \
     CAST(value ->> 3 AS BIGINT) AS at, value ->> 4 AS error, CAST(value ->> 5 AS BIGINT) AS back \
     FROM jsonb_array_elements(CAST(CAST($1 AS TEXT) AS JSONB))"
);

/// Ends leases by one statement, and returns those that were refused because they are lost.
///
/// # Errors
/// Whatever the database reports.
pub fn finish(tx: &mut WriteTx<'_>, endings: &[Ending]) -> Result<Vec<(JobId, i64)>, StoreError> {
    if endings.is_empty() {
        return Ok(Vec::new());
    }
    let now = tx.database_now()?;
    let mut rows: Vec<EndingColumns> = endings.iter().map(|ending| EndingColumns::new(ending, now)).collect();
    // Several rows are always locked in the order of their ids.
    rows.sort_unstable_by_key(|row| row.0);
    let sql = match tx.backend() {
        Backend::Sqlite => FINISH_SQLITE,
        Backend::Postgres => FINISH_POSTGRES,
    };
    let accepted = tx.query(sql, params![&as_json(&rows)?, now], |row| row.i64(0).map(JobId))?;
    if accepted.len() == endings.len() {
        return Ok(Vec::new());
    }
    let accepted: HashSet<JobId> = accepted.into_iter().collect();
    let refused = endings.iter().filter(|ending| !accepted.contains(&ending.id));
    Ok(refused.map(|ending| (ending.id, ending.fence)).collect())
}

/// A prolonged lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Of this job.
    pub id: JobId,
    /// Whether cancellation was requested.
    pub cancel: bool,
}

macro_rules! heartbeat {
    ($rows:literal) => {
        concat!(
            "UPDATE jobs SET lease_until = $2 FROM (SELECT ",
            $rows,
            ") AS d WHERE jobs.id = d.id AND jobs.fence = d.fence AND jobs.state = 'running' \
               RETURNING jobs.id, jobs.cancel"
        )
    };
}

const HEARTBEAT_SQLITE: &str = heartbeat!("value ->> 0 AS id, value ->> 1 AS fence FROM json_each($1)");
const HEARTBEAT_POSTGRES: &str = heartbeat!(
    "CAST(value ->> 0 AS BIGINT) AS id, CAST(value ->> 1 AS BIGINT) AS fence \
     FROM jsonb_array_elements(CAST(CAST($1 AS TEXT) AS JSONB))"
);

/// Prolongs leases by one statement, from now on. Those that are not in the answer are lost.
///
/// # Errors
/// Whatever the database reports.
pub fn heartbeat(
    tx: &mut WriteTx<'_>,
    held: &[(JobId, i64)],
    lease: Duration,
) -> Result<Vec<Beat>, StoreError> {
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let until = tx.database_now()?.plus_millis(millis(lease.min(LEASE_MAX)));
    let sql = match tx.backend() {
        Backend::Sqlite => HEARTBEAT_SQLITE,
        Backend::Postgres => HEARTBEAT_POSTGRES,
    };
    let mut rows: Vec<(i64, i64)> = held.iter().map(|(id, fence)| (id.0, *fence)).collect();
    rows.sort_unstable();
    tx.query(sql, params![&as_json(&rows)?, until], |row| {
        Ok(Beat { id: JobId(row.i64(0)?), cancel: row.bool(1)? })
    })
}

/// A lease whose time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Of this job.
    pub id: JobId,
    /// Under this fence.
    pub fence: i64,
    /// Its kind.
    pub kind: String,
    /// The attempt that was under way.
    pub attempt: u32,
    /// How many there may be.
    pub attempts_max: u32,
    /// Who held it.
    pub holder: String,
}

const EXPIRED: &str = "SELECT id, fence, kind, attempt, attempts_max, holder FROM jobs WHERE state = 'running' \
     AND (lease_until <= $1 OR lease_until > $2 OR lease_until IS NULL) \
     ORDER BY lease_until, id LIMIT $3";

/// Expired leases, to be ended by any worker that finds them: their holders stopped, or hang.
///
/// # Errors
/// Whatever the database reports.
pub fn expired(tx: &mut WriteTx<'_>, limit: usize) -> Result<Vec<Expired>, StoreError> {
    let now = tx.database_now()?;
    let beyond = now.plus_millis(millis(LEASE_MAX));
    let mut found = tx.query(EXPIRED, params![now, beyond, limit.min(BATCH_MAX)], |row| {
        Ok(Expired {
            id: JobId(row.i64(0)?),
            fence: row.i64(1)?,
            // One damaged row does not keep others from being rescued.
            kind: row.text(2).unwrap_or_default(),
            attempt: row.i64(3).map_or(u32::MAX, |count| u32::try_from(count).unwrap_or(u32::MAX)),
            attempts_max: row.i64(4).map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)),
            holder: row.text(5).unwrap_or_default(),
        })
    })?;
    found.sort_unstable_by_key(|lost| lost.id);
    Ok(found)
}

/// Jobs whose time has come wait for a worker from now on. Returns how many, at most `limit`.
///
/// # Errors
/// Whatever the database reports.
pub fn promote(tx: &mut WriteTx<'_>, limit: usize) -> Result<u64, StoreError> {
    const PROMOTE: &str = "UPDATE jobs SET state = 'pending' WHERE id IN (SELECT id FROM jobs \
         WHERE state = 'scheduled' AND run_at <= $1 ORDER BY run_at, id LIMIT $2) AND state = 'scheduled'";
    let now = tx.database_now()?;
    tx.execute(PROMOTE, params![now, limit.min(BATCH_MAX)])
}

/// Running jobs whose cancellation was requested, held by any worker.
///
/// # Errors
/// Whatever the database reports.
pub fn cancelled(tx: &mut impl Query) -> Result<Vec<(JobId, i64)>, StoreError> {
    const CANCELLED: &str = "SELECT id, fence FROM jobs WHERE state = 'running' AND cancel = 1 LIMIT $1";
    tx.query(CANCELLED, params![BATCH_MAX], |row| Ok((JobId(row.i64(0)?), row.i64(1)?)))
}

/// What a look at the database has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Whether there is anything to do now.
    pub work: bool,
    /// Running jobs whose cancellation was requested.
    pub cancelled: Vec<(JobId, i64)>,
    /// When the next job or schedule is due, in milliseconds from now.
    pub next_ms: Option<i64>,
}

/// Looks, without writing, whether there is anything to do for a worker of these kinds.
///
/// # Errors
/// Whatever the database reports.
pub fn look(tx: &mut ReadTx<'_>, kinds: &[&'static str], now: Option<Timestamp>) -> Result<Due, StoreError> {
    const NEXT: &str = "SELECT (SELECT MIN(run_at) FROM jobs WHERE state = 'scheduled'), \
         (SELECT MIN(next_run) FROM job_schedules WHERE next_run IS NOT NULL), \
         (SELECT MIN(lease_until) FROM jobs WHERE state = 'running')";
    const PENDING: &str = "SELECT 1 FROM jobs WHERE kind = $1 AND state = 'pending' LIMIT 1";
    let now = now.map_or_else(|| server_now(tx), Ok)?;
    let times = tx.query_one(NEXT, params![], |row| {
        Ok([row.opt_timestamp(0)?, row.opt_timestamp(1)?, row.opt_timestamp(2)?])
    })?;
    let next = times.into_iter().flatten().min();
    let mut work = next.is_some_and(|at| at <= now);
    for kind in kinds {
        work = work || tx.query_opt(PENDING, params![*kind], |_| Ok(()))?.is_some();
    }
    let cancelled = cancelled(tx)?;
    let next_ms = next.map(|at| (at.as_millis() - now.as_millis()).max(0));
    Ok(Due { work, cancelled, next_ms })
}
