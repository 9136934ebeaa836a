//! History: whatever is flushed, compacted, aggregated or interrupted, a chart shows what came.

mod counters;
mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use relais::config::HistoryConfig;
use relais::features;
use relais::features::live::Report;
use relais::features::live::history::{History, Range, RangeQuery, SERIES_MAX, TRIM, Tier, disown};
use relais_protocol::time::{Clock, Timestamp};
use relais_store::jobs::NewJob;
use relais_store::{Query, Store, StoreConfig, StoreError, params};
use relais_testkit::{TestClock, TestDb};
use reqwest::Method;
use serde_json::{Value, json};

use super::on_both;
use crate::world::until;
use relais::features::live::Live;

const START: i64 = 1_800_000_000_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A history with its database and its clock.
struct Bench {
    db: TestDb,
    clock: Arc<TestClock>,
    config: HistoryConfig,
    store: Store,
    history: History,
}

impl Bench {
    fn open(db: TestDb, config: HistoryConfig, runtime: &tokio::runtime::Runtime) -> Self {
        let clock = TestClock::at(START);
        let (store, history) = runtime.block_on(start(&db, &clock, &config));
        Self { db, clock, config, store, history }
    }

    /// What was not flushed is lost, as by `kill -9`.
    async fn kill(&mut self) {
        self.store.shutdown().await;
        (self.store, self.history) = start(&self.db, &self.clock, &self.config).await;
    }

    fn record(&self, module: &str, at: i64, values: &[(&str, f64)]) {
        self.history.record(module, Timestamp::from_millis(at), values.iter().copied());
    }

    /// An hour passes and everything is moved on.
    async fn pass(&self, ms: i64) {
        self.history.flush().await.unwrap();
        self.clock.advance_ms(ms);
        self.history.keep().await.unwrap();
        self.history.trim().await.unwrap();
    }

    async fn range(&self, module: &str, from: i64, to: i64, points: u32) -> Range {
        self.history.range(module, RangeQuery { series: vec![], from, to, points }).await.unwrap()
    }

    async fn rows(&self, sql: &'static str) -> i64 {
        self.store.read(move |tx| tx.query_one(sql, params![], |row| row.i64(0))).await.unwrap()
    }
}

