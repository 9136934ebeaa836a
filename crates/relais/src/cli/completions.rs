//! `relais completions`: a completion script for a shell.

use clap::CommandFactory;

use super::{Cli, CliError, Globals, out};

/// Arguments of `relais completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Prints the script to standard output.
pub async fn run(args: CompletionsArgs, _globals: &Globals) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "relais", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())
}
