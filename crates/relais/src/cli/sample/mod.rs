//! `relais sample`: realistic accounting exports of three sociétés, to try everything with.

mod chance;
mod documents;
mod indicators;
mod ledger;
mod plan;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::{ServerArgs, Stop, folder, progress};
use super::transfer::send::{SendOptions, send_changed};
use super::{CliError, Globals, out};

/// Arguments of `relais sample`.
#[derive(Debug, clap::Args)]
pub(super) struct SampleArgs {
    /// Where the files are written: DIR/<société>/<file>
    #[arg(long, value_name = "DIR", default_value = "payloads-sample")]
    out: PathBuf,
    /// Send them to the server too
    #[arg(long)]
    push: bool,
    /// The same seed makes the same files
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The years covered
    #[arg(long, value_name = "FIRST-LAST", default_value = "2021-2025", value_parser = parse_years)]
    years: RangeInclusive<u16>,
    #[command(flatten)]
    server: ServerArgs,
}

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Written {
    folder: PathBuf,
    societes: Vec<&'static str>,
    files: usize,
    bytes: usize,
}

/// Writes the files and, with `--push`, sends what the server does not have.
pub(super) async fn run(args: SampleArgs, globals: &Globals) -> Result<(), CliError> {
    // Settled before anything is written, so that a wrong address is noticed first.
    let remote = args.push.then(|| args.server.remote(globals)).transpose()?;
    let written = write(&args.out, args.years.clone(), args.seed)?;
    let Some(remote) = remote else {
        return if globals.json { out::json(&written) } else { announce(&written, true) };
    };
    if !globals.json {
        announce(&written, false)?;
    }
    let folders: Vec<PathBuf> = written.societes.iter().map(|societe| args.out.join(societe)).collect();
    let mut files = folder::Collected::default();
    for (societe, folder) in written.societes.iter().zip(folders) {
        files.files.extend(folder::collect(&[folder], Some(societe))?.files);
    }
    let options = SendOptions { jobs: 4, json: globals.json, ..SendOptions::default() };
    send_changed(&remote, files, options, &Stop::on_signals()).await?.report("sent", globals.json)
}

fn write(folder: &Path, years: RangeInclusive<u16>, seed: u64) -> Result<Written, CliError> {
    let mut written = Written { folder: folder.to_owned(), ..Written::default() };
    for profile in &ledger::PROFILES {
        let target = folder.join(profile.societe);
        let explained = |path: &Path, e: std::io::Error| {
            CliError::new(format!("{}: {e}; choose another folder with --out", path.display()))
        };
        std::fs::create_dir_all(&target).map_err(|e| explained(&target, e))?;
        let documents = documents::documents(profile, years.clone(), seed);
        for document in documents.map_err(|e| CliError::new(e.to_string()))? {
            let path = target.join(&document.filename);
            std::fs::write(&path, &document.content).map_err(|e| explained(&path, e))?;
            written.files += 1;
            written.bytes += document.content.len();
        }
        written.societes.push(profile.societe);
    }
    Ok(written)
}

fn announce(written: &Written, hint: bool) -> Result<(), CliError> {
    let (folder, size) = (written.folder.display(), progress::size(written.bytes as u64));
    out::line(&format!("{} files, {size}, in {folder}: {}", written.files, written.societes.join(", ")))?;
    if hint {
        out::note(&format!("send them with `relais push {folder}`"));
    }
    Ok(())
}

fn parse_years(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if (1990..=2100).contains(&first) && first <= last && last <= first + 30 => {
            Ok(first..=last)
        }
        _ => Err("give a year, or two of them like 2021-2025".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_one_or_a_range() {
        assert_eq!(parse_years("2023"), Ok(2023..=2023));
        assert_eq!(parse_years("2021-2025"), Ok(2021..=2025));
        for wrong in ["", "x", "2025-2021", "1-2", "2000-2099"] {
            assert!(parse_years(wrong).is_err(), "{wrong}");
        }
    }
}