async fn start(db: &TestDb, clock: &Arc<TestClock>, config: &HistoryConfig) -> (Store, History) {
    let (store_config, opened_clock) = (StoreConfig::new(db.url()), Arc::clone(clock));
    let open = move || Store::open(&store_config, &features::migrations(), opened_clock).unwrap();
    let store = tokio::task::spawn_blocking(open).await.unwrap();
    let history = History::open(store.clone(), Arc::<TestClock>::clone(clock), config.clone()).await.unwrap();
    (store, history)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn kept_for_ever() -> HistoryConfig {
    HistoryConfig { raw_hours: 800_000, minute_days: 36_000, hour_days: 36_500, ..HistoryConfig::default() }
}

const COUNT_BLOCKS: &str = "SELECT COUNT(*) FROM history_blocks";
const COUNT_JOURNAL: &str = "SELECT COUNT(*) FROM history_journal";
const COUNT_MINUTES: &str = "SELECT COUNT(*) FROM history_aggregates WHERE width = 60000";
const COUNT_HOURS: &str = "SELECT COUNT(*) FROM history_aggregates WHERE width = 3600000";

#[derive(Clone, Debug)]
enum Step {
    /// A module says some series, at a time that may be off.
    Record {
        module: usize,
        mask: u8,
        off_ms: i64,
        value: f64,
    },
    Flush,
    Pass(i64),
    Kill,
    Forget(usize),
    Look {
        module: usize,
        ago_ms: i64,
        span_ms: i64,
        points: u32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let off =
        prop_oneof![6 => Just(0), 2 => -5000i64..5000, 1 => -3 * HOUR..0, 1 => -2 * DAY..0, 1 => 0..HOUR];
    let value = prop_oneof![(-1000i64..1000).prop_map(|tenths| tenths as f64 / 10.0), -1e9..1e9];
    let look = (0usize..3, 0..4 * DAY, prop_oneof![1i64..HOUR, HOUR..3 * DAY], 1u32..300);
    let step = prop_oneof![
        12 => (0usize..3, any::<u8>(), off, value)
            .prop_map(|(module, mask, off_ms, value)| Step::Record { module, mask, off_ms, value }),
        4 => Just(Step::Flush),
        4 => prop_oneof![1i64..20_000, MINUTE..10 * MINUTE, HOUR..5 * HOUR].prop_map(Step::Pass),
        1 => Just(Step::Kill),
        1 => (0usize..3).prop_map(Step::Forget),
        5 => look.prop_map(|(module, ago_ms, span_ms, points)| Step::Look { module, ago_ms, span_ms, points }),
    ];
    proptest::collection::vec(step, 20..80)
}

/// The reference: every point in a list, in the order in which they came.
#[derive(Default)]
struct Model {
    points: Vec<(usize, u8, i64, f64)>,
    flushed: usize,
}

impl Model {
    /// Checks a chart against the list: count, min, max, mean, last of each bucket.
    fn check(&self, module: usize, query: (i64, i64, u32), chart: &Range) -> Result<(), TestCaseError> {
        let (from, to, points) = query;
        prop_assert!(chart.from <= from && to <= chart.to && chart.from % chart.step_ms == 0);
        prop_assert!((chart.to - chart.from) / chart.step_ms <= i64::from(points), "{:?} {:?}", query, chart);
        let mut expected = BTreeMap::<(u8, i64), Vec<(i64, f64)>>::new();
        for (of, series, at, value) in &self.points {
            if *of == module && (chart.from..chart.to).contains(at) {
                let bucket = at.div_euclid(chart.step_ms) * chart.step_ms;
                expected.entry((*series, bucket)).or_default().push((*at, *value));
            }
        }
        let mut seen = 0;
        for series in &chart.series {
            let number: u8 = series.name[1..].parse().unwrap();
            let mut before = None;
            for bucket in &series.buckets {
                let values = expected.get(&(number, bucket.t)).cloned().unwrap_or_default();
                prop_assert_eq!(bucket.count, values.len() as u64, "{} {:?}", series.name, bucket);
                let fold = |pick: fn(f64, f64) -> f64| values.iter().map(|(_, v)| *v).reduce(pick).unwrap();
                prop_assert_eq!((bucket.min, bucket.max), (fold(f64::min), fold(f64::max)));
                prop_assert_eq!(bucket.last, values.iter().max_by_key(|(at, _)| *at).unwrap().1);
                prop_assert_eq!(bucket.first, Some(values.iter().min_by_key(|(at, _)| *at).unwrap().1));
                if chart.tier == Tier::Raw {
                    let mut in_time = values.clone();
                    in_time.sort_by_key(|(at, _)| *at);
                    let rises = in_time.iter().filter_map(|(_, value)| {
                        let from = before.replace(*value)?;
                        Some(if *value >= from { *value - from } else { value.max(0.0) })
                    });
                    let (rises, size) = rises.fold((0.0, 1.0), |(sum, size), rise| (sum + rise, size + rise));
                    prop_assert!(
                        (bucket.increase.unwrap() - rises).abs() <= size * 1e-9,
                        "{bucket:?} {rises}"
                    );
                }
                let sum: f64 = values.iter().map(|(_, v)| v).sum();
                let size: f64 = values.iter().map(|(_, v)| v.abs()).sum();
                prop_assert!((bucket.avg * bucket.count as f64 - sum).abs() <= size * 1e-9);
                seen += 1;
            }
        }
        prop_assert_eq!(seen, expected.len());
        Ok(())
    }
}

async fn play(bench: &mut Bench, names: &[String], steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Record { module, mask, off_ms, value } => {
                let at = bench.clock.now().as_millis() + off_ms;
                let numbers: Vec<u8> = (0..8).filter(|series| mask & 1 << series != 0).collect();
                let series: Vec<String> = numbers.iter().map(|number| format!("s{number}")).collect();
                let values: Vec<(&str, f64)> =
                    series.iter().enumerate().map(|(n, name)| (name.as_str(), value + n as f64)).collect();
                bench.record(&names[module], at, &values);
                let points =
                    numbers.iter().zip(&values).map(|(number, (_, value))| (module, *number, at, *value));
                model.points.extend(points);
            }
            Step::Flush => {
                bench.history.flush().await.unwrap();
                model.flushed = model.points.len();
            }
            Step::Pass(ms) => {
                bench.pass(ms).await;
                model.flushed = model.points.len();
            }
            Step::Kill => {
                bench.kill().await;
                model.points.truncate(model.flushed);
            }
            Step::Forget(module) => {
                let name = names[module].clone();
                bench.store.write(move |tx| disown(tx, &name)).await.unwrap();
                bench.history.forget(&names[module]);
                let flushed = model.points[..model.flushed].iter().filter(|point| point.0 != module).count();
                model.points.retain(|point| point.0 != module);
                model.flushed = flushed;
            }
            Step::Look { module, ago_ms, span_ms, points } => {
                let from = bench.clock.now().as_millis() - ago_ms;
                let chart = bench.range(&names[module], from, from + span_ms, points).await;
                model.check(module, (from, from + span_ms, points), &chart)?;
            }
        }
    }
    for (module, name) in names.iter().enumerate() {
        let now = bench.clock.now().as_millis();
        for (span, points) in [(HOUR, 500), (2 * DAY, 2000), (30 * DAY, 500)] {
            let chart = bench.range(name, now - span, now + HOUR, points).await;
            model.check(module, (now - span, now + HOUR, points), &chart)?;
        }
    }
    Ok(())
}

