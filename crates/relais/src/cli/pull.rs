//! `relais pull`: a folder that is the same as the server's files.

use std::path::PathBuf;
use std::time::Duration;

use super::client::{Backoff, ClientError, ServerArgs, Stop, backoff, names};
use super::transfer::mirror::{Mirror, MirrorOptions};
use super::transfer::summary::{Failure, Summary};
use super::{CliError, Globals, out};

/// How long one question for changes waits at the server.
const WAIT_S: u64 = 25;
/// The pause of a follower that cannot wait at the server because it has no files yet.
const EMPTY_PAUSE: Duration = Duration::from_secs(2);

/// Arguments of `relais pull`.
#[derive(Debug, clap::Args)]
pub(super) struct PullArgs {
    /// The folder to mirror into: DIR/<société>/<file>
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Mirror this société (repeatable)
    #[arg(long, value_name = "S", required_unless_present = "all", conflicts_with = "all")]
    societe: Vec<String>,
    /// Mirror every société that the key may read
    #[arg(long)]
    all: bool,
    /// Remove here what the server deleted
    #[arg(long)]
    delete: bool,
    /// Do so even if more goes than remains; on a terminal it is asked
    #[arg(long, requires = "delete")]
    allow_mass_delete: bool,
    /// Keep the mirror the same until stopped
    #[arg(long)]
    follow: bool,
    /// How many files are fetched at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    server: ServerArgs,
}

/// Fetches what differs from the server and prints what came of it; with `--follow` until a signal.
pub(super) async fn run(args: PullArgs, globals: &Globals) -> Result<(), CliError> {
    let remote = args.server.remote(globals)?;
    let stop = Stop::on_signals();
    let options = MirrorOptions {
        jobs: args.jobs.into(),
        delete: args.delete,
        mass_delete: args.allow_mass_delete,
        json: globals.json,
    };
    let mut societes: Vec<String> = args.societe.iter().map(|s| names::normalised(s)).collect();
    societes.sort();
    societes.dedup();
    let mut mirror = Mirror::open(&remote, args.folder, &societes, options)?;
    let mut backoff = backoff();
    loop {
        match stop.until(mirror.learn(0)).await {
            None => return Err(CliError::new("interrupted before anything was fetched")),
            Some(Ok(())) => break,
            Some(Err(error)) if error.is_passing() && backoff.failures() < args.server.retries() => {
                stop.sleep(backoff.next(error.retry_after())).await;
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
    let summary = mirror.apply(&stop).await?;
    let outcome = summary.report("received", globals.json);
    if !args.follow || stop.is_asked() {
        return outcome;
    }
    let behind = summary.failed.iter().any(Failure::is_worth_another_try);
    follow(&mut mirror, &stop, globals.json, behind).await
}

/// Stays the same as the server, across lost connections.
async fn follow(mirror: &mut Mirror<'_>, stop: &Stop, json: bool, mut behind: bool) -> Result<(), CliError> {
    let mut backoff = backoff();
    while !stop.is_asked() {
        if behind {
            stop.sleep(backoff.next(None)).await;
        } else if !mirror.can_wait() {
            stop.sleep(EMPTY_PAUSE).await;
        }
        let wait_s = if behind { 0 } else { WAIT_S };
        match stop.until(mirror.learn(wait_s)).await {
            None => break,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                wait_out(&error, &mut backoff, stop).await?;
                continue;
            }
        }
        let summary = mirror.apply(stop).await?;
        behind = summary.failed.iter().any(Failure::is_worth_another_try);
        if !behind {
            backoff.reset();
        }
        print_round(&summary, json)?;
    }
    Ok(())
}

async fn wait_out(error: &ClientError, backoff: &mut Backoff, stop: &Stop) -> Result<(), CliError> {
    if !error.may_pass_for_a_follower() {
        return Err(CliError::new(error.to_string()));
    }
    if backoff.failures() == 0 {
        out::note(&format!("{error}; trying again"));
    }
    stop.sleep(backoff.next(error.retry_after())).await;
    Ok(())
}

fn print_round(summary: &Summary, json: bool) -> Result<(), CliError> {
    if summary.sent.is_empty() && summary.deleted.is_empty() && summary.failed.is_empty() {
        return Ok(());
    }
    if json {
        return out::json_line(summary);
    }
    summary.sent.iter().try_for_each(|item| out::line(&format!("received {}", item.shown())))?;
    summary.deleted.iter().try_for_each(|item| out::line(&format!("deleted  {}", item.shown())))
}
