//! `offline`: all devices vanish at once without a goodbye; how long until a page shows it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::page::{Shown, open_page, shown};
use super::read_secret;
use crate::Target;
use crate::error::BenchError;
use crate::websocket::Listener;

/// How long all devices may take to be online.
const ONLINE_LIMIT: Duration = Duration::from_secs(60);
/// They report for a while before they vanish.
const SETTLE: Duration = Duration::from_secs(2);

/// Arguments of `relais-bench offline`.
#[derive(clap::Args)]
pub(crate) struct OfflineArgs {
    #[command(flatten)]
    target: Target,
    /// A file with the token of an administrator
    #[arg(long)]
    token: PathBuf,
    #[arg(long, default_value_t = 10_000)]
    devices: usize,
    /// Seconds within which all have to be shown as offline
    #[arg(long)]
    limit: f64,
    /// The credentials of the modules
    #[arg(long)]
    credentials: PathBuf,
    /// The program with `sandbox devices`; it is stopped, so that connections stand and say nothing
    #[arg(long)]
    simulator: PathBuf,
}

#[derive(Serialize)]
pub(crate) struct OfflineReport {
    scenario: &'static str,
    devices: usize,
    first_s: f64,
    last_s: f64,
    limit_s: f64,
}

/// The process of the devices; killed when it is dropped, so that nothing is left whatever happens.
struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Simulator {
    fn start(args: &OfflineArgs) -> Result<Self, BenchError> {
        let (count, url) = (args.devices.to_string(), format!("ws://{}", args.target.address));
        let mut simulator = Command::new(&args.simulator);
        simulator.args(["sandbox", "devices", "--json", "--count", &count, "--url", &url, "--credentials"]);
        simulator.arg(&args.credentials).env_remove("RELAIS_KEY").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(simulator.spawn()?))
    }

    /// From now on it says nothing, and its connections stand.
    fn freeze(&self) -> Result<(), BenchError> {
        let stopped = kill_process(Pid::from_child(&self.0), Signal::STOP);
        stopped.map_err(|e| BenchError::Io(e.into()))
    }
}

pub(crate) async fn run(args: OfflineArgs) -> Result<OfflineReport, BenchError> {
    let token = read_secret(&args.token)?;
    let mut page = open_page(args.target.address, &token).await?;
    let simulator = Simulator::start(&args)?;
    let came = turn(&mut page, args.devices, true, ONLINE_LIMIT).await?;
    if came.turned < args.devices {
        let text = format!("{} of {} devices are online after {ONLINE_LIMIT:?}", came.turned, args.devices);
        return Err(BenchError::wrong(text));
    }
    let settled = Instant::now() + SETTLE;
    while let Some(left) = settled.checked_duration_since(Instant::now()) {
        // What they report meanwhile is not looked at.
        let _ = tokio::time::timeout(left, page.next_frames(|_| ())).await;
    }
    simulator.freeze()?;
    let limit = Duration::from_secs_f64(args.limit);
    let went = turn(&mut page, args.devices, false, limit * 2).await?;
    if went.turned < args.devices {
        let text = format!("{} of {} devices were told to be offline", went.turned, args.devices);
        return Err(BenchError::wrong(text));
    }
    let (first_s, last_s) = (went.first.as_secs_f64(), went.last.as_secs_f64());
    Ok(OfflineReport { scenario: "offline", devices: args.devices, first_s, last_s, limit_s: args.limit })
}

/// How many devices came or went, and when.
#[derive(Default)]
struct Turned {
    turned: usize,
    first: Duration,
    last: Duration,
}

/// Waits until all devices came, or went, each counted once, for `limit` at most.
async fn turn(
    page: &mut Listener,
    devices: usize,
    online: bool,
    limit: Duration,
) -> Result<Turned, BenchError> {
    let (began, mut is_turned, mut result) = (Instant::now(), vec![false; devices], Turned::default());
    while result.turned < devices {
        let Some(left) = limit.checked_sub(began.elapsed()) else { break };
        let mut wrong = None;
        let heard = page.next_frames(|text| match shown(text) {
            Ok(Shown::Online(place)) if online => result.note(&mut is_turned, place, began.elapsed()),
            Ok(Shown::Offline(place)) if !online => result.note(&mut is_turned, place, began.elapsed()),
            Ok(_) => {}
            Err(error) => wrong = Some(error),
        });
        match tokio::time::timeout(left, heard).await {
            Ok(heard) => heard?,
            Err(_) => break,
        }
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
    }
    Ok(result)
}

impl Turned {
    fn note(&mut self, is_turned: &mut [bool], place: usize, at: Duration) {
        let Some(turned) = is_turned.get_mut(place) else { return };
        if std::mem::replace(turned, true) {
            return;
        }
        if self.turned == 0 {
            self.first = at;
        }
        self.turned += 1;
        self.last = at;
    }
}
