//! Runs jobs: claims them in batches, hands each to the handler of its kind, and writes down how it ended.

mod cycle;
mod handlers;
mod held;
mod pump;
mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::handlers::Handlers;
use self::pump::Pump;
use super::lease::LEASE_MAX;
use super::retention::Retention;
use crate::store::Store;

/// How a worker works.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Names it where people look for who holds a job: the node and its process.
    pub name: String,
    /// Jobs that run at once.
    pub concurrency: usize,
    /// The most jobs that are claimed ahead of running; as many as have ended in about the last tenth of a second, so that
    /// short jobs need no commit each and long ones are left to others.
    pub prefetch_max: usize,
    /// How long a job is held without a heartbeat, from a second to [`LEASE_MAX`]; heartbeats are sent three times as
    /// often.
    pub lease: Duration,
    /// How often the database is looked at for jobs of other processes, schedules, lost leases and cancellations. What is
    /// enqueued in this process is noticed at once.
    pub poll: Duration,
    /// How long a cancelled handler may take to stop before it is dropped.
    pub cancel_grace: Duration,
    /// How long handlers may go on when the worker stops, before they are cancelled.
    pub stop_grace: Duration,
    /// How long jobs that ended are kept.
    pub retention: Retention,
    /// Where chance begins.
    pub seed: u64,
}

impl WorkerConfig {
    /// The defaults for a worker of this name: eight jobs at once, leases of 30 s, a look every second.
    #[must_use]
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        Self {
            name: name.into(),
            concurrency: 8,
            prefetch_max: 1000,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            cancel_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            retention: Retention::default(),
            seed,
        }
    }

    /// Within what makes sense.
    fn bounded(mut self) -> Self {
        self.concurrency = self.concurrency.clamp(1, 1000);
        self.prefetch_max = self.prefetch_max.min(super::lease::BATCH_MAX);
        self.lease = self.lease.clamp(Duration::from_secs(1), LEASE_MAX);
        self.poll = self.poll.clamp(Duration::from_millis(10), Duration::from_secs(60));
        self
    }
}

/// Counts since the worker started.
#[derive(Debug, Default)]
pub struct WorkerStats {
    claimed: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    rescued: AtomicU64,
    stuck: AtomicU64,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident),*) => {
        impl WorkerStats {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.$name.load(Ordering::Relaxed) })*
        }
    };
}

counts! {
    /// Jobs that were claimed.
    claimed,
    /// Runs that ended well.
    done,
    /// Runs that did not, whatever followed.
    failed,
    /// Acknowledgements that came too late: another had the job.
    refused,
    /// Leases that a heartbeat found lost.
    lost,
    /// Leases of others whose time was over, and whose jobs wait again or are dead.
    rescued,
    /// Handlers that blocked their thread beyond their deadline; they are counted as failed and left behind.
    stuck
}

/// A running worker. Dropping it stops nothing; [`Worker::stop`] does.
pub struct Worker {
    stop: CancellationToken,
    stats: Arc<WorkerStats>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts one on the present runtime, for these kinds of jobs. Several may run on one database, in one process or in
    /// many.
    #[must_use]
    pub fn start(store: &Store, handlers: Handlers, config: WorkerConfig) -> Self {
        let (stop, stats) = (CancellationToken::new(), Arc::new(WorkerStats::default()));
        let pump = Pump::new(store.clone(), handlers, config.bounded(), Arc::clone(&stats), stop.clone());
        #[expect(clippy::disallowed_methods, reason = "the worker holds its task, and waits for its end")]
        let task = tokio::spawn(pump.run());
        Self { stop, stats, task }
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.stats
    }

    /// Stops claiming, returns jobs that have not begun, waits for running ones as long as the configuration allows,
    /// and records their outcomes.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the worker of jobs panicked");
        }
    }
}
