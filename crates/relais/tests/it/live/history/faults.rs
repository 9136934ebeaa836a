//! Clocks that leap, names that die, rows that cannot be read.

use relais::config::HistoryConfig;
use relais::features::live::history::{RangeQuery, SERIES_MAX, Tier};
use relais_protocol::time::Clock as _;
use relais_store::params;
use relais_testkit::TestDb;

use super::counters::counted;
use super::{
    Bench, COUNT_BLOCKS, COUNT_HOURS, COUNT_MINUTES, DAY, HOUR, MINUTE, START, kept_for_ever, runtime,
};

#[test]
fn a_clock_that_leaps_ahead_for_minutes_costs_no_history() {
    for db in TestDb::each() {
        let runtime = runtime();
        let mut bench = Bench::open(db(), HistoryConfig::default(), &runtime);
        runtime.block_on(async {
            counted(&bench, "MC-1", 5);
            bench.pass(10 * MINUTE).await;
            bench.pass(6 * HOUR).await;
            let before = bench.range("MC-1", START, START + 5 * HOUR, 1800).await;
            let rows = (
                bench.rows(COUNT_BLOCKS).await,
                bench.rows(COUNT_MINUTES).await,
                bench.rows(COUNT_HOURS).await,
            );
            bench.clock.leap_ms(3 * 365 * DAY);
            bench.pass(2 * MINUTE).await;
            bench.store.note_date().await.unwrap();
            bench.kill().await;
            bench.pass(2 * HOUR).await;
            bench.clock.leap_ms(-3 * 365 * DAY);
            bench.pass(2 * HOUR).await;
            let after = (
                bench.rows(COUNT_BLOCKS).await,
                bench.rows(COUNT_MINUTES).await,
                bench.rows(COUNT_HOURS).await,
            );
            assert_eq!(after, rows, "each tier");
            let chart = bench.range("MC-1", START, START + 5 * HOUR, 1800).await;
            assert_eq!((chart.tier, &chart.series), (Tier::Raw, &before.series));
            // A clock that has said so for a day is believed.
            bench.clock.leap_ms(3 * 365 * DAY);
            for _ in 0..26 {
                bench.pass(HOUR).await;
            }
            assert_eq!(bench.rows(COUNT_BLOCKS).await, 0);
        });
    }
}

#[test]
fn a_name_that_is_silent_gives_its_place_to_a_new_one_and_what_it_said_stays_readable() {
    for db in TestDb::each() {
        let runtime = runtime();
        let mut bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            let dead: Vec<String> = (0..SERIES_MAX).map(|number| format!("dead{number:02}")).collect();
            let values: Vec<(&str, f64)> = dead.iter().map(|name| (name.as_str(), 7.0)).collect();
            bench.record("MC-1", START, &values);
            bench.record("MC-1", START, &[("new", 1.0)]);
            let list = bench.history.series("MC-1");
            assert_eq!((list.series.len(), list.max, list.without_history), (64, 64, vec!["new".to_owned()]));
            bench.pass(3 * HOUR).await;
            let now = bench.clock.now().as_millis();
            bench.record("MC-1", now, &[("new", 2.0), ("dead63", 8.0)]);
            for _ in 0..2 {
                let list = bench.history.series("MC-1");
                assert_eq!((list.series.len(), list.without_history.len()), (65, 0));
                let ended: Vec<&str> =
                    list.series.iter().filter(|s| s.ended.is_some()).map(|s| s.name.as_str()).collect();
                assert_eq!(ended, ["dead00"], "of those that were silent equally long the first");
                for points in [1000, 2] {
                    let query = RangeQuery {
                        series: ["new", "dead00", "dead63"].map(String::from).to_vec(),
                        from: START,
                        to: now + 1,
                        points,
                    };
                    let chart = bench.history.range("MC-1", query).await.unwrap();
                    let told: Vec<Vec<f64>> =
                        chart.series.iter().map(|s| s.buckets.iter().map(|b| b.last).collect()).collect();
                    assert_eq!(told, [vec![2.0], vec![7.0], vec![7.0, 8.0]], "{points}");
                }
                bench.pass(10 * MINUTE).await;
                bench.kill().await;
                bench.pass(3 * HOUR).await;
            }
        });
    }
}

#[test]
fn a_row_that_cannot_be_read_is_left_out_and_holds_up_nobody() {
    for db in TestDb::each() {
        let runtime = runtime();
        let mut bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            let write = async |bench: &Bench, sql: &'static str| {
                let write = bench.store.write(move |tx| tx.execute(sql, params![&b"\x05nonsense"[..]]));
                assert!(write.await.unwrap() > 0, "{sql}");
            };
            let names = ["MC-1", "MC-2", "MC-3", "MC-4"];
            let say = |bench: &Bench, hour: i64| {
                names.iter().for_each(|name| bench.record(name, START + hour * HOUR, &[("t", hour as f64)]));
            };
            say(&bench, 0);
            bench.history.flush().await.unwrap();
            bench.record("MC-4", START + 1, &[("t", 9.0)]);
            bench.history.flush().await.unwrap();
            // The second entry of the journal: the server starts all the same.
            write(&bench, "UPDATE history_journal SET data = $1 WHERE id = (SELECT MAX(id) FROM history_journal)").await;
            bench.kill().await;
            bench.pass(10 * MINUTE).await;
            write(
                &bench,
                "UPDATE history_blocks SET data = $1 WHERE module = (SELECT id FROM history_modules WHERE module = 'MC-1')",
            )
            .await;
            bench.pass(2 * HOUR).await;
            assert_eq!(bench.rows(COUNT_HOURS).await, 3, "all but the one that cannot be read");
            write(
                &bench,
                "UPDATE history_aggregates SET data = $1 WHERE module = (SELECT id FROM history_modules WHERE module = 'MC-2')",
            )
            .await;
            say(&bench, 1);
            bench.pass(10 * MINUTE).await;
            bench.pass(2 * HOUR).await;
            let told = async |name: &str, points: u32| {
                let chart = bench.range(name, START, START + 2 * HOUR, points).await;
                let buckets = chart.series[0].buckets.iter();
                (chart.unreadable, buckets.map(|bucket| bucket.last).collect::<Vec<_>>())
            };
            assert_eq!(told("MC-1", 2).await, (0, vec![1.0]), "the next hour is aggregated");
            assert_eq!(told("MC-1", 2000).await, (1, vec![1.0]));
            assert_eq!(told("MC-2", 2).await, (1, vec![]), "its row stays as it is");
            assert_eq!(told("MC-2", 2000).await, (0, vec![0.0, 1.0]));
            assert_eq!(told("MC-3", 2).await, (0, vec![0.0, 1.0]));
            assert_eq!(told("MC-4", 2).await, (0, vec![0.0, 1.0]));
            // Names that cannot be read: nothing is kept, and nothing is deleted.
            let write = bench.store.write(|tx| {
                tx.execute("UPDATE history_modules SET series = 'x' WHERE module = 'MC-3'", params![])
            });
            assert_eq!(write.await.unwrap(), 1);
            let blocks = bench.rows(COUNT_BLOCKS).await;
            bench.kill().await;
            say(&bench, 6);
            bench.pass(10 * MINUTE).await;
            assert_eq!(bench.rows(COUNT_BLOCKS).await, blocks + 3);
            assert!(bench.history.series("MC-3").series.is_empty());
        });
    }
}
