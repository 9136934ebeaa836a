//! `history`: the load of many modules on the history, on the database itself and without a server in between. Time is
//! the scenario's own: hours of load pass as fast as the database takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use relais::config::HistoryConfig;
use relais::features;
use relais::features::live::history::{History, RangeQuery};
use relais_protocol::time::{Clock, Timestamp};
use relais_store::{Query, Store, StoreConfig, StoreError, params};
use serde::Serialize;

use crate::error::BenchError;
use crate::measure::{Rate, Times};
use crate::process::ProcessTree;

/// Begins ten minutes before an hour ends, so that the load has hours to aggregate.
const START_MS: i64 = 1_800_000_000_000 - 1_800_000_000_000 % HOUR_MS + HOUR_MS - 10 * 60_000;
const HOUR_MS: i64 = 3_600_000;
/// Seconds between two reports of a module.
const INTERVAL_S: i64 = 10;
/// The module whose charts are measured; it has a history of its own before the load.
const CHARTED: &str = "MC-chart";
/// How often another writer writes beside the load.
const PROBE: Duration = Duration::from_millis(5);
/// Charts of each span.
const CHARTS: usize = 20;

/// Arguments of `relais-bench history`.
#[derive(clap::Args)]
pub(crate) struct HistoryArgs {
    /// An empty database
    #[arg(long, value_name = "URL")]
    database: String,
    /// The database server; the processes below it count too
    #[arg(long)]
    pid: Option<u32>,
    /// Modules, each reporting every ten seconds
    #[arg(long, default_value_t = 10_000)]
    modules: i64,
    /// Series of each
    #[arg(long, default_value_t = 33)]
    series: usize,
    /// Minutes of load
    #[arg(long, default_value_t = 20)]
    minutes: i64,
    /// Days that the module whose charts are measured has behind it
    #[arg(long, default_value_t = 30)]
    days: i64,
    /// Let a second of load last a second
    #[arg(long)]
    paced: bool,
}

#[derive(Serialize)]
pub(crate) struct HistoryReport {
    scenario: &'static str,
    points: Rate,
    cpu_s_per_million: f64,
    /// What the database's own processes took of that.
    database_cpu_s: f64,
    /// What the tables take, and what was written to the disk or the log of the database.
    stored_bytes_per_point: f64,
    written_bytes_per_point: f64,
    /// What another writer waited for a commit of one row.
    other_writes: Times,
    flush_and_keep: Times,
    memory_max_bytes: usize,
    charts: Vec<ChartTimes>,
}

#[derive(Serialize)]
struct ChartTimes {
    span: &'static str,
    buckets: usize,
    times: Times,
}

/// The time of the scenario.
#[derive(Debug)]
struct LoadClock(AtomicI64);

impl Clock for LoadClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Timestamp {
        self.now()
    }
}

struct Load {
    store: Store,
    history: History,
    clock: Arc<LoadClock>,
    names: Vec<String>,
    series: Vec<String>,
}

