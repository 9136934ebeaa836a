//! How long jobs that ended are kept.

use std::time::Duration;

use relais_protocol::time::Timestamp;

use super::job::{JobState, millis};
use crate::error::StoreError;
use crate::params;
use crate::tx::{Query, WriteTx};

/// The most rows that one step deletes.
pub const STEP_MAX: usize = 2000;

/// How long, and how many at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs that are done.
    pub done: Duration,
    /// Dead letters, and what was cancelled.
    pub dead: Duration,
    /// The most that are kept in each of these states; the oldest go first.
    pub rows_max: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { done: Duration::from_secs(86_400), dead: Duration::from_secs(30 * 86_400), rows_max: 200_000 }
    }
}

impl Retention {
    fn of(&self, state: JobState) -> Duration {
        if state == JobState::Done { self.done } else { self.dead }
    }
}

/// The states that end a job.
const ENDS: [JobState; 3] = [JobState::Done, JobState::Dead, JobState::Cancelled];
const TRIM: &str = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs \
     WHERE state = $1 AND ended_at IS NOT NULL AND ended_at <= $2 ORDER BY ended_at, id LIMIT $3) \
     AND state = $1";
const LAST_KEPT: &str = "SELECT ended_at FROM jobs WHERE state = $1 AND ended_at IS NOT NULL \
     ORDER BY ended_at DESC, id DESC LIMIT 1 OFFSET $2";

/// One step: forgets the oldest jobs whose time is over, a bounded number of them. Returns how many; as long as it is not
/// 0 there may be more.
///
/// # Errors
/// Whatever the database reports.
pub fn trim(tx: &mut WriteTx<'_>, retention: &Retention) -> Result<u64, StoreError> {
    // By the earlier of two clocks: what is deleted for its age must be old by both.
    let now = tx.database_now()?.min(tx.retention_now());
    let mut gone = 0;
    for state in ENDS {
        let before = now.plus_millis(-millis(retention.of(state)));
        let left = (STEP_MAX as u64).saturating_sub(gone);
        gone += tx.execute(TRIM, params![state.as_str(), before, left])?;
    }
    Ok(gone)
}

/// As [`trim`], of what is beyond [`Retention::rows_max`]. Looks at as many index entries, so it belongs between longer
/// pauses.
///
/// # Errors
/// Whatever the database reports.
pub fn trim_excess(tx: &mut WriteTx<'_>, retention: &Retention) -> Result<u64, StoreError> {
    let mut gone = 0;
    for state in ENDS {
        let last: Option<Timestamp> =
            tx.query_opt(LAST_KEPT, params![state.as_str(), retention.rows_max], |row| row.timestamp(0))?;
        let Some(last) = last else { continue };
        let left = (STEP_MAX as u64).saturating_sub(gone);
        gone += tx.execute(TRIM, params![state.as_str(), last, left])?;
    }
    Ok(gone)
}
