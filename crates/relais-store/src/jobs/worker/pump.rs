//! The loop of a worker: one task that starts handlers, hears how they ended, and has one transaction under way at a time,
//! in which everything that came up meanwhile goes together.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::cycle::{Chores, Cycle, Report};
use super::handlers::{Handlers, Running};
use super::held::{Held, HeldJobs, RunningJob};
use super::rate::Rate;
use super::{WorkerConfig, WorkerStats};
use crate::error::StoreError;
use crate::jobs::backlog::Wake;
use crate::jobs::backoff::{asked_ms, pause_ms};
use crate::jobs::lease::{self, Claim, Due, End, Ending};
use crate::jobs::{JobId, JobKind, Outcome};
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
/// How long a stopping worker goes on trying to write down how jobs ended.
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
    /// When handlers are told to stop, and when the worker gives up, once it stops.
    stopping: Option<Instant>,
    told: bool,
}

impl Pump {
    pub(super) fn new(
        store: Store,
        handlers: Handlers,
        config: WorkerConfig,
        stats: Arc<WorkerStats>,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
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
            told: false,
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

    fn woken(&mut self, wake: Wake) {
        self.more |= wake.jobs != self.seen.jobs;
        if wake.changes != self.seen.changes {
            self.chores = Chores::ALL;
        }
        self.seen = wake;
    }

    /// Starts what waits in memory, as far as there is room.
    fn start_ready(&mut self) {
        while self.stopping.is_none() && self.held.running() < self.config.concurrency {
            let Some((kind, job)) = self.held.next() else { return };
            let (kind, run) = &self.handlers.list[kind];
            let (id, fence, timeout) = (job.id, job.lease.fence(), kind.timeout);
            let run = Arc::clone(run);
            let abort =
                self.tasks.spawn(async move { (id, fence, guarded(move || run(job), timeout).await) });
            let stuck_at = Instant::now() + timeout + STUCK;
            self.held.started(id, RunningJob { abort, stuck_at });
        }
    }

    /// What the database is asked next, if anything.
    fn next_op(&mut self) -> Option<Op> {
        let now = Instant::now();
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

    fn take(&mut self, step: Step) {
        let failed = match step {
            Step::Written(Ok(report)) => {
                self.written(report);
                None
            }
            Step::Looked(Ok(due)) => {
                self.looked(due);
                None
            }
            Step::Written(Err(error)) => {
                self.not_written(&error);
                Some(error)
            }
            Step::Looked(Err(error)) => Some(error),
        };
        let Some(error) = failed else {
            (self.paused_until, self.pause) = (None, PAUSE_MIN);
            return;
        };
        if error == StoreError::Closed {
            tracing::warn!(
                held = self.held.len(),
                "the store was closed before the worker of jobs was stopped"
            );
            self.stop.cancel();
            self.begin_stop();
            self.stopping = Some(Instant::now());
        } else {
            tracing::warn!(%error, "the worker of jobs cannot use the database, and tries again");
        }
        self.paused_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    fn not_written(&mut self, error: &StoreError) {
        let UnderWay { endings, chores, claimed_max, .. } = std::mem::take(&mut self.under_way);
        self.more |= claimed_max > 0;
        self.repeated = matches!(error, StoreError::CommitUnknown(_));
        let mut all = Arc::unwrap_or_clone(endings);
        all.append(&mut self.endings);
        self.endings = all;
        self.chores.due |= chores.due;
        self.chores.trim |= chores.trim;
        self.chores.minute |= chores.minute;
    }

    fn written(&mut self, report: Report) {
        let UnderWay { held, claimed_max, since, .. } = std::mem::take(&mut self.under_way);
        let now = Instant::now();
        let safe_until = since.unwrap_or(now) + self.config.lease;
        for (id, fence) in &report.refused {
            count(&self.stats.refused, 1);
            metrics::counter!("relais_jobs_late_total").increment(1);
            tracing::warn!(job = id.0, fence, "a late acknowledgement is refused: the lease was lost");
        }
        if !held.is_empty() {
            self.beat_at = now + self.config.lease / 3;
            self.heard(&held, &report, safe_until);
        }
        for (id, fence) in &report.cancelled {
            self.cancel(*id, *fence);
        }
        for lost in &report.rescued {
            count(&self.stats.rescued, 1);
            metrics::counter!("relais_jobs_rescued_total").increment(1);
            let (job, kind, holder) = (lost.id.0, &lost.kind, &lost.holder);
            tracing::warn!(job, kind, holder, attempt = lost.attempt, "a lease ran out");
        }
        self.count_fired(&report);
        self.chores.due |= report.more_due;
        self.chores.trim |= report.more_to_trim;
        let claimed = report.claimed.jobs.len() + report.claimed.unreadable.len();
        self.more |= claimed_max > 0 && claimed >= claimed_max;
        self.more |= report.rescued.len() + report.fired.enqueued as usize > 0 || report.more_due;
        self.keep(report.claimed, now, safe_until);
    }

    fn count_fired(&self, report: &Report) {
        let fired = report.fired;
        for (name, count) in [
            ("relais_job_schedules_enqueued_total", fired.enqueued),
            ("relais_job_schedules_coalesced_total", fired.coalesced),
            ("relais_job_schedules_missed_total", fired.missed),
        ] {
            if count > 0 {
                metrics::counter!(name).increment(count.into());
            }
        }
        if fired.missed > 0 {
            tracing::warn!(periods = fired.missed, "periods of schedules were missed and are not run");
        }
    }

    fn keep(&mut self, claimed: lease::Claimed, now: Instant, safe_until: Instant) {
        for (id, fence, why) in claimed.unreadable {
            tracing::error!(job = id.0, fence, why, "a job cannot be read and is a dead letter");
        }
        count(&self.stats.claimed, claimed.jobs.len() as u64);
        for job in claimed.jobs {
            match self.handlers.find(&job.kind) {
                Some(kind) => self.held.push(kind, job, now, safe_until),
                None => self.end(job.id, job.lease.fence(), End::Release),
            }
        }
        if self.stopping.is_some() {
            self.release(now + self.config.lease);
        }
    }

    /// Leases that a heartbeat has prolonged, and those that it has not: they are lost.
    fn heard(&mut self, held: &[(JobId, i64)], report: &Report, safe_until: Instant) {
        let grace = Instant::now() + self.config.cancel_grace;
        let beats: HashMap<JobId, bool> = report.beats.iter().map(|beat| (beat.id, beat.cancel)).collect();
        for (id, fence) in held {
            if let Some(cancel) = beats.get(id) {
                if let Some(job) = self.held.get_mut(*id) {
                    job.safe_until = safe_until;
                }
                if *cancel {
                    self.cancel(*id, *fence);
                }
                continue;
            }
            let Some(job) = self.held.get_mut(*id).filter(|job| job.lease.fence() == *fence) else {
                continue;
            };
            if job.lease.is_completed() {
                continue;
            }
            job.lease.stop().cancel();
            job.drop_at.get_or_insert(grace);
            count(&self.stats.lost, 1);
            metrics::counter!("relais_jobs_leases_lost_total").increment(1);
            tracing::warn!(job = id.0, fence, "a lease was lost while its job was held");
            if job.run.is_none() {
                self.held.remove(*id, *fence);
            }
        }
    }

    /// Somebody wants a job cancelled: its handler is told, and dropped if it does not stop.
    fn cancel(&mut self, id: JobId, fence: i64) {
        let drop_at = Instant::now() + self.config.cancel_grace;
        let Some(job) = self.held.get_mut(id).filter(|job| job.lease.fence() == fence) else { return };
        job.cancel = true;
        job.lease.stop().cancel();
        job.drop_at.get_or_insert(drop_at);
        if job.run.is_none() {
            self.drop_job(id, fence, false);
        }
    }

    fn looked(&mut self, due: Due) {
        self.more |= due.work;
        self.chores.due |= due.work;
        for (id, fence) in due.cancelled {
            self.cancel(id, fence);
        }
        if let Some(ms) = due.next_ms {
            let next = Instant::now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1));
            self.look_at = self.look_at.min(next);
        }
    }

    /// A handler has ended, or was dropped.
    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        // What was dropped is accounted for where that was decided.
        let Ok((id, fence, outcome)) = ended else { return };
        let Some(held) = self.held.remove(id, fence) else { return };
        self.rate.note(1);
        let kind = self.handlers.list[held.kind].0;
        self.made_room(&held);
        let end = self.end_of(&kind, &held, outcome);
        if !held.lease.is_completed() {
            self.end(id, fence, end);
        }
    }

