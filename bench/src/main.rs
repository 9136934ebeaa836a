//! Load generator: each subcommand is one scenario against one running server, verifies what it
//! got, and prints one JSON object with what it measured. `bench/run` runs them side by side with the peers.

#![expect(clippy::disallowed_methods, reason = "what is measured takes real time")]

mod audience;
mod chat;
mod content;
mod dialect;
mod downloads;
mod error;
mod fanout;
mod group;
mod history;
mod http;
mod idle;
mod live;
mod measure;
mod message;
mod notify;
mod process;
mod stalled;
mod stalls;
mod start;
mod uploads;
mod websocket;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;

use error::BenchError;

/// No scenario runs longer than this, whatever the server does.
const SCENARIO_LIMIT: Duration = Duration::from_secs(230);

#[derive(Parser)]
#[command(name = "relais-bench", about)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Upload files of one size over several connections, then compare what the server holds
    Uploads(uploads::UploadsArgs),
    /// Download files over several connections and compare every byte
    Downloads(downloads::DownloadsArgs),
    /// Time from an upload to its notification at every listener
    Notify(notify::NotifyArgs),
    /// Deliveries of what one client says to all others
    Fanout(fanout::FanoutArgs),
    /// Durable messages of many senders in the chat
    Chat(chat::ChatArgs),
    /// Messages to a group, each until the last member has it
    Group(group::GroupArgs),
    /// Many modules reporting into the history of a database, and the charts of one of them
    History(history::HistoryArgs),
    /// Reports of devices to the pages that show them
    Live(live::ReportsArgs),
    /// Time until devices that vanish are told to be offline
    Offline(live::OfflineArgs),
    /// Health and one working client beside thousands of clients that stall in every way
    Stalls(stalls::StallsArgs),
    /// Resident memory per idle listener
    Idle(idle::IdleArgs),
    /// Time from exec to the first answer, and resident memory at rest
    Start(start::StartArgs),
    /// Write the files of the download scenario into a folder
    Corpus(content::CorpusArgs),
}

/// The server under load.
#[derive(clap::Args)]
struct Target {
    /// Where the server listens
    #[arg(long, value_name = "ADDR:PORT")]
    address: std::net::SocketAddr,
    /// Its process; the processes below it count too
    #[arg(long)]
    pid: u32,
}

fn main() -> ExitCode {
    match run(Cli::parse().scenario) {
        Ok(line) => {
            let written = writeln!(std::io::stdout(), "{line}");
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            // Nobody is left to tell when even this fails.
            let _ = writeln!(std::io::stderr(), "relais-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(scenario: Scenario) -> Result<String, BenchError> {
    process::raise_file_limit()?;
    match scenario {
        Scenario::Uploads(args) => limited(uploads::run(args)),
        Scenario::Downloads(args) => limited(downloads::run(args)),
        Scenario::Notify(args) => limited(notify::run(args)),
        Scenario::Fanout(args) => limited(fanout::run(args)),
        Scenario::Chat(args) => limited(chat::run(args)),
        Scenario::Group(args) => limited(group::run(args)),
        Scenario::History(args) => encode(&history::run(&args)?),
        Scenario::Live(args) => limited(live::run_reports(args)),
        Scenario::Offline(args) => limited(live::run_offline(args)),
        Scenario::Stalls(args) => limited(stalls::run(args)),
        Scenario::Idle(args) => limited(idle::run(args)),
        Scenario::Start(args) => encode(&start::run(&args)?),
        Scenario::Corpus(args) => encode(&content::run(&args)?),
    }
}

/// Runs one scenario on one thread, so that the server has the other processor.
fn limited<T: Serialize>(
    scenario: impl Future<Output = Result<T, BenchError>>,
) -> Result<String, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(SCENARIO_LIMIT, scenario).await });
    encode(&outcome.map_err(|_| BenchError::TooLong(SCENARIO_LIMIT))??)
}

fn encode(report: &impl Serialize) -> Result<String, BenchError> {
    serde_json::to_string(report).map_err(|e| BenchError::Wrong(e.to_string()))
}
