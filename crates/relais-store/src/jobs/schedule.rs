//! Work that comes again: a schedule is a row, and a period of it is run once, however many nodes look.

use relais_protocol::time::Timestamp;

use super::enqueue::{EnqueueError, Enqueued};
use super::job::NewJob;
use super::kind::JobKind;
use super::rule::{Rule, Turn};
use crate::error::StoreError;
use crate::params;
use crate::tx::{Query, WriteTx};

pub use super::rule::CatchUp;

/// The most schedules of a database.
pub const SCHEDULES_MAX: usize = 1000;
/// The most characters of a schedule's name.
const NAME_MAX: usize = 200;
/// The most schedules that one look enqueues for.
const FIRED_MAX: usize = 100;

/// A schedule to be kept.
///
/// With [`CatchUp::Once`] and [`CatchUp::Skip`] one job of it is active at a time: a period that comes while the job of
/// an earlier one still waits or runs is left to that one, and counted. With [`CatchUp::All`] each period has its own.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Names it within its kind.
    pub name: String,
    /// The payload of its jobs.
    pub payload: String,
    /// When it is due.
    pub rule: Rule,
    /// What happens to missed periods.
    pub catch_up: CatchUp,
}

/// What firing has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Jobs that were enqueued.
    pub enqueued: u32,
    /// Periods that were left to a job that waits or runs already.
    pub coalesced: u32,
    /// Periods that were not run, because no worker was running or the backlog is full.
    pub missed: u32,
    /// Invalid schedules; they are suspended and report why.
    pub broken: u32,
    /// Whether more may be due.
    pub more: bool,
}

const FIND: &str = "SELECT rule, zone, next_run FROM job_schedules WHERE kind = $1 AND name = $2";
const COUNT: &str = "SELECT COUNT(*) FROM job_schedules";
const PUT: &str = "INSERT INTO job_schedules (kind, name, payload, rule, zone, catch_up, attempts_max, next_run, changed_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (kind, name) DO UPDATE SET payload = excluded.payload, rule = excluded.rule, zone = excluded.zone, \
     catch_up = excluded.catch_up, attempts_max = excluded.attempts_max, next_run = excluded.next_run, \
     changed_at = excluded.changed_at, error = NULL";
const DUE: &str = "SELECT kind, name, payload, rule, zone, catch_up, attempts_max, next_run FROM job_schedules \
     WHERE next_run IS NOT NULL AND next_run <= $1 ORDER BY next_run LIMIT $2";
const ADVANCE: &str = "UPDATE job_schedules SET next_run = $1, last_run = COALESCE($2, last_run), error = $3 \
     WHERE kind = $4 AND name = $5 AND next_run = $6";
const COMPLAIN: &str = "UPDATE job_schedules SET error = $1 WHERE kind = $2 AND name = $3";
const AHEAD: &str = "SELECT kind, name, rule, zone, next_run FROM job_schedules \
     WHERE next_run IS NOT NULL AND next_run > $1 ORDER BY next_run LIMIT $2";

/// Keeps a schedule, as a feature does at every start: one that is there with the same rule goes on, missed periods
/// included; a new or changed rule counts from now.
///
/// # Errors
/// [`StoreError::Refused`] if the name is no name, the rule is never due or there are too many; or whatever the database
/// reports.
pub fn put(tx: &mut WriteTx<'_>, kind: &JobKind, schedule: &Schedule) -> Result<(), StoreError> {
    let Schedule { name, payload, rule, catch_up } = schedule;
    if name.is_empty() || name.chars().count() > NAME_MAX {
        return Err(StoreError::Refused(format!("{name:?} names no schedule: 1 to {NAME_MAX} characters")));
    }
    let now = tx.database_now()?;
    let known = tx.query_opt(FIND, params![kind.name, name], |row| {
        Ok((row.text(0)?, row.text(1)?, row.opt_timestamp(2)?))
    })?;
    let count = tx.query_one(COUNT, params![], |row| row.u64(0))?;
    if known.is_none() && count >= SCHEDULES_MAX as u64 {
        return Err(StoreError::Refused(format!(
            "there are {count} schedules, and there may be {SCHEDULES_MAX}"
        )));
    }
    let same = known.filter(|(text, zone, _)| text == rule.text() && zone == rule.zone());
    let next = same.and_then(|(_, _, next)| next).or_else(|| rule.next_after(now));
    let next =
        next.ok_or_else(|| StoreError::Refused(format!("the schedule {name:?} is never due: {rule}")))?;
    let (catch_up, attempts) = (catch_up.to_string(), kind.attempts_max);
    let row = params![kind.name, name, payload, rule.text(), rule.zone(), &catch_up, attempts, next, now];
    tx.execute(PUT, row)?;
    let backlog = std::sync::Arc::clone(tx.backlog());
    tx.after_commit(move || backlog.wake_for_change());
    Ok(())
}