    /// A kind that was at its limit was asked for no more than that.
    fn made_room(&mut self, gone: &Held) {
        self.more |= self.held.active(gone.kind) + 1 >= self.handlers.list[gone.kind].0.concurrency;
    }

    fn end_of(&mut self, kind: &JobKind, held: &Held, outcome: Outcome) -> End {
        let is_last = held.attempt >= held.attempts_max;
        let (name, end) = match outcome {
            Outcome::Done => ("done", End::Done),
            Outcome::Cancelled if !held.cancel && self.stopping.is_some() => ("released", End::Release),
            Outcome::Cancelled => ("cancelled", End::Cancelled),
            Outcome::Dead(why) => ("dead", End::Dead(why)),
            Outcome::Failed(why) | Outcome::RetryAfter(_, why) if is_last => ("dead", End::Dead(why)),
            Outcome::Failed(why) => {
                ("failed", End::Retry(pause_ms(kind, held.attempt, &mut self.chance), why))
            }
            Outcome::RetryAfter(pause, why) => ("failed", End::Retry(asked_ms(pause, &mut self.chance), why)),
        };
        match &end {
            End::Done => count(&self.stats.done, 1),
            End::Retry(_, why) | End::Dead(why) => {
                count(&self.stats.failed, 1);
                let (attempt, of) = (held.attempt, held.attempts_max);
                tracing::warn!(kind = kind.name, attempt, of, outcome = name, why, "a job failed");
            }
            End::Cancelled | End::Release => {}
        }
        metrics::counter!("relais_jobs_ended_total", "kind" => kind.name, "outcome" => name).increment(1);
        end
    }