pub(crate) fn run(args: &HistoryArgs) -> Result<HistoryReport, BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { measure(args).await.map_err(|e| BenchError::wrong(e.to_string())) })
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn measure(args: &HistoryArgs) -> Result<HistoryReport, Fault> {
    let mut load = open(args).await?;
    load.write_past(args.days).await?;
    let (stored, written) = (load.stored_bytes().await?, load.written_bytes().await?);
    let (own, database) = (ProcessTree::of(std::process::id()), args.pid.map(ProcessTree::of));
    let database_cpu = || database.map_or(Ok(0.0), ProcessTree::cpu_s);
    let (own_before, database_before) = (own.cpu_s()?, database_cpu()?);
    let began = Instant::now();

    let stop = Arc::new(AtomicBool::new(false));
    let prober = tokio::spawn(probe(load.store.clone(), Arc::clone(&stop)));
    let (mut flushes, mut memory_max) = (Vec::new(), 0);
    for second in 0..args.minutes * 60 {
        load.report(second);
        let flushing = Instant::now();
        load.history.flush().await?;
        load.history.keep().await?;
        flushes.push(micros(flushing));
        memory_max = memory_max.max(load.history.memory_bytes());
        load.clock.0.fetch_add(1000, Ordering::Relaxed);
        if args.paced {
            tokio::time::sleep_until((began + Duration::from_secs(second as u64 + 1)).into()).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let other_writes = prober.await??;

    let wall_s = began.elapsed().as_secs_f64();
    let database_cpu_s = database_cpu()? - database_before;
    let cpu_s = own.cpu_s()? - own_before + database_cpu_s;
    let count =
        load.names.len() as u64 / INTERVAL_S as u64 * args.minutes as u64 * 60 * load.series.len() as u64;
    let charts = load.charts().await?;
    let stored_bytes = load.stored_bytes().await?.saturating_sub(stored);
    let written_bytes = load.written_bytes().await?.saturating_sub(written);
    load.store.shutdown().await;
    Ok(HistoryReport {
        scenario: "history",
        points: Rate::new(count, wall_s, cpu_s),
        cpu_s_per_million: cpu_s * 1e6 / count as f64,
        database_cpu_s,
        stored_bytes_per_point: stored_bytes as f64 / count as f64,
        written_bytes_per_point: written_bytes as f64 / count as f64,
        other_writes: Times::of_micros(other_writes),
        flush_and_keep: Times::of_micros(flushes),
        memory_max_bytes: memory_max,
        charts,
    })
}

async fn open(args: &HistoryArgs) -> Result<Load, Fault> {
    let clock = Arc::new(LoadClock(AtomicI64::new(START_MS - args.days * 24 * HOUR_MS)));
    let store_config = StoreConfig::new(args.database.parse()?);
    let own_clock = Arc::clone(&clock);
    let opening =
        tokio::task::spawn_blocking(move || Store::open(&store_config, &features::migrations(), own_clock));
    let store = opening.await??;
    store.write(|tx| tx.execute("CREATE TABLE probes (at BIGINT NOT NULL)", params![])).await?;
    let history =
        History::open(store.clone(), Arc::<LoadClock>::clone(&clock), HistoryConfig::default()).await?;
    let names = (0..args.modules).map(|number| format!("MC-{number:05}-STN")).collect();
    let series = (0..args.series).map(|number| format!("sensor{number}.value")).collect();
    Ok(Load { store, history, clock, names, series })
}

impl Load {
    /// The modules of this second say all their series.
    fn report(&self, second: i64) {
        let slot = (second % INTERVAL_S) as usize;
        for (number, name) in self.names.iter().enumerate().skip(slot).step_by(INTERVAL_S as usize) {
            let jitter = (number as i64 * 7 + second * 3) % 900;
            self.say(name, number, second, jitter);
        }
    }

    /// Sensors with one decimal that move little by little, counters, and states that hardly change.
    fn say(&self, name: &str, number: usize, second: i64, jitter: i64) {
        let step = second / INTERVAL_S;
        let values = self.series.iter().enumerate().map(|(index, series)| {
            let seed = (number * 31 + index * 17) as i64;
            let value = match index % 3 {
                0 => 200.0 + (seed % 100) as f64 + ((step * 7 + seed) % 13) as f64,
                1 => (seed * 1000 + step * (1 + seed % 5) * 10) as f64,
                _ => ((step / 360 + seed) % 2) as f64 * 10.0,
            };
            (series.as_str(), value / 10.0)
        });
        self.history.record(name, self.clock.now().plus_millis(jitter), values);
    }

    /// The days that one module has behind it.
    async fn write_past(&mut self, days: i64) -> Result<(), StoreError> {
        for step in 0..days * 24 * HOUR_MS / 10_000 {
            self.say(CHARTED, 0, step * INTERVAL_S, 0);
            self.clock.0.fetch_add(10_000, Ordering::Relaxed);
            if step % 90 == 0 {
                self.history.flush().await?;
                self.history.keep().await?;
            }
        }
        self.history.flush().await
    }

    async fn charts(&self) -> Result<Vec<ChartTimes>, StoreError> {
        let mut found = Vec::new();
        let now = self.clock.now().as_millis();
        for (span, hours) in [("1 h", 1), ("1 d", 24), ("30 d", 720)] {
            let (mut times, mut buckets) = (Vec::new(), 0);
            for _ in 0..CHARTS {
                let query = RangeQuery { series: vec![], from: now - hours * HOUR_MS, to: now, points: 500 };
                let began = Instant::now();
                let chart = self.history.range(CHARTED, query).await?;
                times.push(micros(began));
                buckets = chart.series.iter().map(|series| series.buckets.len()).sum();
            }
            found.push(ChartTimes { span, buckets, times: Times::of_micros(times) });
        }
        Ok(found)
    }

    async fn stored_bytes(&self) -> Result<u64, StoreError> {
        self.ask(
            "SELECT (SELECT * FROM pragma_page_count) * (SELECT * FROM pragma_page_size)",
            "SELECT pg_database_size(current_database())",
        )
        .await
    }

    /// What this process, or the log of the database, has written.
    async fn written_bytes(&self) -> Result<u64, Fault> {
        if self.is_postgres().await? {
            let sql = "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS BIGINT)";
            return Ok(self.store.read(move |tx| tx.query_one(sql, params![], |row| row.u64(0))).await?);
        }
        let text = std::fs::read_to_string("/proc/self/io")?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(line.ok_or("no write_bytes in /proc/self/io")?.parse()?)
    }

    async fn is_postgres(&self) -> Result<bool, StoreError> {
        self.store.read(|tx| Ok(tx.backend() == relais_store::Backend::Postgres)).await
    }

    async fn ask(&self, sqlite: &'static str, postgres: &'static str) -> Result<u64, StoreError> {
        let sql = if self.is_postgres().await? { postgres } else { sqlite };
        self.store.read(move |tx| tx.query_one(sql, params![], |row| row.u64(0))).await
    }
}

/// Writes a row again and again, as others do beside the history, and says how long each took.
async fn probe(store: Store, stop: Arc<AtomicBool>) -> Result<Vec<u32>, StoreError> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        store.write(|tx| tx.execute("INSERT INTO probes (at) VALUES (1)", params![])).await?;
        times.push(micros(began));
        tokio::time::sleep(PROBE).await;
    }
    Ok(times)
}

fn micros(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)
}
