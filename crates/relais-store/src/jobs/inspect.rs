//! Jobs as people see them: lists, one job, trying again, discarding, and counts.

use relais_protocol::time::Timestamp;
use serde::Serialize;

use super::job::{JobId, JobState};
use crate::error::StoreError;
use crate::params;
use crate::row::Row;
use crate::tx::{Query, WriteTx};

/// The most jobs of one list.
pub const LIST_MAX: usize = 1000;
/// The most kinds and states of one overview.
const COUNTS_MAX: usize = 400;

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRow {
    /// Its name.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its state; nothing if the database has one that this program does not know.
    pub state: Option<JobState>,
    /// Its state as the database has it.
    #[serde(skip)]
    pub stored_state: String,
    /// Its unique key.
    pub unique_key: Option<String>,
    /// Its payload; nothing if it cannot be read.
    pub payload: Option<String>,
    /// Its place among those of its kind.
    pub priority: i64,
    /// Attempts begun.
    pub attempt: i64,
    /// Attempts there may be.
    pub attempts_max: i64,
    /// The last fencing token it was held under; 0 before the first.
    pub fence: i64,
    /// Who held it last.
    pub holder: Option<String>,
    /// Until when it is held.
    pub lease_until: Option<Timestamp>,
    /// Whether a running job was asked to stop.
    pub cancel: bool,
    /// When it is, or was, due.
    pub run_at: Timestamp,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When its last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why its last failed attempt failed.
    pub error: Option<String>,
}

/// Which jobs a list has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Enqueued before this one: the last of the page before.
    pub before: Option<JobId>,
    /// As many at most, up to [`LIST_MAX`].
    pub limit: usize,
}

macro_rules! columns {
    () => {
        "SELECT id, kind, state, unique_key, payload, priority, attempt, attempts_max, fence, holder, lease_until, cancel, \
         run_at, enqueued_at, started_at, ended_at, error FROM jobs "
    };
}
const FIND: &str = concat!(columns!(), "WHERE id = $1");
const LIST: &str = concat!(
    columns!(),
    "WHERE id < $1 AND (CAST($2 AS TEXT) IS NULL OR state = $2) AND (CAST($3 AS TEXT) IS NULL OR kind = $3) \
     ORDER BY id DESC LIMIT $4"
);

fn job_row(row: &Row<'_>) -> Result<JobRow, StoreError> {
    Ok(JobRow {
        id: JobId(row.i64(0)?),
        kind: row.text(1).unwrap_or_default(),
        state: row.text(2).ok().and_then(|state| state.parse().ok()),
        stored_state: row.text(2).unwrap_or_default(),
        unique_key: row.opt_text(3).unwrap_or_default(),
        payload: row.text(4).ok(),
        priority: row.i64(5)?,
        attempt: row.i64(6)?,
        attempts_max: row.i64(7)?,
        fence: row.i64(8)?,
        holder: row.opt_text(9).unwrap_or_default(),
        lease_until: row.opt_timestamp(10)?,
        cancel: row.bool(11)?,
        run_at: row.timestamp(12)?,
        enqueued_at: row.timestamp(13)?,
        started_at: row.opt_timestamp(14)?,
        ended_at: row.opt_timestamp(15)?,
        error: row.opt_text(16).unwrap_or_default(),
    })
}

/// A job, if it is kept.
///
/// # Errors
/// Whatever the database reports.
pub fn show(tx: &mut impl Query, id: JobId) -> Result<Option<JobRow>, StoreError> {
    tx.query_opt(FIND, params![id.0], job_row)
}

/// Jobs, the latest first.
///
/// # Errors
/// Whatever the database reports.
pub fn list(tx: &mut impl Query, filter: &Filter) -> Result<Vec<JobRow>, StoreError> {
    let before = filter.before.map_or(i64::MAX, |id| id.0);
    let (state, kind) = (filter.state.map(JobState::as_str), filter.kind.as_deref());
    tx.query(LIST, params![before, state, kind, filter.limit.min(LIST_MAX)], job_row)
}

/// What became of a request to try again or to discard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It waits for a worker, with all its attempts before it; or it is cancelled.
    Done,
    /// It runs, and its handler was asked to stop.
    Asked,
    /// Another job with its unique key waits or runs: this one.
    Duplicate(JobId),
    /// It is in a state in which that has no meaning.
    Not(JobState),
    /// There is no such job.
    Absent,
}

