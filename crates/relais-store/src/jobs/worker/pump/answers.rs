//! What the database answered: what was claimed, which leases go on, which are lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PAUSE_MAX, PAUSE_MIN, Pump, Step, UnderWay, count};
use crate::error::StoreError;
use crate::jobs::JobId;
use crate::jobs::lease::{self, Due, End};
use crate::jobs::worker::cycle::Report;

impl Pump {
    pub(super) fn take(&mut self, step: Step) {
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
            self.stopping = Some(self.now());
        } else {
            tracing::warn!(%error, "the worker of jobs cannot use the database, and tries again");
        }
        self.paused_until = Some(self.now() + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    pub(super) fn not_written(&mut self, error: &StoreError) {
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

    pub(super) fn written(&mut self, report: Report) {
        let UnderWay { held, claimed_max, since, .. } = std::mem::take(&mut self.under_way);
        let now = self.now();
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

    pub(super) fn count_fired(&self, report: &Report) {
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

    pub(super) fn keep(&mut self, claimed: lease::Claimed, now: Instant, safe_until: Instant) {
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
    pub(super) fn heard(&mut self, held: &[(JobId, i64)], report: &Report, safe_until: Instant) {
        let grace = self.now() + self.config.cancel_grace;
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

    pub(super) fn looked(&mut self, due: Due) {
        self.more |= due.work;
        self.chores.due |= due.work;
        for (id, fence) in due.cancelled {
            self.cancel(id, fence);
        }
        if let Some(ms) = due.next_ms {
            let next = self.now() + Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1));
            self.look_at = self.look_at.min(next);
        }
    }
}
