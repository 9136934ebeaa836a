//! Settings of durable jobs.

use std::time::Duration;

use relais_store::jobs::JobLimits;
use relais_store::jobs::lease::LEASE_MAX;
use relais_store::jobs::retention::Retention;
use serde::{Deserialize, Serialize};

/// Durable work that runs outside requests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Maximum number of jobs that run concurrently.
    pub concurrency: usize,
    /// Maximum number of pending jobs of one kind.
    pub waiting_max: usize,
    /// Maximum bytes of a job's payload.
    pub payload_bytes_max: usize,
    /// Lease of a job, in seconds: when its server is gone for this long, another takes over the job.
    pub lease_s: u32,
    /// Hours for which completed jobs are kept.
    pub done_hours: u32,
    /// Days for which dead letters and cancelled jobs are kept.
    pub dead_days: u32,
    /// Maximum number of jobs kept in each of these states.
    pub kept_max: usize,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            concurrency: 8,
            waiting_max: 100_000,
            payload_bytes_max: 64 * 1024,
            lease_s: 30,
            done_hours: 24,
            dead_days: 30,
            kept_max: 200_000,
        }
    }
}

impl JobsConfig {
    /// Invalid settings.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let lease_max = LEASE_MAX.as_secs();
        let mut found = Vec::new();
        if !(1..=1000).contains(&self.concurrency) {
            found.push(format!("jobs.concurrency: {} is not between 1 and 1000", self.concurrency));
        }
        if !(1..=10_000_000).contains(&self.waiting_max) {
            found.push(format!("jobs.waiting_max: {} is not between 1 and 10000000", self.waiting_max));
        }
        if !(1024..=16 * 1024 * 1024).contains(&self.payload_bytes_max) {
            let bytes = self.payload_bytes_max;
            found.push(format!("jobs.payload_bytes_max: {bytes} is not between 1024 and 16777216"));
        }
        if !(5..=lease_max).contains(&u64::from(self.lease_s)) {
            found.push(format!("jobs.lease_s: {} is not between 5 and {lease_max}", self.lease_s));
        }
        if self.kept_max > 10_000_000 {
            found.push(format!("jobs.kept_max: {} is more than 10000000", self.kept_max));
        }
        found
    }

    /// The limits on pending jobs, for the store.
    #[must_use]
    pub fn limits(&self) -> JobLimits {
        JobLimits {
            waiting_max: self.waiting_max,
            payload_bytes_max: self.payload_bytes_max,
            ..JobLimits::default()
        }
    }

    /// How long finished jobs are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention {
            done: Duration::from_secs(u64::from(self.done_hours) * 3600),
            dead: Duration::from_secs(u64::from(self.dead_days) * 86_400),
            rows_max: self.kept_max,
        }
    }
}
