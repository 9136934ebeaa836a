//! The jobs that a worker holds: those that wait for their turn in memory, and those that run.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tokio::task::AbortHandle;

use crate::jobs::{Job, JobId, Lease};

/// A job that is held.
pub(super) struct Held {
    /// Its kind, as a place among the handlers.
    pub(super) kind: usize,
    pub(super) attempt: u32,
    pub(super) attempts_max: u32,
    pub(super) lease: Lease,
    /// Until when no other worker can claim it, as far as this process knows.
    pub(super) safe_until: Instant,
    /// Nothing while it waits for its turn.
    pub(super) run: Option<RunningJob>,
    /// Whether cancellation was requested.
    pub(super) cancel: bool,
    /// When it is dropped, if it was asked to stop.
    pub(super) drop_at: Option<Instant>,
}

/// What is known of a handler at work.
pub(super) struct RunningJob {
    pub(super) abort: AbortHandle,
    /// When it blocks its thread, or would have been dropped.
    pub(super) stuck_at: Instant,
}

/// All that is held.
pub(super) struct HeldJobs {
    jobs: HashMap<JobId, Held>,
    /// Those that wait, by kind, and since when.
    ready: Vec<VecDeque<(Job, Instant)>>,
    ready_count: usize,
    running: usize,
    /// Held jobs by kind.
    active: Vec<usize>,
    /// The kind whose turn it is.
    turn: usize,
}

impl HeldJobs {
    pub(super) fn new(kinds: usize) -> Self {
        Self {
            jobs: HashMap::new(),
            ready: (0..kinds).map(|_| VecDeque::new()).collect(),
            ready_count: 0,
            running: 0,
            active: vec![0; kinds],
            turn: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How many of a kind are held.
    pub(super) fn active(&self, kind: usize) -> usize {
        self.active[kind]
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Held> {
        self.jobs.get_mut(&id)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&JobId, &mut Held)> {
        self.jobs.iter_mut()
    }

    pub(super) fn leases(&self) -> Vec<(JobId, i64)> {
        self.jobs.iter().map(|(id, held)| (*id, held.lease.fence())).collect()
    }

    /// A job that was claimed waits for its turn.
    pub(super) fn push(&mut self, kind: usize, job: Job, now: Instant, safe_until: Instant) {
        let held = Held {
            kind,
            attempt: job.attempt,
            attempts_max: job.attempts_max,
            lease: job.lease.clone(),
            safe_until,
            run: None,
            cancel: false,
            drop_at: None,
        };
        self.jobs.insert(job.id, held);
        self.active[kind] += 1;
        self.ready[kind].push_back((job, now));
        self.ready_count += 1;
    }

    /// The next job to run: kinds take turns.
    pub(super) fn next(&mut self) -> Option<(usize, Job)> {
        let kinds = self.ready.len();
        let kind = (0..kinds).map(|n| (self.turn + n) % kinds).find(|kind| !self.ready[*kind].is_empty())?;
        let (job, _) = self.ready[kind].pop_front()?;
        self.ready_count -= 1;
        self.turn = (kind + 1) % kinds;
        Some((kind, job))
    }

    pub(super) fn started(&mut self, id: JobId, run: RunningJob) {
        if let Some(held) = self.jobs.get_mut(&id) {
            held.run = Some(run);
            self.running += 1;
        }
    }

    /// Lets go of a job, if it is held under this fence.
    pub(super) fn remove(&mut self, id: JobId, fence: i64) -> Option<Held> {
        if self.jobs.get(&id).is_none_or(|held| held.lease.fence() != fence) {
            return None;
        }
        let held = self.jobs.remove(&id)?;
        self.active[held.kind] -= 1;
        if held.run.is_some() {
            self.running -= 1;
        } else {
            let before = self.ready[held.kind].len();
            self.ready[held.kind].retain(|(job, _)| job.id != id);
            self.ready_count -= before - self.ready[held.kind].len();
        }
        Some(held)
    }

    /// Lets go of those that have waited since before this moment, and returns them.
    pub(super) fn give_back(&mut self, before: Instant) -> Vec<(JobId, i64)> {
        let old = |queue: &VecDeque<(Job, Instant)>| {
            let old = queue.iter().filter(|(_, since)| *since < before);
            old.map(|(job, _)| (job.id, job.lease.fence())).collect::<Vec<_>>()
        };
        let old: Vec<(JobId, i64)> = self.ready.iter().flat_map(old).collect();
        for (id, fence) in &old {
            self.remove(*id, *fence);
        }
        old
    }

    /// How many more may be claimed: what can run at once, and some ahead.
    pub(super) fn room(&self, concurrency: usize, ahead: usize) -> usize {
        (concurrency + ahead).saturating_sub(self.running + self.ready_count)
    }
}