/// Ends a schedule; jobs that it has enqueued stay. Returns whether there was one.
///
/// # Errors
/// Whatever the database reports.
pub fn remove(tx: &mut WriteTx<'_>, kind: &str, name: &str) -> Result<bool, StoreError> {
    let gone = tx.execute("DELETE FROM job_schedules WHERE kind = $1 AND name = $2", params![kind, name])?;
    Ok(gone > 0)
}

struct Row {
    kind: String,
    name: String,
    payload: String,
    rule: String,
    zone: String,
    catch_up: String,
    attempts_max: u32,
    due: Timestamp,
}

/// Enqueues the jobs of the schedules that are due, and moves each to its next period in the same transaction: whoever
/// looks after that finds it moved.
///
/// # Errors
/// Whatever the database reports.
pub fn fire(tx: &mut WriteTx<'_>) -> Result<Fired, StoreError> {
    let now = tx.database_now()?;
    let due = tx.query(DUE, params![now, FIRED_MAX], |row| {
        Ok(Row {
            kind: row.text(0)?,
            name: row.text(1)?,
            payload: row.text(2)?,
            rule: row.text(3)?,
            zone: row.text(4)?,
            catch_up: row.text(5)?,
            attempts_max: u32::try_from(row.i64(6)?).unwrap_or(1),
            due: row.timestamp(7)?,
        })
    })?;
    let mut fired = Fired { more: due.len() == FIRED_MAX, ..Fired::default() };
    for row in due {
        fire_one(tx, &row, now, &mut fired)?;
    }
    Ok(fired)
}

fn fire_one(tx: &mut WriteTx<'_>, row: &Row, now: Timestamp, fired: &mut Fired) -> Result<(), StoreError> {
    let rule = Rule::parse(&row.rule, &row.zone).map_err(|e| e.to_string());
    let parsed = rule.and_then(|rule| row.catch_up.parse().map(|catch_up| (rule, catch_up)));
    let (turn, problem, each) = match parsed {
        Ok((rule, catch_up)) => {
            let each = matches!(catch_up, CatchUp::All(_));
            (Turn::at(&rule, catch_up, row.due, now), None, each)
        }
        Err(reason) => {
            tracing::error!(
                kind = row.kind,
                schedule = row.name,
                reason,
                "a schedule cannot be understood and rests"
            );
            fired.broken += 1;
            (Turn::default(), Some(reason), false)
        }
    };
    let last = turn.runs.last().copied();
    // First the move: a second worker finds it made, and enqueues nothing.
    let place = (row.kind.as_str(), row.name.as_str(), row.due);
    if advance(tx, place, turn.next, last, problem.as_deref())? == 0 {
        return Ok(());
    }
    fired.missed += turn.missed;
    for period in &turn.runs {
        match tx.enqueue(&row.job(*period, each)) {
            Ok(Enqueued::New(_)) => fired.enqueued += 1,
            Ok(Enqueued::Duplicate(_)) => fired.coalesced += 1,
            Err(EnqueueError::Store(error)) => return Err(error),
            Err(refused) => {
                fired.missed += 1;
                tx.execute(COMPLAIN, params![&refused.to_string(), &row.kind, &row.name])?;
            }
        }
    }
    Ok(())
}

impl Row {
    fn job(&self, period: Timestamp, each: bool) -> NewJob {
        let key = if each { format!("{}@{}", self.name, period.as_millis()) } else { self.name.clone() };
        NewJob {
            kind: self.kind.clone(),
            payload: self.payload.clone(),
            unique_key: Some(key),
            delay_ms: 0,
            run_at: Some(period),
            priority: 0,
            attempts_max: self.attempts_max,
        }
    }
}

/// Moves a schedule, if it is still due at that time; returns how many were moved.
fn advance(
    tx: &mut WriteTx<'_>,
    (kind, name, due): (&str, &str, Timestamp),
    next: Option<Timestamp>,
    last: Option<Timestamp>,
    problem: Option<&str>,
) -> Result<u64, StoreError> {
    tx.execute(ADVANCE, params![next, last, problem, kind, name, due])
}

/// Takes back what a clock that was ahead has done: a schedule is due no later than its rule says from now. Returns how
/// many were moved.
///
/// # Errors
/// Whatever the database reports.
pub fn realign(tx: &mut WriteTx<'_>) -> Result<u64, StoreError> {
    let now = tx.database_now()?;
    let ahead = tx.query(AHEAD, params![now, SCHEDULES_MAX], |row| {
        Ok((row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?, row.timestamp(4)?))
    })?;
    let mut moved = 0;
    for (kind, name, rule, zone, next) in ahead {
        let Ok(rule) = Rule::parse(&rule, &zone) else { continue };
        if let Some(expected) = rule.next_after(now).filter(|expected| *expected < next) {
            moved += advance(tx, (&kind, &name, next), Some(expected), None, None)?;
        }
    }
    Ok(moved)
}
