//! `relais sandbox devices`: simulated devices against a running server.

use relais_protocol::time::{Clock as _, SystemClock};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use relais_sandbox::devices::{DEVICES_MAX, Endpoint, Fleet, FleetConfig, Module, Totals, module_id};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::credentials::{self, Credentials};
use super::modules::Modules;
use crate::cli::client::{Key, Stop};
use crate::cli::{CliError, Globals, out};

/// Open files beside one per device.
const FILES_BESIDE: u64 = 64;
/// How long devices may take to disconnect.
const GOODBYE: Duration = Duration::from_secs(5);

/// Arguments of `relais sandbox devices`.
#[derive(Debug, clap::Args)]
pub(super) struct DevicesArgs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)))]
    count: u32,
    /// The server; a path beside /esp32 may be named
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8000")]
    url: Endpoint,
    /// Seconds between two reports of a device; starts are spread over the same time
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    interval: Duration,
    /// Seconds between two heartbeats of a device
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    heartbeat: Duration,
    /// What the ids of modules begin with, as in MC-0007-LFX
    #[arg(long, value_name = "TEXT", default_value = "MC-")]
    prefix: String,
    /// File with the credentials of the devices; new ones are written to it, for you only
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Token or key of an administrator: adds the modules that are not there, and gives those another credential
    /// that are there and not in FILE [env: RELAIS_KEY] [config: client.key]
    #[arg(long, visible_alias = "token", value_name = "KEY")]
    key: Option<Key>,
    /// The user whose new modules are: e-mail address or id
    #[arg(long, value_name = "EMAIL")]
    owner: Option<String>,
    /// Add the modules, write FILE, and end
    #[arg(long, requires = "credentials")]
    add_only: bool,
    /// End after this many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,
    /// Devices in a hundred whose connection breaks every half minute or so
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    flap: u8,
    /// Devices in a hundred that fall silent for minutes now and then, while their connection stands
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    silent: u8,
    /// Decides everything that chance decides
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let given: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if (0.1..=86_400.0).contains(&given) {
        Ok(Duration::from_secs_f64(given))
    } else {
        Err(format!("{text} is not from 0.1 to 86400"))
    }
}

/// Runs the devices until `--duration` or a signal.
pub(super) async fn run(args: DevicesArgs, globals: &Globals) -> Result<(), CliError> {
    allow_files(args.count)?;
    let stop = Stop::on_signals();
    let Some(modules) = modules(&args, globals, &stop).await? else { return Ok(()) };
    if args.add_only {
        return Ok(());
    }
    let config = FleetConfig {
        endpoint: args.url.clone(),
        interval: args.interval,
        heartbeat: args.heartbeat,
        flap_percent: args.flap,
        silent_percent: args.silent,
        seed: args.seed,
        stamps_since: None,
    };
    let fleet = Fleet::new(config, modules);
    if !globals.json {
        out::note(&format!("{} devices of {}; Ctrl-C ends them", fleet.len(), args.url));
    }
    let end = CancellationToken::new();
    let mut running = std::pin::pin!(fleet.run(end.clone()));
    let ended = tokio::select! {
        ended = &mut running => ended,
        reported = report(&fleet, &args, &stop, globals.json) => {
            end.cancel();
            // Devices that take longer are cut off.
            let _ = tokio::time::timeout(GOODBYE, running).await;
            return reported;
        }
    };
    ended.map_err(|e| CliError::new(e.to_string()))
}

/// A line each second, until it is time to end.
async fn report(fleet: &Fleet, args: &DevicesArgs, stop: &Stop, json: bool) -> Result<(), CliError> {
    let began = SystemClock.instant();
    let mut ticks = tokio::time::interval_at((began + Duration::from_secs(1)).into(), Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut at) = (fleet.totals(), began);
    let mut reported_error = None;
    while stop.until(ticks.tick()).await.is_some() {
        let (totals, now) = (fleet.totals(), SystemClock.instant());
        let rate = (totals.reports - before.reports) as f64 / (now - at).as_secs_f64();
        if json {
            let mut line = serde_json::to_value(&totals).map_err(|e| CliError::new(e.to_string()))?;
            line["devices"] = fleet.len().into();
            line["reports_per_s"] = rate.round().into();
            line["elapsed_s"] = (now - began).as_secs().into();
            out::json_line(&line)?;
        } else {
            out::line(&human(&totals, fleet.len(), rate))?;
            if totals.last_error.is_some() && totals.last_error != reported_error {
                reported_error.clone_from(&totals.last_error);
                out::note(&format!("last error: {}", reported_error.as_deref().unwrap_or_default()));
            }
        }
        (before, at) = (totals, now);
        if args.duration.is_some_and(|duration| now - began >= duration) {
            break;
        }
    }
    Ok(())
}

