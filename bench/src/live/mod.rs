//! Devices that report, and pages that show them.

mod board;
mod offline;
mod page;
mod reports;

pub(crate) use offline::{OfflineArgs, run as run_offline};
pub(crate) use reports::{ReportsArgs, run as run_reports};

use std::path::Path;

use crate::error::BenchError;

/// The place of a module of the sandbox among its devices: the four digits in its id.
fn place_of(id: &[u8]) -> Option<usize> {
    let digits =
        id.split(|byte| *byte == b'-').find(|part| part.len() == 4 && part.iter().all(u8::is_ascii_digit))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What a file says, without the line's end.
fn read_secret(path: &Path) -> Result<String, BenchError> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}
