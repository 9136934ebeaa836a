//! `relais push`: files to the server, only what changed.

use std::path::PathBuf;

use super::client::{ServerArgs, Stop, folder};
use super::transfer::send::{SendOptions, send_changed};
use super::{CliError, Globals};

/// Arguments of `relais push`.
#[derive(Debug, clap::Args)]
pub(super) struct PushArgs {
    /// Files, or folders of JSON files; without --societe, folders whose subfolders are sociétés
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The société that the files belong to
    #[arg(long, value_name = "S")]
    societe: Option<String>,
    /// How many files are sent at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Say what would be sent and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Delete on the server what is not in the folder
    #[arg(long)]
    delete: bool,
    /// Do so even if more goes than remains; on a terminal it is asked
    #[arg(long, requires = "delete")]
    allow_mass_delete: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Sends what differs from the server and prints what came of it.
pub(super) async fn run(args: PushArgs, globals: &Globals) -> Result<(), CliError> {
    if args.delete && !args.paths.iter().all(|path| path.is_dir()) {
        return Err(CliError::new("--delete compares whole folders: give folders, not files"));
    }
    let remote = args.server.remote(globals)?;
    let here = folder::collect(&args.paths, args.societe.as_deref())?;
    if here.files.is_empty() && here.left_out.is_empty() {
        let place = args.paths[0].display();
        return Err(CliError::new(format!(
            "no JSON files in {place}; `relais sample` makes some to try with"
        )));
    }
    let options = SendOptions {
        jobs: args.jobs.into(),
        dry_run: args.dry_run,
        delete: args.delete,
        mass_delete: args.allow_mass_delete,
        json: globals.json,
    };
    let summary = send_changed(&remote, here, options, &Stop::on_signals()).await?;
    if args.dry_run && !globals.json {
        summary.sent.iter().try_for_each(|item| super::out::line(&format!("send   {}", item.shown())))?;
        summary.deleted.iter().try_for_each(|item| super::out::line(&format!("delete {}", item.shown())))?;
    }
    summary.report("sent", globals.json)
}