fn a_chart_is_what_a_list_of_all_points_says(db: TestDb) {
    let runtime = runtime();
    let bench = std::cell::RefCell::new(Bench::open(db, kept_for_ever(), &runtime));
    let case = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Cases {
        cases: 40,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Cases::default()
    });
    let result = runner.run(&steps(), |steps| {
        case.set(case.get() + 1);
        let names: Vec<String> = (0..3).map(|number| format!("MC-{}-{number}", case.get())).collect();
        runtime.block_on(play(&mut bench.borrow_mut(), &names, steps))
    });
    result.unwrap();
}

#[test]
fn a_chart_is_what_a_list_of_all_points_says_on_sqlite() {
    a_chart_is_what_a_list_of_all_points_says(TestDb::sqlite());
}

#[test]
fn a_chart_is_what_a_list_of_all_points_says_on_postgres() {
    a_chart_is_what_a_list_of_all_points_says(TestDb::postgres());
}

#[test]
fn each_tier_keeps_what_its_retention_says() {
    for db in TestDb::each() {
        let runtime = runtime();
        let config = HistoryConfig { raw_hours: 3, minute_days: 1, hour_days: 4, ..HistoryConfig::default() };
        let bench = Bench::open(db(), config, &runtime);
        runtime.block_on(async {
            for hour in 0..7 * 24 {
                bench.record("MC-1", START + hour * HOUR, &[("temp", hour as f64)]);
                bench.pass(HOUR).await;
            }
            let now = bench.clock.now().as_millis();
            let blocks = bench.rows(COUNT_BLOCKS).await;
            assert!((3..=5).contains(&blocks), "three hours, and those that are being aggregated: {blocks}");
            let minutes = bench.rows(COUNT_MINUTES).await;
            assert!((22..=25).contains(&minutes), "a row per hour of one day: {minutes}");
            let hours = bench.rows(COUNT_HOURS).await;
            assert!((4..=6).contains(&hours), "a row per day: {hours}");
            assert_eq!(bench.rows(COUNT_JOURNAL).await, 0, "everything is in blocks");
            let chart = bench.range("MC-1", now - 7 * DAY, now, 2000).await;
            assert_eq!((chart.tier, chart.step_ms), (Tier::Hour, HOUR));
            let kept = chart.series[0].buckets.len();
            assert!((4 * 24..=6 * 24).contains(&kept), "{kept}");
            assert_eq!(chart.series[0].buckets.last().unwrap().last, 167.0);
        });
    }
}

#[test]
fn a_tier_that_is_not_wanted_is_not_kept() {
    let runtime = runtime();
    let config = HistoryConfig { raw_hours: 0, minute_days: 0, ..HistoryConfig::default() };
    let bench = Bench::open(TestDb::sqlite(), config, &runtime);
    runtime.block_on(async {
        bench.record("MC-1", START, &[("temp", 21.5)]);
        bench.pass(HOUR).await;
        bench.pass(2 * HOUR).await;
        assert_eq!(
            (bench.rows(COUNT_BLOCKS).await, bench.rows(COUNT_MINUTES).await, bench.rows(COUNT_HOURS).await),
            (0, 0, 1)
        );
        let chart = bench.range("MC-1", START, START + 1, 500).await;
        assert_eq!((chart.tier, chart.series[0].buckets[0].last), (Tier::Hour, 21.5));
    });
}