/// `online 9998/10000  1000 reports/s  2 reconnects  0 commands answered  errors: 1 closed, 2 lost`
fn human(totals: &Totals, devices: usize, rate: f64) -> String {
    let Totals { online, reconnects, commands_answered, errors, .. } = totals;
    let mut line = format!(
        "online {online}/{devices}  {rate:.0} reports/s  {reconnects} reconnects  {commands_answered} commands answered"
    );
    if !errors.is_empty() {
        let errors: Vec<String> = errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        line.push_str(&format!("  errors: {}", errors.join(", ")));
    }
    line
}

/// The modules with their credentials, added to the server where that is asked for; none if it was interrupted.
async fn modules(
    args: &DevicesArgs,
    globals: &Globals,
    stop: &Stop,
) -> Result<Option<Vec<Module>>, CliError> {
    let ids: Vec<String> = (0..args.count).map(|place| module_id(&args.prefix, place)).collect();
    let mut known = match &args.credentials {
        Some(path) => credentials::read(path)?,
        None => Credentials::new(),
    };
    let key = match &args.key {
        Some(key) => Some(key.clone()),
        None => globals.read_config()?.client.key.map(|key| Key::from(key.as_str())),
    };
    if let Some(key) = key {
        let server = Modules::new(&args.url.authority(), &key, args.owner.clone())?;
        let issued = stop.until(issue(&server, &ids, &mut known, globals.json)).await;
        // Credentials are issued only once: they are kept whatever happened afterwards.
        if let Some(path) = &args.credentials {
            credentials::write(path, &known)?;
        }
        match issued {
            Some(issued) => issued?,
            None => return Ok(None),
        }
    }
    let modules = ids.into_iter().map(|id| match known.get(&id) {
        Some(credential) => Ok(Module { credential: credential.clone(), id }),
        None => Err(CliError::new(format!(
            "no credential for {id}: name a file that has it with --credentials, or let the modules be added with \
             --key and the token of an administrator (relais token --email ADMIN)"
        ))),
    });
    modules.collect::<Result<_, _>>().map(Some)
}

/// Credentials for the modules that the server does not have, or that are not known.
async fn issue(
    server: &Modules,
    ids: &[String],
    known: &mut Credentials,
    json: bool,
) -> Result<(), CliError> {
    let there = server.ids().await?;
    let missing: Vec<String> =
        ids.iter().filter(|id| !(there.contains(*id) && known.contains_key(*id))).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let bar = progress(missing.len(), json);
    let issued = server.issue(missing, |id, credential| {
        known.insert(id, credential);
        bar.inc(1);
    });
    let issued = issued.await;
    bar.finish_and_clear();
    issued
}

/// A bar on a terminal; nothing at all when output is piped or meant for programs.
fn progress(modules: usize, json: bool) -> ProgressBar {
    let seen = !json && std::io::stderr().is_terminal();
    let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(modules as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} modules  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Lets this process hold a connection for each device.
fn allow_files(devices: u32) -> Result<(), CliError> {
    let (wanted, limit) = (u64::from(devices) + FILES_BESIDE, getrlimit(Resource::Nofile));
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if is_enough(limit.current) {
        return Ok(());
    }
    if !is_enough(limit.maximum) {
        let most = limit.maximum.unwrap_or_default();
        let text = format!(
            "{devices} devices need {wanted} open files and the system allows {most}: raise the limit (ulimit -n) or \
             use fewer devices"
        );
        return Err(CliError::new(text));
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|e| CliError::from(std::io::Error::from(e)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_line_of_a_second_says_what_counts() {
        let errors = BTreeMap::from([("closed", 1), ("lost", 2)]);
        let totals = Totals { online: 8, reconnects: 3, errors, ..Totals::default() };
        let expected =
            "online 8/10  1 reports/s  3 reconnects  0 commands answered  errors: 1 closed, 2 lost";
        assert_eq!(human(&totals, 10, 1.2), expected);
    }

    #[test]
    fn times_are_numbers_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["x", "0", "-1", "NaN", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
