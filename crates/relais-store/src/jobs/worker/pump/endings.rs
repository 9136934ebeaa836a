//! How jobs end: by themselves, by being dropped, or because the worker stops.

use std::time::{Duration, Instant};

use tokio::task::JoinError;

use super::{Ended, LAST_WORDS, MINUTE, Pump, SWEEP, count};
use crate::jobs::backoff::{asked_ms, pause_ms};
use crate::jobs::lease::{End, Ending};
use crate::jobs::worker::cycle::Chores;
use crate::jobs::worker::held::Held;
use crate::jobs::{JobId, JobKind, Outcome};

impl Pump {
    /// A handler has ended, or was dropped.
    pub(super) fn ended(&mut self, ended: Result<Ended, JoinError>) {
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
    pub(super) fn made_room(&mut self, gone: &Held) {
        self.more |= self.held.active(gone.kind) + 1 >= self.handlers.list[gone.kind].0.concurrency;
    }

    pub(super) fn end_of(&mut self, kind: &JobKind, held: &Held, outcome: Outcome) -> End {
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

    pub(super) fn end(&mut self, id: JobId, fence: i64, end: End) {
        self.endings.push(Ending { id, fence, end });
    }

    /// Gives back what has waited in memory since before this moment.
    pub(super) fn release(&mut self, before: Instant) {
        for (id, fence) in self.held.give_back(before) {
            self.end(id, fence, End::Release);
        }
    }

    /// Cancels a job: its handler is notified, and dropped if it does not stop.
    pub(super) fn cancel(&mut self, id: JobId, fence: i64) {
        let drop_at = self.now() + self.config.cancel_grace;
        let Some(job) = self.held.get_mut(id).filter(|job| job.lease.fence() == fence) else { return };
        job.cancel = true;
        job.lease.stop().cancel();
        job.drop_at.get_or_insert(drop_at);
        if job.run.is_none() {
            self.drop_job(id, fence, false);
        }
    }

    /// Checks running jobs: those that were asked to stop and did not, those that block a thread, those whose lease may
    /// have expired.
    pub(super) fn sweep(&mut self) {
        let now = self.now();
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

    pub(super) fn drop_job(&mut self, id: JobId, fence: i64, is_stuck: bool) {
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

    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_none() {
            let now = self.now();
            self.stopping = Some(now + self.config.stop_grace);
            self.release(now + self.config.lease);
        }
    }

    /// Handlers of a stopping worker are notified after the grace period, and dropped a little later.
    pub(super) fn sweep_stopping(&mut self, now: Instant) {
        if self.warned || self.stopping.is_none_or(|at| now < at) {
            return;
        }
        self.warned = true;
        let drop_at = now + Duration::from_secs(1).min(self.config.cancel_grace);
        for (_, job) in self.held.iter_mut() {
            job.lease.stop().cancel();
            job.drop_at.get_or_insert(drop_at);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        let Some(stopping) = self.stopping else { return false };
        let given_up = self.now() >= stopping + LAST_WORDS;
        let is_closed = self.paused_until.is_some() && self.store.is_closed();
        (self.held.is_empty() && (self.endings.is_empty() || is_closed)) || given_up
    }
}
