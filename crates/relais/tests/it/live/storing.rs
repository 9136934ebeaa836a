//! What is in the database once somebody was answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relais::features::live::Report;
use serde_json::json;

use super::on_both;
use relais::features::live::Live;

const STATION: &str = "MC-1001-STN";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_until_everything_is_stored_is_answered_under_steady_reports() {
    on_both(|world| async move {
        world.module(STATION, None).await;
        let live = world.running.app().service::<Live>().clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let (reporter, ends) = (live.clone(), Arc::clone(&is_over));
        // A text, so that the history has none of it.
        let reporting = std::thread::spawn(move || {
            for number in 0u64.. {
                let report = json!({ "position": format!("P{number}") });
                reporter.report(STATION, Report::of(report.as_object().unwrap().clone()).unwrap()).unwrap();
                if ends.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for _ in 0..3 {
            let stored = tokio::time::timeout(PATIENCE, live.stored()).await;
            stored.expect("it waits for what came before, not for what comes meanwhile").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| reporting.join()).await.unwrap().unwrap();
    })
    .await;
}
