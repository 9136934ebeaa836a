//! Enqueues jobs and works them off at the same time, and prints how long that took as JSON: the side of Relais in the
//! comparison of `bench/jobs.py`.

#![expect(clippy::disallowed_methods, reason = "what is measured takes real time")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use relais_protocol::time::{SharedClock, SystemClock};
use relais_store::jobs::{Handlers, JobKind, NewJob, Outcome, Worker, WorkerConfig};
use relais_store::{Store, StoreConfig, StoreError};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KIND: JobKind = JobKind::new("bench");

/// Enqueues jobs and works them off.
#[derive(Parser)]
struct Options {
    /// The address of the database.
    #[arg(long)]
    database: String,
    /// Jobs in all.
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// Jobs that run at once.
    #[arg(long, default_value_t = 8)]
    workers: usize,
    /// How they are enqueued.
    #[arg(long, value_enum, default_value_t = Way::Batch)]
    way: Way,
    /// Jobs of a batch, or transactions of one job that are under way at once.
    #[arg(long, default_value_t = 1000)]
    size: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// Many in one transaction.
    Batch,
    /// Each in a transaction of its own.
    Single,
}

#[derive(Default)]
struct Tally {
    run: AtomicUsize,
    all: Notify,
}

fn job(number: usize) -> NewJob {
    NewJob::new(
        &KIND,
        format!("{{\"number\":{number},\"to\":\"somebody@example.com\",\"subject\":\"Facture 2026-0042\"}}"),
    )
}

async fn enqueue_batches(store: &Store, options: &Options) -> Result<(), StoreError> {
    for first in (0..options.jobs).step_by(options.size) {
        let jobs: Vec<NewJob> = (first..(first + options.size).min(options.jobs)).map(job).collect();
        store.write(move |tx| tx.enqueue_all(&jobs).map_err(StoreError::from)).await?;
    }
    Ok(())
}

async fn enqueue_singly(store: &Store, options: &Options) -> Result<(), StoreError> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..options.size {
        let (store, next, jobs) = (store.clone(), Arc::clone(&next), options.jobs);
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return Ok::<_, StoreError>(());
                }
                store.write(move |tx| tx.enqueue(&job(number)).map_err(StoreError::from)).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| StoreError::Panicked)??;
    }
    Ok(())
}

async fn measure(options: &Options) -> Result<serde_json::Value, Box<dyn Error>> {
    let config = StoreConfig::new(options.database.parse()?);
    let clock: SharedClock = Arc::new(SystemClock);
    let store = tokio::task::spawn_blocking(move || Store::open(&config, &[], clock)).await??;
    let tally = Arc::new(Tally::default());
    let jobs = options.jobs;
    let handlers = Handlers::new().with(KIND, &tally, move |tally: &Tally, _| {
        Box::pin(async move {
            if tally.run.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                tally.all.notify_one();
            }
            Outcome::Done
        })
    });
    let mut config = WorkerConfig::new("bench", 1);
    config.concurrency = options.workers;
    let worker = Worker::start(&store, handlers, config);
    let started = Instant::now();
    match options.way {
        Way::Batch => enqueue_batches(&store, options).await?,
        Way::Single => enqueue_singly(&store, options).await?,
    }
    let enqueued = started.elapsed().as_secs_f64();
    tally.all.notified().await;
    // The end counts when it is written down.
    let stats = Arc::clone(worker.stats());
    worker.stop().await;
    let total = started.elapsed().as_secs_f64();
    let run = tally.run.load(Ordering::Relaxed);
    store.shutdown().await;
    if run != jobs || stats.refused() > 0 {
        return Err(format!("{run} runs of {jobs} jobs, {} refused", stats.refused()).into());
    }
    Ok(
        serde_json::json!({ "jobs": jobs, "enqueue_s": enqueued, "total_s": total, "per_s": jobs as f64 / total }),
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let report = measure(&Options::parse()).await?;
    #[expect(clippy::print_stdout, reason = "the figures are what it is for")]
    {
        println!("{report}");
    }
    Ok(())
}
