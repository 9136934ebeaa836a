//! Durable jobs: work that is done after a transaction commits, at least once, by whichever process gets to it.
//!
//! A job is a row. [`WriteTx::enqueue`](crate::WriteTx::enqueue) adds it in the caller's own transaction, so that a change
//! and the work that follows from it are stored together or not at all. A [`Worker`] claims jobs in batches, runs the
//! handler of their [`JobKind`] and writes down how each ended.
//!
//! # Leases and fences
//! A claimed job is held under a lease: for a while, by the clock of the database, and with a **fencing token**, a number
//! that grows with every claim in the database. Heartbeats prolong the lease of a job that takes long. Whoever is gone for
//! longer loses the job to the next worker, and the acknowledgement that comes late is refused, because it names a fence
//! that the row no longer has. A lease is lost when another takes it, not when its time is over: what was finished late
//! and given to nobody else counts.
//!
//! So a handler may run more than once, and each run can tell whether it is still the one that counts:
//! [`Lease::check`] in a transaction refuses the writes of a lost lease, and [`Lease::complete`] ends the job in the same
//! transaction as its effect, which then happens exactly once.
//!
//! # Ends
//! [`Outcome`] says how a run ended. A failure is tried again after a pause that grows, with jitter, until the attempts of
//! the job are used up; then it is a **dead letter**, kept until somebody retries or discards it or its retention is over.
//! A handler that panics or goes past its deadline has failed; a row whose kind no worker knows waits and is told by
//! [`inspect::overview`].
//!
//! # Limits
//! Jobs that wait are limited per kind, payloads in bytes ([`JobLimits`]), jobs that run at once per worker and per kind.
//! Kinds take turns, so that a flood of one delays no other by more than what is being worked on; priority orders jobs
//! within their kind.

mod backlog;
mod backoff;
mod enqueue;
mod job;
mod kind;
mod rule;
mod worker;

pub mod inspect;
pub mod lease;
pub mod retention;
pub mod schedule;

use crate::error::StoreError;

pub(crate) use self::backlog::{Backlog, server_now};
pub use self::enqueue::{EnqueueError, Enqueued, EnqueuedBatch};
pub use self::job::{Job, JobId, JobState, NewJob, Outcome};
pub use self::kind::JobKind;
pub use self::lease::Lease;
pub use self::rule::{Rule, RuleError};
pub use self::worker::{Handlers, Worker, WorkerConfig, WorkerStats};

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLimits {
    /// Jobs of one kind that may wait, at once or for their time; beyond it enqueueing is refused. Other processes on the
    /// database count too, but each notices the others only now and then: together they may exceed it by an eighth each.
    pub waiting_max: usize,
    /// The largest payload, in bytes.
    pub payload_bytes_max: usize,
    /// Whether times are those of the PostgreSQL server, on which every node agrees, or those of the store's own clock.
    /// With SQLite, which has no server, it is the store's clock anyway.
    pub server_time: bool,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self { waiting_max: 100_000, payload_bytes_max: 64 * 1024, server_time: true }
    }
}

/// Rows as one parameter of a statement, which takes them apart again.
fn as_json(rows: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|e| StoreError::Internal(format!("rows as JSON: {e}")))
}

/// A text that both databases take, and of bounded length.
fn shortened(text: &str, chars_max: usize) -> String {
    let clean: String =
        text.chars().map(|c| if c == '\0' { '\u{FFFD}' } else { c }).take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() { clean + "…" } else { clean }
}
