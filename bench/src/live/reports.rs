//! `live`: what every device reports, every page shows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use relais_sandbox::devices::{Endpoint, Fleet, FleetConfig, Module, module_id};
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::page::{open_page, shown};
use super::read_secret;
use crate::Target;
use crate::error::BenchError;
use crate::measure::Times;
use crate::process::ProcessTree;
use crate::websocket::Listener;

/// How long all devices may take to be online.
const ONLINE_LIMIT: Duration = Duration::from_secs(60);
/// How long the last reports may take to be shown.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `relais-bench live`.
#[derive(clap::Args)]
pub(crate) struct ReportsArgs {
    #[command(flatten)]
    target: Target,
    /// The credentials of the modules, as `relais sandbox devices` writes them
    #[arg(long)]
    credentials: PathBuf,
    /// A file with the token of an administrator
    #[arg(long)]
    token: PathBuf,
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    devices: u32,
    #[arg(long, default_value_t = 200)]
    watchers: usize,
    /// Seconds between two reports of a device
    #[arg(long, default_value_t = 10.0)]
    interval: f64,
    /// Seconds between two heartbeats of a device; they are told too, and not counted
    #[arg(long, default_value_t = 30.0)]
    heartbeat: f64,
    /// Reports that are sent for so long count
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(Serialize)]
pub(crate) struct ReportsReport {
    scenario: &'static str,
    devices: u32,
    watchers: usize,
    /// Reports that count.
    reports: u64,
    reports_per_s: f64,
    /// Of the reports, for all pages, the part that was shown; the rest was overtaken by a newer one or missing.
    shown_percent: f64,
    /// Modules on pages that did not show the newest report in the end.
    behind: usize,
    /// Events that the pages heard, each second.
    heard_per_s: f64,
    cpu_s: f64,
    /// Of one core.
    cpu_percent: f64,
    cpu_us_per_event: f64,
    resident_mb: f64,
    #[serde(flatten)]
    times: Times,
    /// What went wrong with devices.
    errors: BTreeMap<&'static str, u64>,
}

/// What was measured while reports counted.
struct Measured {
    reports: u64,
    heard: u64,
    wall_s: f64,
    cpu_s: f64,
    resident_kb: u64,
}

pub(crate) async fn run(args: ReportsArgs) -> Result<ReportsReport, BenchError> {
    LocalSet::new().run_until(measure(args)).await
}

async fn measure(args: ReportsArgs) -> Result<ReportsReport, BenchError> {
    let began = Instant::now();
    let board = Board::new(began, args.watchers, args.devices as usize);
    let fleet = fleet(&args, began)?;
    let stop = CancellationToken::new();
    let devices = tokio::task::spawn_local({
        let (fleet, stop) = (fleet.clone(), stop.clone());
        async move { fleet.run(stop).await }
    });
    // Devices first: a server that cannot keep up with the pages would not let them all in.
    wait_until_online(&args, &fleet).await?;
    let mut pages = JoinSet::new();
    for (place, page) in open_pages(&args).await?.into_iter().enumerate() {
        pages.spawn_local(watch(page, board.clone(), place));
    }
    let measured = tokio::select! {
        measured = count(&args, &fleet, &board) => measured?,
        Some(ended) = pages.join_next() => {
            let reason = ended.map_err(|e| BenchError::wrong(e.to_string()))?;
            return Err(reason.err().unwrap_or_else(|| BenchError::wrong("a page ended")));
        }
    };
    stop.cancel();
    let ended = devices.await.map_err(|e| BenchError::wrong(e.to_string()))?;
    ended.map_err(|e| BenchError::wrong(e.to_string()))?;
    let behind = wait_for_the_last(&fleet, &board).await;
    Ok(report(&args, &fleet, &board, &measured, behind))
}

