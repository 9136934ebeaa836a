//! The command line: one file per subcommand.

mod client;
mod completions;
mod config;
mod database;
mod doctor;
mod feature;
mod jobs;
mod listen;
mod pull;
mod push;
mod sample;
mod sandbox;
mod serve;
mod signals;
mod transfer;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Overrides};
pub(crate) use crate::terminal::{CliError, out};

/// A real-time hub for business applications.
#[derive(Debug, Parser)]
#[command(name = "relais", version, about, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// The options that every subcommand takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Globals {
    /// Folder for everything the server keeps [default: ./relais-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file [default: ./relais.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

impl Globals {
    /// Reads the configuration with these options on top.
    ///
    /// # Errors
    /// [`ConfigError`] with every mistake found.
    pub fn load_config(&self) -> Result<Config, ConfigError> {
        self.load_config_listening(None)
    }

    /// As [`Globals::load_config`], for commands that only talk to a server.
    ///
    /// # Errors
    /// [`ConfigError`] if a source cannot be read.
    pub fn read_config(&self) -> Result<Config, ConfigError> {
        crate::config::read(&self.overrides(None), environment())
    }

    fn load_config_listening(&self, listen: Option<String>) -> Result<Config, ConfigError> {
        crate::config::load(&self.overrides(listen), environment())
    }

    fn overrides(&self, listen: Option<String>) -> Overrides {
        Overrides { config: self.config.clone(), data: self.data.clone(), listen }
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Send files: only what changed
    Push(push::PushArgs),
    /// Mirror files into a folder
    Pull(pull::PullArgs),
    /// Send files whenever they change in a folder
    Watch(watch::WatchArgs),
    /// Print events as they come
    Listen(listen::ListenArgs),
    /// Make realistic accounting exports for three sociétés
    Sample(sample::SampleArgs),
    /// Simulate what a server connects to: devices
    Sandbox(sandbox::SandboxArgs),
    #[command(flatten)]
    OfFeature(feature::FeatureCommand),
    /// Durable jobs: list, show, retry, discard
    Jobs(jobs::JobsArgs),
    /// Test everything the configuration names and say what to do
    Doctor(doctor::DoctorArgs),
    /// Print the configuration that results from all sources, with secrets hidden
    Config(config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the OpenAPI document
    #[command(hide = true)]
    Openapi,
    /// Print the AsyncAPI document
    #[command(hide = true)]
    Asyncapi,
}

/// Reads the arguments, runs the command and turns its outcome into an exit code: 0 success, 1 failure,
/// 2 wrong usage.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return without_command(&error),
    };
    let json = cli.globals.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(crate::memory::before_sleep)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            out::problem(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(cli));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::problem(&error.to_string());
            if json && !error.is_in_result() {
                // A program that asked for JSON gets JSON, whatever happened. If it cannot be written, the line above
                // has said why.
                let _ = out::json_line(&serde_json::json!({ "error": error.to_string() }));
            }
            ExitCode::FAILURE
        }
    }
}

/// What is to be done with arguments that name no command to run: help that was asked for, or wrong usage.
fn without_command(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match out::help(error) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                out::problem(&error.to_string());
                ExitCode::FAILURE
            }
        };
    }
    // What cannot be said to standard error cannot be said at all.
    let _ = error.print();
    let arguments = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    if arguments.into_iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let _ = out::json_line(&serde_json::json!({ "error": text.trim_end() }));
    }
    ExitCode::from(2)
}

async fn run(cli: Cli) -> Result<(), CliError> {
    let globals = cli.globals;
    // The server logs it, once its log is open.
    if !matches!(cli.command, Command::Serve(_)) {
        for unknown in crate::config::unknown_variables(environment()) {
            out::note(&format!("relais: warning: {unknown}"));
        }
    }
    match cli.command {
        Command::Serve(args) => serve::run(args, &globals).await,
        Command::Push(args) => push::run(args, &globals).await,
        Command::Pull(args) => pull::run(args, &globals).await,
        Command::Watch(args) => watch::run(args, &globals).await,
        Command::Listen(args) => listen::run(args, &globals).await,
        Command::Sample(args) => sample::run(args, &globals).await,
        Command::Sandbox(args) => sandbox::run(args, &globals).await,
        Command::OfFeature(command) => command.run(&globals).await,
        Command::Jobs(args) => jobs::run(args, &globals).await,
        Command::Doctor(args) => doctor::run(args, &globals).await,
        Command::Config(args) => config::run(args, &globals).await,
        Command::Completions(args) => completions::run(args, &globals).await,
        Command::Openapi => out::json(&crate::http::openapi::document()),
        Command::Asyncapi => out::json(&crate::http::asyncapi::document()),
    }
}
