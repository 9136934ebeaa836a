//! Durable jobs of this server: the worker that runs them, their monitoring, and the kinds that belong to no feature,
//! one per file.

mod trim_log;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use relais_store::jobs::schedule;
use relais_store::jobs::{Handlers, Outcome, Worker, WorkerConfig};
use relais_store::{Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::App;
use crate::declared::declared;
use crate::feature::JobHandler;

pub use self::watch::{JobsWatch, Summary};

/// Every kind that this server runs.
pub(crate) fn kinds() -> impl Iterator<Item = &'static JobHandler> {
    [&trim_log::HANDLER].into_iter().chain(declared().flat_map(|feature| feature.jobs))
}

/// How often schedules that could not be stored are retried.
const AGAIN: Duration = Duration::from_secs(5);

/// Runs jobs until `stop`; then releases those that have not started and waits for the running ones.
pub async fn work(app: App, stop: CancellationToken) {
    // At start as well, so that the log is trimmed as configured, however short the server runs.
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

/// Monitors the jobs periodically, until `stop`.
pub async fn watch(app: App, stop: CancellationToken) {
    app.service::<JobsWatch>().run(app.store(), &stop).await;
}

fn handlers(app: &App) -> Handlers {
    let app = Arc::new(app.clone());
    kinds().fold(Handlers::new(), |handlers, known| handlers.with(known.kind, &app, known.run))
}

fn config(app: &App) -> WorkerConfig {
    let settings = &app.config().jobs;
    let name = format!("{}:{}", host(), std::process::id());
    // The randomness only spreads retries; nothing depends on its quality.
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

/// Stores the schedules of this server; existing ones continue.
async fn keep_schedules(store: &Store) -> Result<(), StoreError> {
    let put = |tx: &mut WriteTx<'_>| {
        let scheduled = kinds().filter_map(|known| Some((known.kind, (known.schedule)()?)));
        scheduled.into_iter().try_for_each(|(kind, schedule)| schedule::put(tx, &kind, &schedule))
    };
    store.write(put).await
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_features_have_a_kind_of_the_same_name() {
        let mut names = HashSet::new();
        assert!(kinds().all(|known| names.insert(known.kind.name)));
    }
}
