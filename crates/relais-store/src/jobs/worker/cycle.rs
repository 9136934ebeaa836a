//! One transaction of a worker: outcomes, heartbeats, housekeeping and a claim share a commit.

use std::sync::Arc;
use std::time::Duration;

use super::handlers::Handlers;
use crate::error::StoreError;
use crate::jobs::backoff::pause_ms;
use crate::jobs::lease::{self, BATCH_MAX, Beat, Claim, Claimed, End, Ending, Expired};
use crate::jobs::retention::{self, Retention};
use crate::jobs::schedule::{self, Fired};
use crate::jobs::{JobId, JobKind};
use crate::params;
use crate::tx::{Query, WriteTx};

/// What of the housekeeping is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chores {
    /// Jobs whose time has come, schedules that are due, leases that are over.
    pub(super) due: bool,
    /// What a clock that went back has left ahead, and rows beyond their number.
    pub(super) minute: bool,
    /// Rows beyond their time.
    pub(super) trim: bool,
}

impl Chores {
    /// Everything.
    pub(super) const ALL: Self = Self { due: true, minute: true, trim: true };

    pub(super) fn any(self) -> bool {
        self.due || self.minute || self.trim
    }
}

/// What is done in one transaction.
pub(super) struct Cycle {
    pub(super) endings: Arc<Vec<Ending>>,
    /// Whether these may have been stored by an attempt whose outcome is unknown.
    pub(super) repeated: bool,
    /// The leases that are prolonged.
    pub(super) held: Vec<(JobId, i64)>,
    pub(super) lease: Duration,
    pub(super) chores: Chores,
    pub(super) claim: Option<Claim>,
    pub(super) handlers: Arc<Handlers>,
    pub(super) retention: Retention,
    pub(super) seed: u64,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Report {
    /// Acknowledgements of lost leases.
    pub(super) refused: Vec<(JobId, i64)>,
    pub(super) beats: Vec<Beat>,
    /// Running jobs whose cancellation was requested.
    pub(super) cancelled: Vec<(JobId, i64)>,
    pub(super) rescued: Vec<Expired>,
    pub(super) fired: Fired,
    pub(super) claimed: Claimed,
    /// Whether some housekeeping has more to do at once.
    pub(super) more_due: bool,
    pub(super) more_to_trim: bool,
}

impl Cycle {
    pub(super) fn run(&self, tx: &mut WriteTx<'_>) -> Result<Report, StoreError> {
        let mut report = Report { refused: lease::finish(tx, &self.endings)?, ..Report::default() };
        if self.repeated {
            self.forgive(tx, &mut report.refused)?;
        }
        report.beats = lease::heartbeat(tx, &self.held, self.lease)?;
        if self.chores.due {
            report.cancelled = lease::cancelled(tx)?;
            self.rescue(tx, &mut report)?;
            let promoted = lease::promote(tx, BATCH_MAX)?;
            report.fired = schedule::fire(tx)?;
            report.more_due |= promoted >= BATCH_MAX as u64 || report.fired.more;
        }
        if let Some(claim) = &self.claim {
            report.claimed = lease::claim(tx, claim)?;
            let dead = |(id, fence, why): &(JobId, i64, String)| Ending {
                id: *id,
                fence: *fence,
                end: End::Dead(format!("the row cannot be read: {why}")),
            };
            let dead: Vec<Ending> = report.claimed.unreadable.iter().map(dead).collect();
            lease::finish(tx, &dead)?;
        }
        if self.chores.minute {
            schedule::realign(tx)?;
            report.more_to_trim |= retention::trim_excess(tx, &self.retention)? > 0;
        }
        if self.chores.trim {
            report.more_to_trim |= retention::trim(tx, &self.retention)? > 0;
        }
        Ok(report)
    }

    /// An ending that was stored before its acknowledgement got lost is no late one.
    fn forgive(&self, tx: &mut WriteTx<'_>, refused: &mut Vec<(JobId, i64)>) -> Result<(), StoreError> {
        const ENDED: &str = "SELECT 1 FROM jobs WHERE id = $1 AND fence = $2 AND state <> 'running'";
        let mut late = Vec::new();
        for (id, fence) in refused.drain(..) {
            if tx.query_opt(ENDED, params![id.0, fence], |_| Ok(()))?.is_none() {
                late.push((id, fence));
            }
        }
        *refused = late;
        Ok(())
    }

    /// Whose holder is gone is tried again after a pause, or is dead if that was its last attempt: a job that takes its
    /// process down does not do so for ever.
    fn rescue(&self, tx: &mut WriteTx<'_>, report: &mut Report) -> Result<(), StoreError> {
        let mut chance = fastrand::Rng::with_seed(self.seed);
        let expired = lease::expired(tx, BATCH_MAX)?;
        let ending = |lost: &Expired| {
            let why =
                format!("the lease ran out: {} stopped or hung during attempt {}", lost.holder, lost.attempt);
            let known = self.handlers.find(&lost.kind).map(|place| self.handlers.list[place].0);
            let kind = known.unwrap_or(JobKind::new("unknown"));
            let end = match lost.attempt >= lost.attempts_max {
                true => End::Dead(why),
                false => End::Retry(pause_ms(&kind, lost.attempt, &mut chance), why),
            };
            Ending { id: lost.id, fence: lost.fence, end }
        };
        let endings: Vec<Ending> = expired.iter().map(ending).collect();
        lease::finish(tx, &endings)?;
        report.more_due |= expired.len() == BATCH_MAX;
        report.rescued = expired;
        Ok(())
    }
}