#[test]
fn a_kill_between_flush_and_compaction_loses_and_repeats_nothing() {
    for db in TestDb::each() {
        let runtime = runtime();
        let mut bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            for second in 0..100 {
                bench.record("MC-1", START + second * 1000, &[("temp", 20.0), ("hum", 50.0)]);
                bench.history.flush().await.unwrap();
            }
            bench.record("MC-1", START + 100_000, &[("temp", 20.0)]);
            bench.kill().await;
            let count = |chart: &Range| -> Vec<u64> {
                chart.series.iter().map(|s| s.buckets.iter().map(|bucket| bucket.count).sum()).collect()
            };
            assert_eq!(count(&bench.range("MC-1", START, START + HOUR, 10).await), [100, 100]);
            assert_eq!(bench.rows(COUNT_JOURNAL).await, 100);
            bench.pass(10 * MINUTE).await;
            assert_eq!((bench.rows(COUNT_JOURNAL).await, bench.rows(COUNT_BLOCKS).await), (0, 1));
            bench.kill().await;
            assert_eq!(count(&bench.range("MC-1", START, START + HOUR, 10).await), [100, 100]);
            bench.record("MC-1", START + 101_000, &[("temp", 20.0)]);
            bench.history.flush().await.unwrap();
            bench.kill().await;
            assert_eq!(count(&bench.range("MC-1", START, START + HOUR, 10).await), [100, 101]);
        });
    }
}

#[test]
fn a_chart_that_is_read_while_points_move_counts_each_once() {
    const MOVES: u64 = 150;
    const LOOKS: u32 = 21;
    for db in TestDb::each() {
        let runtime = runtime();
        let bench = Bench::open(db(), kept_for_ever(), &runtime);
        let (recorded, looks) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        // Until both have happened often enough, however they take turns.
        let goes_on = || recorded.get() < MOVES || looks.get() < LOOKS;
        runtime.block_on(async {
            let moving = async {
                while goes_on() {
                    bench.record("MC-1", bench.clock.now().as_millis(), &[("temp", 20.0)]);
                    recorded.set(recorded.get() + 1);
                    bench.pass(17 * MINUTE).await;
                }
            };
            let reading = async {
                while goes_on() {
                    let before = recorded.get();
                    let end = (START + 30 * DAY).max(bench.clock.now().as_millis() + DAY);
                    let chart = bench.range("MC-1", START, end, 1 + looks.get() % 2000).await;
                    let buckets = chart.series.first().map_or(&[][..], |series| &series.buckets);
                    let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
                    let after = recorded.get();
                    assert!((before..=after).contains(&count), "{before} <= {count} <= {after}");
                    looks.set(looks.get() + 1);
                }
            };
            tokio::join!(moving, reading);
        });
    }
}

#[test]
fn a_new_name_is_stored_while_much_is_moved_on() {
    const MODULES: usize = 400;
    for db in TestDb::each() {
        let runtime = runtime();
        let bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            for module in 0..MODULES {
                bench.record(&format!("MC-{module}"), START, &[("temp", 1.0)]);
            }
            bench.history.flush().await.unwrap();
            bench.clock.advance_ms(2 * HOUR);
            let is_moved = std::cell::Cell::new(false);
            let moving = async {
                bench.history.keep().await.unwrap();
                is_moved.set(true);
            };
            let storing = async {
                bench.record("MC-0", bench.clock.now().as_millis(), &[("new", 1.0)]);
                bench.history.stored().await.unwrap();
                assert!(!is_moved.get(), "it does not wait for everything that is to be moved");
            };
            tokio::join!(moving, storing);
            assert!(bench.rows(COUNT_BLOCKS).await >= MODULES as i64);
            let series = bench.history.series("MC-0").series;
            assert_eq!(series.iter().map(|series| &*series.name).collect::<Vec<_>>(), ["new", "temp"]);
        });
        let mut bench = bench;
        runtime.block_on(async {
            bench.kill().await;
            let names: Vec<String> =
                bench.history.series("MC-0").series.into_iter().map(|s| s.name).collect();
            assert_eq!(names, ["new", "temp"], "no move has put the new name aside");
        });
    }
}

