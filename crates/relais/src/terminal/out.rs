//! What the commands print: results to standard output, problems to standard error.

use std::io::Write;

use serde::Serialize;

use super::CliError;

/// Prints one line to standard output. A closed pipe ends the output, not the command.
///
/// # Errors
/// [`CliError`] if standard output cannot be written.
pub fn line(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Prints the help or the version, as clap lays them out.
///
/// # Errors
/// As [`line`].
pub(crate) fn help(text: &clap::Error) -> Result<(), CliError> {
    written(text.print().and_then(|()| std::io::stdout().flush()))
}

fn written(outcome: std::io::Result<()>) -> Result<(), CliError> {
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(CliError::new(format!(
            "standard output cannot be written: {error}; if it goes to a file, is there space on its disk?"
        ))),
        Ok(()) => Ok(()),
    }
}

/// Prints a value as indented JSON.
///
/// # Errors
/// [`CliError`] if the value has no JSON or standard output cannot be written.
pub fn json(value: &impl Serialize) -> Result<(), CliError> {
    line(&serde_json::to_string_pretty(value).map_err(|e| CliError::new(e.to_string()))?)
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// As [`json`].
pub fn json_line(value: &impl Serialize) -> Result<(), CliError> {
    line(&serde_json::to_string(value).map_err(|e| CliError::new(e.to_string()))?)
}

/// Prints a problem to standard error.
pub fn problem(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "relais: {text}");
}

/// Prints a remark to standard error, apart from the result.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
