//! Monitoring of the jobs: gauges, and a summary for health checks.

use std::time::Duration;

use parking_lot::Mutex;
use relais_store::jobs::JobState;
use relais_store::jobs::inspect::{self, Count};
use relais_store::{Store, StoreError};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::kinds;

/// How often jobs are counted.
const LOOK: Duration = Duration::from_secs(15);
/// The states that are counted.
const COUNTED: [JobState; 4] = [JobState::Scheduled, JobState::Pending, JobState::Running, JobState::Dead];

/// The jobs in the database, as last counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Jobs waiting for a worker.
    pub pending: u64,
    /// Jobs scheduled for later.
    pub scheduled: u64,
    /// Running jobs.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// Waiting jobs whose kind this server does not know.
    pub unknown: u64,
    /// For how many seconds the oldest job waiting for a worker has been due.
    pub oldest_s: u64,
}

/// The last summary of the jobs.
#[derive(Default)]
pub struct JobsWatch(Mutex<Option<Summary>>);

impl JobsWatch {
    /// The last summary; `None` before the first count.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.0.lock().clone()
    }

    pub(super) async fn run(&self, store: &Store, stop: &CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            if let Err(error) = self.look(store).await {
                tracing::warn!(%error, "the jobs could not be counted; trying again");
            }
        }
    }

    /// Counts now.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn look(&self, store: &Store) -> Result<(), StoreError> {
        let counts = store.read(|tx| inspect::overview(tx)).await?;
        let now_ms = store.clock().now().as_millis();
        let summary = Summary::new(&counts, now_ms);
        show(&counts, &summary);
        *self.0.lock() = Some(summary);
        Ok(())
    }
}

impl Summary {
    fn new(counts: &[Count], now_ms: i64) -> Self {
        let of = |state| counts.iter().filter(|count| count.state == state).map(|count| count.jobs).sum();
        let waits = |count: &&Count| matches!(count.state, JobState::Pending | JobState::Scheduled);
        let unknown = counts.iter().filter(waits).filter(|count| !is_known(&count.kind));
        let pending = counts.iter().filter(|count| count.state == JobState::Pending);
        let oldest = pending.filter_map(|count| count.oldest).min();
        let oldest_ms = oldest.map_or(0, |at| (now_ms - at.as_millis()).max(0));
        Self {
            pending: of(JobState::Pending),
            scheduled: of(JobState::Scheduled),
            running: of(JobState::Running),
            dead: of(JobState::Dead),
            unknown: unknown.map(|count| count.jobs).sum(),
            oldest_s: u64::try_from(oldest_ms / 1000).unwrap_or(0),
        }
    }
}

fn is_known(kind: &str) -> bool {
    kinds().any(|known| known.kind.name == kind)
}

/// Gauges exist for known kinds only, so that the database cannot create them without bound; others are counted
/// together.
fn show(counts: &[Count], summary: &Summary) {
    for kind in kinds().map(|known| known.kind) {
        for state in COUNTED {
            let found = counts.iter().find(|count| count.kind == kind.name && count.state == state);
            let jobs = found.map_or(0, |count| count.jobs);
            metrics::gauge!("relais_jobs", "kind" => kind.name, "state" => state.as_str()).set(jobs as f64);
        }
    }
    metrics::gauge!("relais_jobs_unknown").set(summary.unknown as f64);
    metrics::gauge!("relais_jobs_oldest_seconds").set(summary.oldest_s as f64);
}

#[cfg(test)]
mod tests {
    use relais_protocol::time::Timestamp;

    use super::*;

    #[test]
    fn what_waits_is_told_with_its_age_and_kinds_that_nobody_knows_apart() {
        let count = |kind: &str, state, jobs, at| Count {
            kind: kind.into(),
            state,
            jobs,
            oldest: Some(Timestamp::from_millis(at)),
        };
        let counts = [
            count("log.trim", JobState::Pending, 2, 5_000),
            count("other", JobState::Pending, 3, 9_000),
            count("other", JobState::Running, 4, 1_000),
            count("other", JobState::Dead, 1, 1_000),
        ];
        let expected = Summary { pending: 5, scheduled: 0, running: 4, dead: 1, unknown: 3, oldest_s: 15 };
        assert_eq!(Summary::new(&counts, 20_000), expected);
    }
}