#[test]
fn a_database_that_is_away_costs_the_oldest_points_and_never_memory() {
    let runtime = runtime();
    let config = HistoryConfig { memory_bytes: 1024 * 1024, ..HistoryConfig::default() };
    let bench = Bench::open(TestDb::sqlite(), config, &runtime);
    runtime.block_on(async {
        bench.store.shutdown().await;
        for second in 0..200 {
            for module in 0..10 {
                let at = START + second * 1000;
                let names: Vec<String> = (0..SERIES_MAX).map(|number| format!("s{number}")).collect();
                let values: Vec<(&str, f64)> =
                    names.iter().map(|name| (name.as_str(), second as f64 + 1.0 / 3.0)).collect();
                bench.record(&format!("MC-{module}"), at, &values);
            }
            assert!(bench.history.flush().await.is_err());
        }
        let bytes = bench.history.memory_bytes();
        assert!((900_000..=1024 * 1024).contains(&bytes), "{bytes}");
        let kept = bench.history.series("MC-0").series;
        assert!(kept[0].first > START + 10_000, "the oldest are gone: {:?}", kept[0]);
        assert_eq!(kept[0].last, START + 199_000, "the newest are not");
    });
}

#[test]
fn what_no_series_can_be_is_left_out_and_the_rest_is_kept() {
    let runtime = runtime();
    let bench = Bench::open(TestDb::sqlite(), kept_for_ever(), &runtime);
    runtime.block_on(async {
        let long = "x".repeat(65);
        let names: Vec<String> = (0..70).map(|number| format!("s{number:02}")).collect();
        let mut values: Vec<(&str, f64)> = vec![("", 1.0), (&long, 1.0), ("a\nb", 1.0)];
        values.extend(names.iter().map(|name| (name.as_str(), 1.0)));
        bench.record("MC-1", START, &values);
        bench.history.flush().await.unwrap();
        let kept: Vec<String> = bench.history.series("MC-1").series.into_iter().map(|s| s.name).collect();
        assert_eq!(kept, names[..SERIES_MAX]);
        assert_eq!(bench.range("MC-1", START, START + 1, 1).await.series.len(), 32, "of one chart");
    });
}

