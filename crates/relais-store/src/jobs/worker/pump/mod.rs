//! The loop of a worker: one task that starts handlers, receives their outcomes, and has one transaction in progress at
//! a time, which batches everything that accumulated meanwhile.

mod answers;
mod endings;

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cycle::{Chores, Cycle, Report};
use super::handlers::{Handlers, Running};
use super::held::{HeldJobs, RunningJob};
use super::rate::Rate;
use super::{WorkerConfig, WorkerStats};
use crate::error::StoreError;
use crate::jobs::backlog::Wake;
use crate::jobs::lease::{self, Claim, Due, Ending};
use crate::jobs::{JobId, Outcome};
use crate::store::Store;

/// How often running jobs are looked at: deadlines, cancellations, leases.
const SWEEP: Duration = Duration::from_millis(250);
/// How often the slower housekeeping is done.
const MINUTE: Duration = Duration::from_secs(60);
/// A handler that outlives its timeout by this much blocks its thread.
const STUCK: Duration = Duration::from_secs(1);
/// The pauses between attempts to reach a database that fails.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a stopping worker keeps trying to record outcomes.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A job that ended: which, under which fence, and how.
type Ended = (JobId, i64, Outcome);

/// What came back from the database.
enum Step {
    Written(Result<Report, StoreError>),
    Looked(Result<Due, StoreError>),
}

type Op = Pin<Box<dyn Future<Output = Step> + Send>>;

/// What is in the transaction under way.
#[derive(Default)]
struct UnderWay {
    endings: Arc<Vec<Ending>>,
    held: Vec<(JobId, i64)>,
    claimed_max: usize,
    chores: Chores,
    since: Option<Instant>,
}

/// A worker at work.
pub(super) struct Pump {
    store: Store,
    handlers: Arc<Handlers>,
    config: WorkerConfig,
    stats: Arc<WorkerStats>,
    stop: CancellationToken,
    chance: fastrand::Rng,
    held: HeldJobs,
    tasks: JoinSet<Ended>,
    endings: Vec<Ending>,
    under_way: UnderWay,
    rate: Rate,
    /// The kind that is asked for first.
    turn: usize,
    seen: Wake,
    /// Whether jobs may wait in the database.
    more: bool,
    chores: Chores,
    look_at: Instant,
    minute_at: Instant,
    beat_at: Instant,
    sweep_at: Instant,
    /// Until when a failing database is left alone, and the pause after that.
    paused_until: Option<Instant>,
    pause: Duration,
    /// Whether the endings may be stored already.
    repeated: bool,
    /// When handlers are asked to stop, and when the worker gives up, once it stops.
    stopping: Option<Instant>,
    warned: bool,
}

impl Pump {
    pub(super) fn new(
        store: Store,
        handlers: Handlers,
        config: WorkerConfig,
        stats: Arc<WorkerStats>,
        stop: CancellationToken,
    ) -> Self {
        let now = store.clock().instant();
        Self {
            chance: fastrand::Rng::with_seed(config.seed),
            held: HeldJobs::new(handlers.list.len()),
            handlers: Arc::new(handlers),
            tasks: JoinSet::new(),
            endings: Vec::new(),
            under_way: UnderWay::default(),
            rate: Rate::new(now),
            turn: 0,
            seen: Wake::default(),
            more: true,
            chores: Chores::ALL,
            look_at: now + config.poll,
            minute_at: now + MINUTE,
            beat_at: now + config.lease / 3,
            sweep_at: now + SWEEP,
            paused_until: None,
            pause: PAUSE_MIN,
            repeated: false,
            stopping: None,
            warned: false,
            store,
            config,
            stats,
            stop,
        }
    }

    pub(super) async fn run(mut self) {
        let mut wakes = self.store.backlog().wakes();
        self.seen = *wakes.borrow_and_update();
        let mut op: Option<Op> = None;
        loop {
            self.start_ready();
            if op.is_none() {
                op = self.next_op();
            }
            if op.is_none() && self.is_finished() {
                break;
            }
            let wait = tokio::time::Instant::from_std(self.next_moment(op.is_some()));
            let stopping = self.stopping.is_some();
            tokio::select! {
                step = poll(&mut op), if op.is_some() => {
                    op = None;
                    self.take(step);
                }
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.ended(ended),
                Ok(()) = wakes.changed() => self.woken(*wakes.borrow_and_update()),
                () = self.stop.cancelled(), if !stopping => self.begin_stop(),
                () = tokio::time::sleep_until(wait) => {}
            }
            while let Some(ended) = self.tasks.try_join_next() {
                self.ended(ended);
            }
            self.sweep();
        }
    }

    fn now(&self) -> Instant {
        self.store.clock().instant()
    }

    fn woken(&mut self, wake: Wake) {
        self.more |= wake.jobs != self.seen.jobs;
        if wake.changes != self.seen.changes {
            self.chores = Chores::ALL;
        }
        self.seen = wake;
    }

