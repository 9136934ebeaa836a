//! Passwords that come by standard input.

use std::io::Read as _;

use super::CliError;
use crate::auth::PASSWORD_BYTES_MAX;

/// The first line of standard input. A password on the command line would show in the list of processes.
///
/// # Errors
/// [`CliError`] if there is none; `example` is the command that wants it.
pub fn read_password(example: &str) -> Result<String, CliError> {
    let mut text = String::new();
    let limit = PASSWORD_BYTES_MAX as u64 + 2;
    std::io::stdin().take(limit).read_to_string(&mut text)?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        let example = format!("echo \"$PASSWORD\" | relais {example} --password-stdin");
        return Err(CliError::new(format!(
            "there is no password on standard input; for instance: {example}"
        )));
    }
    Ok(password.to_owned())
}
