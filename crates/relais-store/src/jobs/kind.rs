//! What all jobs of one kind have in common.

use std::time::Duration;

/// A kind of job, declared once as a constant and used by those who enqueue it and by those who handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobKind {
    /// Names it in the database: at most [`JobKind::NAME_MAX`] characters.
    pub name: &'static str,
    /// How often a job may be tried in all.
    pub attempts_max: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many may run at once in one process; the worker's own limit holds too.
    pub concurrency: usize,
    /// The pause before the second attempt; it doubles with each further one.
    pub backoff_min: Duration,
    /// The longest pause between two attempts, before jitter adds up to as much again.
    pub backoff_max: Duration,
}

impl JobKind {
    /// The longest name, in characters.
    pub const NAME_MAX: usize = 64;

    /// A kind with the usual patience: 20 attempts over about two days, five minutes for each.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            attempts_max: 20,
            timeout: Duration::from_secs(300),
            concurrency: usize::MAX,
            backoff_min: Duration::from_secs(2),
            backoff_max: Duration::from_secs(6 * 3600),
        }
    }

    /// With as many attempts, at least one.
    #[must_use]
    pub const fn attempts(mut self, attempts_max: u32) -> Self {
        self.attempts_max = if attempts_max == 0 { 1 } else { attempts_max };
        self
    }

    /// With as much time for one attempt.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With as many at once in one process, at least one.
    #[must_use]
    pub const fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = if concurrency == 0 { 1 } else { concurrency };
        self
    }

    /// With pauses between attempts from `min`, doubling, up to `max`.
    #[must_use]
    pub const fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff_min = min;
        self.backoff_max = max;
        self
    }
}
