//! Durable jobs of this server: which kinds there are, the worker that runs them, and how they are watched. One file per
//! kind.

mod trim_log;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use relais_store::jobs::schedule::{self, Schedule};
use relais_store::jobs::{Handlers, JobKind, Outcome, Worker, WorkerConfig};
use relais_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::App;

pub use self::watch::{JobsWatch, Summary};

/// Every kind that this server runs.
pub const KINDS: &[JobKind] = &[trim_log::KIND];

/// How often schedules that could not be stored are tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs jobs until it is told to stop; then gives back what has not begun and waits for what runs.
pub async fn work(app: App, stop: CancellationToken) {
    // At the start as well: whoever comes back finds the log as the settings want it, however short the server runs.
    if let Outcome::Failed(error) = trim_log::run(&app).await {
        tracing::warn!(error, "trying again within the hour");
    }
    while let Err(error) = keep_schedules(app.store()).await {
        tracing::warn!(%error, "the schedules of jobs could not be stored; trying again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    let worker = Worker::start(app.store(), handlers(&app), config(&app));
    stop.cancelled().await;
    worker.stop().await;
}

/// Looks at the jobs now and then, until it is told to stop.
pub async fn watch(app: App, stop: CancellationToken) {
    app.jobs().run(app.store(), &stop).await;
}

fn handlers(app: &App) -> Handlers {
    let app = Arc::new(app.clone());
    Handlers::new().with(trim_log::KIND, &app, |app: &App, _| Box::pin(trim_log::run(app)))
}

fn config(app: &App) -> WorkerConfig {
    let settings = &app.config().jobs;
    let name = format!("{}:{}", host(), std::process::id());
    // Chance spreads retries; nothing hangs on it.
    let mut config = WorkerConfig::new(name, getrandom::u64().unwrap_or_default());
    config.concurrency = settings.concurrency;
    config.lease = Duration::from_secs(u64::from(settings.lease_s));
    config.retention = settings.retention();
    config
}

fn host() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The schedules of this server; those that are there go on.
fn schedules() -> Vec<(JobKind, Schedule)> {
    [trim_log::schedule()].into_iter().flatten().map(|schedule| (trim_log::KIND, schedule)).collect()
}

async fn keep_schedules(store: &Store) -> Result<(), StoreError> {
    store
        .write(|tx| schedules().iter().try_for_each(|(kind, schedule)| schedule::put(tx, kind, schedule)))
        .await
}