#[test]
fn the_rows_of_a_module_that_is_forgotten_go_and_one_of_the_same_name_starts_afresh() {
    for db in TestDb::each() {
        let runtime = runtime();
        let mut bench = Bench::open(db(), kept_for_ever(), &runtime);
        runtime.block_on(async {
            bench.record("MC-1", START, &[("temp", 1.0)]);
            bench.pass(10 * MINUTE).await;
            bench.pass(3 * HOUR).await;
            bench.store.write(|tx| disown(tx, "MC-1")).await.unwrap();
            bench.kill().await;
            assert!(bench.history.series("MC-1").series.is_empty());
            bench.record("MC-1", START, &[("hum", 2.0)]);
            bench.pass(10 * MINUTE).await;
            let chart = bench.range("MC-1", START, START + 1, 1).await;
            assert_eq!(chart.series.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["hum"]);
            assert_eq!((bench.rows(COUNT_BLOCKS).await, bench.rows(COUNT_HOURS).await), (1, 1));
            assert_eq!(bench.rows("SELECT COUNT(*) FROM history_modules").await, 1);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_trims_the_tiers_every_hour_whichever_server_has_the_module() {
    on_both(|world| async move {
        let store = world.running.app().store();
        let count = async |sql: &'static str| {
            store.read(move |tx| tx.query_one(sql, params![], |row| row.i64(0))).await.unwrap()
        };
        until("the schedule is stored", async || {
            count("SELECT COUNT(*) FROM job_schedules WHERE kind = 'history.trim' AND name = 'hourly'").await == 1
        })
        .await;
        let hour = world.running.app().clock().now().as_millis() / HOUR * HOUR;
        let given = store.write(move |tx| {
            // This server has never heard of it.
            let module = "INSERT INTO history_modules (id, module, series, journal_done, rolled_to, last_hour) \
                VALUES (77, 'MC-7', '[]', 0, $1, $1)";
            tx.execute(module, params![hour])?;
            for hour in [hour - 30 * DAY, hour] {
                let block = "INSERT INTO history_blocks (module, hour, part, data) VALUES (77, $1, 1, $2)";
                tx.execute(block, params![hour, &b"x"[..]])?;
            }
            Ok::<_, StoreError>(tx.enqueue(&NewJob::new(&TRIM.kind, "{}")).is_ok())
        });
        assert!(given.await.unwrap());
        until("the old block is deleted", async || count(COUNT_BLOCKS).await == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sees_a_module_sees_its_history() {
    on_both(|world| async move {
        let (admin, lea, eve) =
            (world.user("Ada", true).await, world.person("Lea").await, world.person("Eve").await);
        let new = json!({ "id": "MC-1001-STN", "owner": lea.id });
        let (status, _) = world.request(&admin, Method::POST, "/api/v1/modules", new).await;
        assert_eq!(status, 201);
        let app = world.running.app();
        let now = app.clock().now();
        for (seconds, temp) in [(-3000, 20.0), (-10, 21.0), (-10, 23.0)] {
            let values = [("temp", temp), ("hum", 50.0)];
            app.service::<Live>().history().record("MC-1001-STN", now.plus_millis(seconds * 1000), values.into_iter());
        }
        let path = "/api/v1/modules/MC-1001-STN/history";
        let get = async |who, query: &str| {
            world.request(who, Method::GET, &format!("{path}{query}"), Value::Null).await
        };
        let (status, chart) = get(&admin, "?series=temp,vide&points=1").await;
        assert_eq!(status, 200, "{chart}");
        let (status, all) =
            get(&admin, &format!("?from={}&to={now}&points=450", now.plus_millis(-4_000_000))).await;
        let (_, own) = get(&lea, &format!("?from={}", now.plus_millis(-4_000_000))).await;
        let hers =
            own["series"].as_array().unwrap().iter().flat_map(|series| series["buckets"].as_array().unwrap());
        assert_eq!(hers.count(), 0, "what was before she had it is not hers: {own}");
        assert_eq!((status, &all["tier"], &all["step_ms"]), (200, &json!("raw"), &json!(10_000)));
        assert_eq!(all["series"][0]["name"], "hum", "by name");
        let temp = &all["series"][1]["buckets"];
        let last = json!({
            "t": temp[1]["t"], "min": 21.0, "max": 23.0, "avg": 22.0, "first": 21.0, "last": 23.0, "increase": 3.0,
            "count": 2,
        });
        assert_eq!((&temp[0]["count"], &temp[1], &temp[2]), (&json!(1), &last, &Value::Null));
        assert_eq!(chart["series"][1], json!({ "name": "vide", "buckets": [] }));

        let (status, series) = get(&lea, "/series").await;
        let first = now.plus_millis(-3_000_000).as_millis();
        let last = now.plus_millis(-10_000).as_millis();
        assert_eq!(status, 200);
        assert_eq!(series["series"][1], json!({ "name": "temp", "first": first, "last": last }));
        let said = json!({ "temp": 24.5, "on": true, "wifi": { "rssi": -60, "ssid": "Quai" } });
        app.service::<Live>().report("MC-1001-STN", Report::of(said.as_object().unwrap().clone()).unwrap()).unwrap();
        let (_, series) = get(&lea, "/series").await;
        let names: Vec<&Value> = series["series"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
        assert_eq!(names, ["hum", "on", "temp", "wifi.rssi"], "what a device reports is kept");
        for query in ["", "/series"] {
            let (status, refused) = get(&eve, query).await;
            assert_eq!((status, &refused["code"]), (404, &json!("module_not_found")));
        }
        let many = format!("?series={}", vec!["s"; 33].join(","));
        let wrong = ["?points=0", "?points=2001", "?from=hier", "?to=-1", "?from=20&to=10", &many];
        for query in wrong {
            let (status, refused) = get(&lea, query).await;
            assert_eq!((status, &refused["code"]), (400, &json!("invalid_value")), "{query}: {refused}");
        }
        assert_eq!(get(&lea, "?points=beaucoup").await.1["code"], "invalid_query");

        let (status, _) =
            world.request(&admin, Method::DELETE, "/api/v1/modules/MC-1001-STN", Value::Null).await;
        assert_eq!(status, 204);
        assert!(app.service::<Live>().history().series("MC-1001-STN").series.is_empty(), "gone with the module");
    })
    .await;
}