    fn end(&mut self, id: JobId, fence: i64, end: End) {
        self.endings.push(Ending { id, fence, end });
    }

    /// Gives back what has waited in memory since before this moment.
    fn release(&mut self, before: Instant) {
        for (id, fence) in self.held.give_back(before) {
            self.end(id, fence, End::Release);
        }
    }

    /// Looks at what runs: who was told to stop and did not, who blocks a thread, whose lease may be over.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP;
        if now >= self.minute_at && self.stopping.is_none() {
            self.minute_at = now + MINUTE;
            self.chores = Chores::ALL;
        }
        let mut dropped = Vec::new();
        for (id, job) in self.held.iter_mut() {
            let Some(run) = &job.run else { continue };
            if now >= job.safe_until && !job.lease.stop().is_cancelled() {
                tracing::warn!(job = id.0, "a lease was not prolonged in time, its job is told to stop");
                job.lease.stop().cancel();
            }
            if job.drop_at.is_some_and(|at| now >= at) {
                dropped.push((*id, job.lease.fence(), false));
            } else if now >= run.stuck_at {
                dropped.push((*id, job.lease.fence(), true));
            }
        }
        for (id, fence, is_stuck) in dropped {
            self.drop_job(id, fence, is_stuck);
        }
        self.sweep_stopping(now);
    }

    fn drop_job(&mut self, id: JobId, fence: i64, is_stuck: bool) {
        let Some(held) = self.held.remove(id, fence) else { return };
        if let Some(run) = &held.run {
            run.abort.abort();
        }
        self.made_room(&held);
        let kind = self.handlers.list[held.kind].0;
        let outcome = match is_stuck {
            true => {
                count(&self.stats.stuck, 1);
                metrics::counter!("relais_jobs_stuck_total", "kind" => kind.name).increment(1);
                Outcome::Failed(format!("took longer than {:?} and blocks its thread", kind.timeout))
            }
            false => Outcome::Cancelled,
        };
        let end = self.end_of(&kind, &held, outcome);
        if !held.lease.is_completed() {
            self.end(id, fence, end);
        }
    }

    fn begin_stop(&mut self) {
        if self.stopping.is_none() {
            let now = Instant::now();
            self.stopping = Some(now + self.config.stop_grace);
            self.release(now + self.config.lease);
        }
    }

    /// Handlers of a worker that stops are told so after the grace, and dropped a little later.
    fn sweep_stopping(&mut self, now: Instant) {
        if self.told || self.stopping.is_none_or(|at| now < at) {
            return;
        }
        self.told = true;
        let drop_at = now + Duration::from_secs(1).min(self.config.cancel_grace);
        for (_, job) in self.held.iter_mut() {
            job.lease.stop().cancel();
            job.drop_at.get_or_insert(drop_at);
        }
    }

    fn is_finished(&self) -> bool {
        let Some(stopping) = self.stopping else { return false };
        let given_up = Instant::now() >= stopping + LAST_WORDS;
        let is_closed = self.paused_until.is_some() && self.store.is_closed();
        (self.held.is_empty() && (self.endings.is_empty() || is_closed)) || given_up
    }

    /// When to look up again, whatever happens.
    fn next_moment(&self, is_under_way: bool) -> Instant {
        let now = Instant::now();
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
