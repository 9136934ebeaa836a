//! Trims old events from the log, once an hour on one server.

use std::time::Duration;

use relais_store::jobs::{JobKind, Outcome};

use crate::App;
use crate::declared::declared;
use crate::feature::{JobHandler, hourly};

/// The number of events kept regardless of their age.
const EVENTS_KEPT_MIN: u64 = 1000;
const HOUR: Duration = Duration::from_secs(3600);

/// A failure is retried within the hour; after that the next run is due anyway.
pub(super) static HANDLER: JobHandler = JobHandler {
    kind: JobKind::new("log.trim")
        .attempts(5)
        .timeout(HOUR)
        .concurrency(1)
        .backoff(Duration::from_secs(30), Duration::from_secs(600)),
    schedule: hourly,
    run: |app, _| Box::pin(run(app)),
};

pub(super) async fn run(app: &App) -> Outcome {
    let kept_ms = i64::from(app.config().database.events_days) * 86_400_000;
    let before = app.store().retention_now().plus_millis(-kept_ms);
    match app.store().trim_events(before, EVENTS_KEPT_MIN).await {
        Ok(0) => {}
        Ok(gone) => tracing::info!(gone, "old events were forgotten"),
        Err(error) => return Outcome::Failed(format!("old events could not be forgotten: {error}")),
    }
    for feature in declared() {
        if let Err(error) = (feature.trimmed)(app).await {
            let what = "what belongs to old events could not be forgotten";
            return Outcome::Failed(format!("{}: {what}: {error}", feature.name));
        }
    }
    Outcome::Done
}
