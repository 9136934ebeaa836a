//! `relais sandbox`: stand-ins of what a server connects to, for trials.

mod credentials;
mod devices;
mod modules;

use super::{CliError, Globals};

/// Arguments of `relais sandbox`.
#[derive(Debug, clap::Args)]
pub(super) struct SandboxArgs {
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SandboxCommand {
    /// Simulate devices that report, answer commands and come back after a lost connection
    Devices(devices::DevicesArgs),
}

pub(super) async fn run(args: SandboxArgs, globals: &Globals) -> Result<(), CliError> {
    match args.command {
        SandboxCommand::Devices(args) => devices::run(args, globals).await,
    }
}
