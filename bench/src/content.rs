//! The files that go through the relay: accounting exports of a chosen size.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::BenchError;

/// Digits of the serial number in every file; it makes each upload's content new.
const SERIAL_DIGITS: usize = 16;
const SERIAL_PREFIX: &[u8] = b"{\"serial\":\"";

/// The société that the scenarios write to.
pub(crate) const SOCIETE: &str = "banc-essai";

/// Name of the download scenario's file `number`.
pub(crate) fn corpus_name(number: usize) -> String {
    format!("comptes_{number:04}.json")
}

/// A JSON text of `size` bytes (about, for tiny sizes) that `serial` makes unique.
pub(crate) fn document(size: usize, serial: u64) -> Vec<u8> {
    let mut text = String::with_capacity(size + 128);
    let mut line = 0;
    while text.len() + 200 < size {
        let separator = if line == 0 { "" } else { "," };
        let code = 600_000 + line * 7;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{separator}{{\"code_compte\":\"{code}\",\"libelle_compte\":\"Achats de fournitures n° {line}\",\
             \"montant\":{}.{:02},\"debit\":{}.00,\"credit\":0.00}}",
            line * 137 % 9973,
            line % 100,
            line * 31 % 7919
        );
        line += 1;
    }
    let head = format!(
        "{}{serial:0SERIAL_DIGITS$}\",\"comptes\":[{text}],\"note\":\"",
        String::from_utf8_lossy(SERIAL_PREFIX)
    );
    let padding = size.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(padding)).into_bytes()
}

/// Writes another serial number into a text made by [`document`], found at `start`.
pub(crate) fn set_serial(text: &mut [u8], start: usize, mut serial: u64) {
    let first = start + SERIAL_PREFIX.len();
    for place in text[first..first + SERIAL_DIGITS].iter_mut().rev() {
        *place = b'0' + (serial % 10) as u8;
        serial /= 10;
    }
}

/// Arguments of `relais-bench corpus`.
#[derive(clap::Args)]
pub(crate) struct CorpusArgs {
    /// The folder; the files go into a société below it
    folder: PathBuf,
    /// How many files
    #[arg(long, default_value_t = 64)]
    files: usize,
    /// Bytes of each file
    #[arg(long, default_value_t = 10_240)]
    size: usize,
}

#[derive(Serialize)]
pub(crate) struct CorpusReport {
    files: usize,
    societe: &'static str,
}

pub(crate) fn run(args: &CorpusArgs) -> Result<CorpusReport, BenchError> {
    let folder = args.folder.join(SOCIETE);
    std::fs::create_dir_all(&folder)?;
    for number in 0..args.files {
        std::fs::write(folder.join(corpus_name(number)), document(args.size, number as u64))?;
    }
    Ok(CorpusReport { files: args.files, societe: SOCIETE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_json_of_the_size_asked_for() {
        for size in [200, 1_000, 10_240, 300_000] {
            let text = document(size, 42);
            assert_eq!(text.len(), size);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(value["serial"], "0000000000000042");
        }
    }

    #[test]
    fn a_serial_number_can_be_written_in_place() {
        let mut text = document(500, 1);
        set_serial(&mut text, 0, 987_654_321);
        assert_eq!(text, document(500, 987_654_321));
    }
}