/// Tries a job again that is a dead letter or was cancelled, or at once if it waits for its time.
///
/// # Errors
/// Whatever the database reports.
pub fn retry(tx: &mut WriteTx<'_>, id: JobId) -> Result<Changed, StoreError> {
    const RETRY: &str = "UPDATE jobs SET state = 'pending', run_at = $2, attempt = 0, ended_at = NULL, cancel = 0 \
         WHERE id = $1 AND state = $3";
    const OTHER: &str = "SELECT id FROM jobs WHERE kind = $1 AND unique_key = $2 AND id <> $3 \
         AND state IN ('scheduled', 'pending', 'running')";
    let Some(job) = show(tx, id)? else { return Ok(Changed::Absent) };
    match job.state {
        Some(state @ (JobState::Pending | JobState::Running | JobState::Done)) => {
            return Ok(Changed::Not(state));
        }
        Some(JobState::Scheduled | JobState::Dead | JobState::Cancelled) | None => {}
    }
    if let Some(key) = &job.unique_key {
        let other = tx.query_opt(OTHER, params![&job.kind, key, id.0], |row| row.i64(0).map(JobId))?;
        if let Some(other) = other {
            return Ok(Changed::Duplicate(other));
        }
    }
    let now = tx.database_now()?;
    unless_moved(id, tx.execute(RETRY, params![id.0, now, &job.stored_state])?)?;
    let backlog = std::sync::Arc::clone(tx.backlog());
    tx.after_commit(move || backlog.wake());
    Ok(Changed::Done)
}

/// Discards a job: one that waits or is a dead letter is cancelled, one that runs is asked to stop. Workers of this
/// process ask at once, others within their time between two looks.
///
/// # Errors
/// Whatever the database reports.
pub fn discard(tx: &mut WriteTx<'_>, id: JobId) -> Result<Changed, StoreError> {
    const CANCEL: &str = "UPDATE jobs SET state = 'cancelled', ended_at = $2, cancel = 1 \
         WHERE id = $1 AND state = $3";
    const ASK: &str = "UPDATE jobs SET cancel = 1 WHERE id = $1 AND state = 'running'";
    let Some(job) = show(tx, id)? else { return Ok(Changed::Absent) };
    match job.state {
        Some(state @ (JobState::Done | JobState::Cancelled)) => Ok(Changed::Not(state)),
        Some(JobState::Running) => {
            unless_moved(id, tx.execute(ASK, params![id.0])?)?;
            let backlog = std::sync::Arc::clone(tx.backlog());
            tx.after_commit(move || backlog.wake_for_change());
            Ok(Changed::Asked)
        }
        Some(JobState::Scheduled | JobState::Pending | JobState::Dead) | None => {
            let now = tx.database_now()?;
            unless_moved(id, tx.execute(CANCEL, params![id.0, now, &job.stored_state])?)?;
            Ok(Changed::Done)
        }
    }
}

/// A worker may have come in between.
fn unless_moved(id: JobId, changed: u64) -> Result<(), StoreError> {
    match changed {
        0 => Err(StoreError::Unavailable(format!("job {id} has just changed its state"))),
        _ => Ok(()),
    }
}

/// Jobs of one kind in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The kind.
    pub kind: String,
    /// The state.
    pub state: JobState,
    /// How many.
    pub jobs: u64,
    /// When the first of them was due, or ended if it is dead.
    pub oldest: Option<Timestamp>,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleRow {
    /// The kind of its jobs.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its rule.
    pub rule: String,
    /// The zone of its rule.
    pub zone: String,
    /// What happens to missed periods.
    pub catch_up: String,
    /// When it is due; nothing if it cannot be understood.
    pub next_run: Option<Timestamp>,
    /// The last period that was run.
    pub last_run: Option<Timestamp>,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// The number of pending, running and dead jobs, by kind. Completed jobs are not counted: there may be very many.
pub fn overview(tx: &mut impl Query) -> Result<Vec<Count>, StoreError> {
    // Each part reads the index of its state alone.
    const OVERVIEW: &str = "SELECT kind, 'pending', COUNT(*), MIN(run_at) FROM jobs WHERE state = 'pending' GROUP BY kind \
         UNION ALL SELECT kind, 'scheduled', COUNT(*), MIN(run_at) FROM jobs WHERE state = 'scheduled' GROUP BY kind \
         UNION ALL SELECT kind, 'running', COUNT(*), MIN(started_at) FROM jobs WHERE state = 'running' GROUP BY kind \
         UNION ALL SELECT kind, 'dead', COUNT(*), MIN(ended_at) FROM jobs WHERE state = 'dead' AND ended_at IS NOT NULL \
             GROUP BY kind \
         LIMIT $1";
    tx.query(OVERVIEW, params![COUNTS_MAX], |row| {
        let state = row.str(1)?.parse()?;
        Ok(Count { kind: row.text(0)?, state, jobs: row.u64(2)?, oldest: row.opt_timestamp(3)? })
    })
}

/// The schedules, by kind and name.
///
/// # Errors
/// Whatever the database reports.
pub fn schedules(tx: &mut impl Query) -> Result<Vec<ScheduleRow>, StoreError> {
    const SCHEDULES: &str = "SELECT kind, name, rule, zone, catch_up, next_run, last_run, error FROM job_schedules \
         ORDER BY kind, name LIMIT $1";
    tx.query(SCHEDULES, params![super::schedule::SCHEDULES_MAX], |row| {
        Ok(ScheduleRow {
            kind: row.text(0)?,
            name: row.text(1)?,
            rule: row.text(2)?,
            zone: row.text(3)?,
            catch_up: row.text(4)?,
            next_run: row.opt_timestamp(5)?,
            last_run: row.opt_timestamp(6)?,
            error: row.opt_text(7)?,
        })
    })
}
