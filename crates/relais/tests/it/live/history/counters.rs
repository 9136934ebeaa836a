//! What series grew by, and values that come late.

use std::collections::BTreeMap;

use relais::features::live::history::{RangeQuery, Tier};
use relais_protocol::time::Clock as _;
use relais_testkit::TestDb;
use serde_json::{Value, json};

use super::super::on_both_in_time;
use super::{Bench, HOUR, MINUTE, START, kept_for_ever, runtime};
use relais::features::live::Live;

/// A counter that rises by 2 each ten seconds and begins afresh each hour at 1, for `hours`.
pub(super) fn counted(bench: &Bench, module: &str, hours: i64) {
    for step in 0..hours * 360 {
        let value = if step % 360 == 0 { 1.0 } else { 1.0 + (step % 360) as f64 * 2.0 };
        bench.record(module, START + step * 10_000, &[("kwh", value)]);
    }
}

#[test]
fn a_counter_grows_by_the_same_in_every_tier_and_over_its_resets() {
    const HOURS: i64 = 5;
    for db in TestDb::each() {
        let runtime = runtime();
        let bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            counted(&bench, "MC-1", HOURS);
            // 359 rises of 2 in the first hour; in each other one a reset, which is a rise of 1, as well.
            let (first, other) = (718.0, 719.0);
            let total = first + other * (HOURS - 1) as f64;
            let raw = bench.range("MC-1", START, START + HOURS * HOUR, 1800).await;
            bench.pass(10 * MINUTE).await;
            bench.pass((HOURS + 2) * HOUR).await;
            for (points, tier) in [(1800, Tier::Raw), (300, Tier::Minute), (5, Tier::Hour), (1, Tier::Hour)] {
                let chart = bench.range("MC-1", START, START + HOURS * HOUR, points).await;
                let buckets = &chart.series[0].buckets;
                assert_eq!(chart.tier, tier);
                assert_eq!(
                    buckets.iter().map(|bucket| bucket.increase.unwrap()).sum::<f64>(),
                    total,
                    "{tier:?}"
                );
                assert_eq!((buckets[0].first, buckets.last().unwrap().last), (Some(1.0), 719.0));
                if points == 1800 {
                    assert_eq!(chart, raw, "as it was in memory");
                }
            }
            let hours = bench.range("MC-1", START, START + HOURS * HOUR, 5).await;
            let increases: Vec<f64> = hours.series[0].buckets.iter().map(|b| b.increase.unwrap()).collect();
            assert_eq!(increases, [first, other, other, other, other]);
        });
    }
}

#[test]
fn values_that_come_late_are_where_they_were_measured_whatever_was_aggregated_meanwhile() {
    for db in TestDb::each() {
        let runtime = runtime();
        let bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            // The device was away in the second hour, and says later what it measured.
            for minute in (0..60).chain(120..180) {
                bench.record("MC-1", START + minute * MINUTE, &[("kwh", minute as f64)]);
            }
            bench.pass(10 * MINUTE).await;
            bench.pass(5 * HOUR).await;
            for minute in 60..120 {
                bench.record("MC-1", START + minute * MINUTE, &[("kwh", minute as f64)]);
            }
            for moved in [0, 10 * MINUTE, HOUR] {
                bench.pass(moved).await;
                let chart = bench.range("MC-1", START, START + 3 * HOUR, 3).await;
                let told: Vec<(u64, f64, f64)> =
                    chart.series[0].buckets.iter().map(|b| (b.count, b.last, b.increase.unwrap())).collect();
                assert_eq!(chart.tier, Tier::Hour);
                assert_eq!(told, [(60, 59.0, 59.0), (60, 119.0, 60.0), (60, 179.0, 60.0)], "{moved}");
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_says_when_it_measured_what_it_reports_late() {
    on_both_in_time(|world, clock| async move {
        let credential = world.module("MC-1001-STN", None).await;
        let now = clock.now().as_millis();
        let client = reqwest::Client::new();
        let url = format!("http://{}/api/v1/modules/MC-1001-STN/report", world.running.address());
        let say = async |body: Value| {
            let reply = client.post(&url).bearer_auth(&credential).json(&body).send().await.unwrap();
            assert_eq!(reply.status(), 200, "{body}");
        };
        say(json!({ "t": 30, "measured_at": now })).await;
        for second in 1..=11 {
            say(json!({ "t": 30 - second, "measured_at": now - second * 1000 })).await;
        }
        say(json!({ "t": 99, "measured_at": 5 })).await;
        let history = world.running.app().service::<Live>().history();
        let query = RangeQuery { series: vec!["t".into()], from: now - 11_000, to: now + 1, points: 12 };
        let chart = history.range("MC-1001-STN", query).await.unwrap();
        let told: Vec<(i64, f64)> = chart.series[0].buckets.iter().map(|b| (b.t, b.last)).collect();
        let floor = |at: i64| at - at % chart.step_ms;
        let expected: BTreeMap<i64, f64> = (0..=11)
            .rev()
            .map(|s| (floor(now - s * 1000), if s == 0 { 99.0 } else { (30 - s) as f64 }))
            .collect();
        assert_eq!(told, expected.into_iter().collect::<Vec<_>>());
        assert_eq!(history.series("MC-1001-STN").series.len(), 1, "when it was measured is no value");
        let known = world.running.app().service::<Live>().telemetry("MC-1001-STN");
        assert_eq!(Value::from(known), json!({ "t": 99 }), "what is late does not put values back");
    })
    .await;
}
