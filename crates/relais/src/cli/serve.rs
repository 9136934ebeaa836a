//! `relais serve`: run the server.

use super::signals::Signals;
use super::{CliError, Globals};
use crate::boot;

/// Arguments of `relais serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn run(args: ServeArgs, globals: &Globals) -> Result<(), CliError> {
    let config = globals.load_config_listening(args.listen)?;
    let _telemetry = crate::telemetry::init(&config.log, &config.telemetry)
        .map_err(|error| CliError::new(error.to_string()))?;
    for unknown in crate::config::unknown_variables(super::environment()) {
        tracing::warn!("{unknown}");
    }
    // A program that reads that the server listens may ask it to end at once.
    let mut signals = Signals::heard();
    let server = tokio::select! {
        started = boot::start(config) => started.map_err(|e| CliError::new(e.to_string()))?,
        () = signals.asked() => return Ok(()),
    };
    signals.asked().await;
    server.stop().await;
    Ok(())
}