fn report(
    args: &ReportsArgs,
    fleet: &Fleet,
    board: &Board,
    measured: &Measured,
    behind: usize,
) -> ReportsReport {
    let Measured { reports, heard, wall_s, cpu_s, resident_kb } = *measured;
    let wanted = reports * args.watchers as u64;
    ReportsReport {
        scenario: "live",
        devices: args.devices,
        watchers: args.watchers,
        reports,
        reports_per_s: reports as f64 / wall_s,
        shown_percent: 100.0 * board.deliveries() as f64 / wanted.max(1) as f64,
        behind,
        heard_per_s: heard as f64 / wall_s,
        cpu_s,
        cpu_percent: 100.0 * cpu_s / wall_s,
        cpu_us_per_event: 1e6 * cpu_s / heard.max(1) as f64,
        resident_mb: resident_kb as f64 / 1024.0,
        times: Times::of_micros(board.take_times()),
        errors: fleet.totals().errors,
    }
}

fn fleet(args: &ReportsArgs, began: Instant) -> Result<Fleet, BenchError> {
    let known: BTreeMap<String, String> = serde_json::from_str(&std::fs::read_to_string(&args.credentials)?)
        .map_err(|e| BenchError::wrong(format!("{}: {e}", args.credentials.display())))?;
    let modules = (0..args.devices).map(|place| {
        let id = module_id("MC-", place);
        let credential = known.get(&id).cloned();
        let credential = credential.ok_or_else(|| BenchError::wrong(format!("no credential for {id}")))?;
        Ok(Module { id, credential })
    });
    let (host, port) = (args.target.address.ip().to_string(), args.target.address.port());
    let config = FleetConfig {
        endpoint: Endpoint { host, port, path: "/esp32".into() },
        interval: Duration::from_secs_f64(args.interval),
        heartbeat: Duration::from_secs_f64(args.heartbeat),
        flap_percent: 0,
        silent_percent: 0,
        seed: 1,
        stamps_since: Some(began),
    };
    Ok(Fleet::new(config, modules.collect::<Result<_, BenchError>>()?))
}

async fn watch(mut page: Listener, board: Board, place: usize) -> Result<(), BenchError> {
    loop {
        let mut wrong = None;
        page.next_frames(|text| {
            let heard = shown(text).and_then(|what| board.hears(place, what));
            wrong = wrong.take().or(heard.err());
        })
        .await?;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
}

async fn wait_until_online(args: &ReportsArgs, fleet: &Fleet) -> Result<(), BenchError> {
    let deadline = Instant::now() + ONLINE_LIMIT;
    while fleet.totals().online < u64::from(args.devices) {
        if Instant::now() > deadline {
            return Err(BenchError::wrong(format!("not all devices are online: {:?}", fleet.totals())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// All at once, so that the first do not have to wait unread for the last.
async fn open_pages(args: &ReportsArgs) -> Result<Vec<Listener>, BenchError> {
    let (address, token) = (args.target.address, read_secret(&args.token)?);
    let mut opening = JoinSet::new();
    for _ in 0..args.watchers {
        let token = token.clone();
        opening.spawn_local(async move { open_page(address, &token).await });
    }
    let mut pages = Vec::with_capacity(args.watchers);
    while let Some(page) = opening.join_next().await {
        pages.push(page.map_err(|e| BenchError::wrong(e.to_string()))??);
    }
    Ok(pages)
}

/// Measures for as long as asked, once everything stands.
async fn count(args: &ReportsArgs, fleet: &Fleet, board: &Board) -> Result<Measured, BenchError> {
    let server = ProcessTree::of(args.target.pid);
    // After an interval, whatever coming in made is over, and every page has heard of every module.
    tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
    let (reports, heard, cpu_s, from) =
        (fleet.totals().reports, board.heard(), server.cpu_s()?, Instant::now());
    board.begin();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    board.end();
    Ok(Measured {
        reports: fleet.totals().reports - reports,
        heard: board.heard() - heard,
        wall_s: from.elapsed().as_secs_f64(),
        cpu_s: server.cpu_s()? - cpu_s,
        resident_kb: server.resident_kb()?,
    })
}

/// Waits until every page shows the newest report of every device; how many do not in the end.
async fn wait_for_the_last(fleet: &Fleet, board: &Board) -> usize {
    let deadline = Instant::now() + ARRIVAL_LIMIT;
    loop {
        let behind = board.behind(|place| fleet.newest_stamp(place));
        if behind == 0 || Instant::now() > deadline {
            return behind;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
