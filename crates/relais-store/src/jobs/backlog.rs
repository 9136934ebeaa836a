//! One process's view of pending jobs: whether there is room for more, and wake-ups of the workers.

use std::collections::HashMap;

use parking_lot::Mutex;
use relais_protocol::time::{SharedClock, Timestamp};
use tokio::sync::watch;

use super::JobLimits;
use super::enqueue::EnqueueError;
use crate::error::StoreError;
use crate::params;
use crate::tx::Query;

/// For how long a kind that was found full is taken to be so without counting again.
const FULL_MS: i64 = 100;
/// A count is good for this part of the limit; then it is made anew.
const COUNT_SHARE: usize = 8;

const COUNT_WAITING: &str = "SELECT \
     (SELECT COUNT(*) FROM (SELECT 1 AS one FROM jobs WHERE kind = $1 AND state = 'pending' LIMIT $2) AS pending) + \
     (SELECT COUNT(*) FROM (SELECT 1 AS one FROM jobs WHERE kind = $1 AND state = 'scheduled' LIMIT $2) AS scheduled)";

/// The jobs that wait, as one process knows of them.
pub(crate) struct Backlog {
    pub(crate) limits: JobLimits,
    clock: SharedClock,
    rooms: Mutex<HashMap<String, Room>>,
    wakes: watch::Sender<Wake>,
}

/// Counts of reasons to look: who has seen other numbers has something to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wake {
    /// Jobs wait.
    pub(crate) jobs: u64,
    /// Changes of runnable jobs and of schedules.
    pub(crate) changes: u64,
}

/// How many more jobs of a kind are taken without counting.
#[derive(Clone, Copy, Default)]
struct Room {
    left: usize,
    /// When it was last found full, in steady time.
    full_at: Option<Timestamp>,
}

impl Backlog {
    pub(crate) fn new(limits: JobLimits, clock: SharedClock) -> Self {
        Self { limits, clock, rooms: Mutex::default(), wakes: watch::Sender::new(Wake::default()) }
    }

    /// Notifies the workers of this process of pending jobs.
    pub(crate) fn wake(&self) {
        self.wakes.send_modify(|wake| wake.jobs = wake.jobs.wrapping_add(1));
    }

    /// Notifies the workers of this process that a runnable job, or a schedule, was changed.
    pub(crate) fn wake_for_change(&self) {
        self.wakes.send_modify(|wake| wake.changes = wake.changes.wrapping_add(1));
    }

    /// Changes whenever there may be something to do.
    pub(crate) fn wakes(&self) -> watch::Receiver<Wake> {
        self.wakes.subscribe()
    }

    /// Reserves room for `count` more of the kind, or reports that there is none. A rollback loses that room until the
    /// next count.
    pub(super) fn take(&self, tx: &mut impl Query, kind: &str, count: usize) -> Result<(), EnqueueError> {
        let (limit, now) = (self.limits.waiting_max, self.clock.steady());
        let full = || EnqueueError::Backlog { kind: kind.to_owned(), limit };
        let known = self.rooms.lock().get(kind).copied().unwrap_or_default();
        if count <= known.left {
            self.keep(kind, Room { left: known.left - count, ..known });
            return Ok(());
        }
        if known.full_at.is_some_and(|at| (0..FULL_MS).contains(&(now.as_millis() - at.as_millis()))) {
            return Err(full());
        }
        let waiting =
            tx.query_one(COUNT_WAITING, params![kind, limit.saturating_add(1)], |row| row.u64(0))?;
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        let left = limit.saturating_sub(waiting).min(count.max(limit.div_ceil(COUNT_SHARE)));
        if count <= left {
            self.keep(kind, Room { left: left - count, full_at: None });
            return Ok(());
        }
        self.keep(kind, Room { left, full_at: Some(now) });
        metrics::counter!("relais_jobs_refused_total", "kind" => kind.to_owned()).increment(count as u64);
        Err(full())
    }

    fn keep(&self, kind: &str, room: Room) {
        let mut rooms = self.rooms.lock();
        match rooms.get_mut(kind) {
            Some(known) => *known = room,
            None => drop(rooms.insert(kind.to_owned(), room)),
        }
    }
}

/// The time that leases and delays go by.
pub(crate) fn server_now(tx: &mut impl Query) -> Result<Timestamp, StoreError> {
    const NOW: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    tx.query_one(NOW, params![], |row| row.timestamp(0))
}
