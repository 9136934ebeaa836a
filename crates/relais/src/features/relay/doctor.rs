//! The checks of `relais doctor`: the folder, every file in it, and the schemas.

use std::path::Path;

use super::inspect::inspect;
use super::schema::Schemas;
use crate::config::Config;
use crate::disk;
use crate::finding::{Finding, named};

pub(super) async fn checks(config: &Config) -> Vec<Finding> {
    let folder = config.relay_files_dir();
    vec![
        Finding::new("files folder", disk::check_folder(&folder)),
        Finding::new("files", check_files(config).await),
        Finding::new("watching the files", check_watch(&folder)),
        Finding::new("schemas", check_schemas(config)),
    ]
}

/// The server skips a broken schema and continues; the doctor still reports it as a failure.
fn check_schemas(config: &Config) -> Result<String, String> {
    let rules = &config.relay.schemas;
    let broken =
        Schemas::load(rules).1.into_iter().map(|broken| format!("{}: {}", broken.file, broken.fault));
    let (all, broken) = (rules.len(), broken.collect::<Vec<_>>());
    if broken.is_empty() {
        return Ok(format!("{all} compiled"));
    }
    Err(format!(
        "{} of {all} cannot be used, files are not checked against them: {}",
        broken.len(),
        named(&broken)
    ))
}

/// Checks every file as the server would.
async fn check_files(config: &Config) -> Result<String, String> {
    let (path, relay) = (config.relay_files_dir(), config.relay.clone());
    let looked = tokio::task::spawn_blocking(move || inspect(&path, &relay)).await;
    let found = looked.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let served = format!("{} file(s) of {} société(s) are served", found.files, found.societes);
    if found.left_out.is_empty() {
        return Ok(served);
    }
    let left: Vec<String> =
        found.left_out.iter().map(|left| format!("{}: {}", left.spot, left.cause)).collect();
    Err(format!("{served}, {} left out: {}", left.len(), named(&left)))
}

fn check_watch(path: &Path) -> Result<String, String> {
    use notify::Watcher as _;
    let watched = notify::recommended_watcher(|_| {})
        .and_then(|mut watcher| watcher.watch(path, notify::RecursiveMode::NonRecursive));
    match watched {
        Ok(()) => Ok("changes by other programs are noticed at once".to_owned()),
        Err(error) => Err(format!(
            "{error}; the server compares the folder every few seconds instead. If a limit is reached, raise \
             fs.inotify.max_user_watches and fs.inotify.max_user_instances (sysctl)"
        )),
    }
}