    /// Starts claimed jobs in memory, as far as there is room.
    fn start_ready(&mut self) {
        while self.stopping.is_none() && self.held.running() < self.config.concurrency {
            let Some((kind, job)) = self.held.next() else { return };
            let (kind, run) = &self.handlers.list[kind];
            let (id, fence, timeout) = (job.id, job.lease.fence(), kind.timeout);
            let run = Arc::clone(run);
            let abort =
                self.tasks.spawn(async move { (id, fence, guarded(move || run(job), timeout).await) });
            let stuck_at = self.now() + timeout + STUCK;
            self.held.started(id, RunningJob { abort, stuck_at });
        }
    }

    /// What the database is asked next, if anything.
    fn next_op(&mut self) -> Option<Op> {
        let now = self.now();
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let beat = now >= self.beat_at && !self.held.is_empty();
        if beat {
            let waited = now.checked_sub(self.config.lease / 3).unwrap_or(now);
            self.release(waited);
        }
        let look = self.stopping.is_none() && now >= self.look_at;
        let claim = self.claim(now);
        if !self.endings.is_empty() || beat || claim.is_some() || self.chores.any() {
            return Some(self.write(now, beat, look, claim));
        }
        look.then(|| self.look(now))
    }

    fn look(&mut self, now: Instant) -> Op {
        self.look_at = now + self.config.poll;
        let (store, names) = (self.store.clone(), self.handlers.names());
        let process_now = store.process_now();
        Box::pin(
            async move { Step::Looked(store.read(move |tx| lease::look(tx, &names, process_now)).await) },
        )
    }

    fn write(&mut self, now: Instant, beat: bool, look: bool, claim: Option<Claim>) -> Op {
        let mut chores = std::mem::take(&mut self.chores);
        if look {
            self.look_at = now + self.config.poll;
            chores.due = true;
            chores.trim = true;
        }
        let held = if beat { self.held.leases() } else { Vec::new() };
        let endings = Arc::new(std::mem::take(&mut self.endings));
        self.under_way = UnderWay {
            endings: Arc::clone(&endings),
            held: held.clone(),
            claimed_max: claim.as_ref().map_or(0, |claim| claim.limit),
            chores,
            since: Some(now),
        };
        let cycle = Cycle {
            endings,
            repeated: std::mem::take(&mut self.repeated),
            held,
            lease: self.config.lease,
            chores,
            claim,
            handlers: Arc::clone(&self.handlers),
            retention: self.config.retention,
            seed: self.chance.u64(..),
        };
        let store = self.store.clone();
        Box::pin(async move { Step::Written(store.write(move |tx| cycle.run(tx)).await) })
    }

    /// What is asked for, if jobs may wait and there is room.
    fn claim(&mut self, now: Instant) -> Option<Claim> {
        if !self.more || self.stopping.is_some() {
            return None;
        }
        let ahead = self.rate.per_window(now).min(self.config.prefetch_max);
        let limit = self.held.room(self.config.concurrency, ahead);
        let count = self.handlers.list.len();
        let in_turn = (0..count).map(|n| (self.turn + n) % count);
        let wanted = in_turn.map(|place| {
            let kind = self.handlers.list[place].0;
            (kind.name, kind.concurrency.saturating_sub(self.held.active(place)).min(limit))
        });
        let kinds: Vec<(&'static str, usize)> = wanted.filter(|(_, most)| *most > 0).collect();
        if kinds.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % count;
        // What is enqueued from here on is announced again.
        self.more = false;
        Some(Claim { holder: self.config.name.clone(), lease: self.config.lease, kinds, limit })
    }

    /// When to look up again, whatever happens.
    fn next_moment(&self, is_under_way: bool) -> Instant {
        let now = self.now();
        let mut moment = self.minute_at.max(now + SWEEP);
        if self.held.running() > 0 || self.stopping.is_some() {
            moment = moment.min(self.sweep_at);
        }
        if is_under_way {
            return moment;
        }
        if self.stopping.is_none() {
            moment = moment.min(self.look_at);
        }
        if !self.held.is_empty() {
            moment = moment.min(self.beat_at);
        }
        self.paused_until.map_or(moment, |until| moment.max(until))
    }
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

async fn poll(op: &mut Option<Op>) -> Step {
    match op {
        Some(op) => op.await,
        None => std::future::pending().await,
    }
}

/// Runs a handler to its end, its deadline or its panic.
async fn guarded(run: impl FnOnce() -> Running, timeout: Duration) -> Outcome {
    let whole = AssertUnwindSafe(async { run().await }).catch_unwind();
    match tokio::time::timeout(timeout, whole).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Outcome::Failed(format!("panicked: {}", words(&*panic))),
        Err(_) => Outcome::Failed(format!("took longer than {timeout:?}")),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
