//! `relais jobs`, beside a server that runs.

use std::sync::Arc;

use relais_protocol::time::{SharedClock, SystemClock};
use relais_store::jobs::{JobKind, NewJob};
use relais_store::{Store, StoreConfig, StoreError, params};
use serde_json::Value;

use super::Desk;

/// A kind that the server does not know, so that its jobs stay where they are.
const FOREIGN: JobKind = JobKind::new("foreign");

/// Three jobs of that kind, the second a dead letter.
fn given(desk: &Desk) -> [i64; 3] {
    let mut config =
        StoreConfig::new(format!("sqlite:{}", desk.path("data/relais.db").display()).parse().unwrap());
    config.beside_server = true;
    let clock: SharedClock = Arc::new(SystemClock);
    let store = Store::open(&config, &relais::features::migrations(), clock).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ids = runtime.block_on(store.write(|tx| {
        let mut add =
            |payload: &str| Ok::<_, StoreError>(tx.enqueue(&NewJob::new(&FOREIGN, payload))?.id().0);
        let ids = [add("{\"n\":1}")?, add("{\"n\":2}")?, add("{\"n\":3}")?];
        let dead =
            "UPDATE jobs SET state = 'dead', ended_at = enqueued_at, error = 'on purpose' WHERE id = $1";
        tx.execute(dead, params![ids[1]])?;
        Ok::<_, StoreError>(ids)
    }));
    runtime.block_on(store.shutdown());
    ids.unwrap()
}

fn listed(desk: &Desk, options: &[&str]) -> Vec<Value> {
    let run = desk.run(&[&["jobs", "list", "--json", "--kind", "foreign"][..], options].concat());
    run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn jobs_are_listed_shown_tried_again_and_discarded_beside_a_server() {
    let desk = Desk::new();
    let [first, dead, last] = given(&desk);
    let all: Vec<i64> = listed(&desk, &[]).iter().map(|job| job["id"].as_i64().unwrap()).collect();
    assert_eq!(all, [last, dead, first]);
    let found = listed(&desk, &["--state", "dead"]);
    assert_eq!((found.len(), &found[0]["error"]), (1, &Value::from("on purpose")));
    assert!(desk.run(&["jobs", "list", "--state", "dead"]).out.contains("on purpose"));
    let shown = desk.run(&["jobs", "show", &dead.to_string()]).out;
    assert!(shown.contains("payload: {\"n\":2}"), "{shown}");

    let retried = desk.run(&["jobs", "retry", &dead.to_string(), "--json"]);
    assert_eq!(retried.json()["result"], "done");
    assert_eq!(listed(&desk, &["--state", "dead"]).len(), 0);
    assert!(desk.run(&["jobs", "discard", &first.to_string()]).out.contains("is cancelled"));
    assert_eq!(listed(&desk, &["--state", "cancelled"]).len(), 1);
    let again = desk.run(&["jobs", "retry", &last.to_string(), "999999"]);
    assert!(again.err.contains("2 of the jobs stayed as they were"), "{}", again.err);
    assert!(desk.run(&["jobs", "show", "999999"]).err.contains("there is no job 999999"));
}

#[test]
fn every_dead_letter_is_tried_again_at_once() {
    let desk = Desk::new();
    given(&desk);
    given(&desk);
    assert_eq!(listed(&desk, &["--state", "dead"]).len(), 2);
    desk.run(&["jobs", "retry", "--all-dead", "--kind", "foreign"]);
    assert_eq!(
        (listed(&desk, &["--state", "dead"]).len(), listed(&desk, &["--state", "pending"]).len()),
        (0, 6)
    );
}

#[test]
fn the_schedules_of_the_server_are_listed() {
    let desk = Desk::new();
    let schedules = || desk.run(&["jobs", "list", "--schedules"]).out;
    super::eventually("the schedule of trimming", || {
        schedules().contains("log.trim  hourly  every 3600000 ms")
    });
}
