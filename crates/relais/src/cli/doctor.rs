//! `relais doctor`: test everything the configuration names and say what to do.

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::time::SystemClock;
use relais_store::{Store, StoreConfig};
use serde::Serialize;

use super::{CliError, Globals, out};
use crate::config::Config;

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `relais doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    detail: String,
}

/// Tests one by one and reports all; fails if any test failed.
pub async fn run(_args: DoctorArgs, globals: &Globals) -> Result<(), CliError> {
    let config = globals.load_config()?;
    let mut findings = vec![
        finding("configuration", Ok("complete and consistent".into())),
        finding("data folder", check_folder(&config.server.data)),
        finding("files folder", check_folder(&config.relay_files_dir())),
        finding("database", check_database(&config).await),
        finding("schemas", check_schemas(&config)),
        finding("server", check_server(&config).await),
    ];
    if let Some(url) = config.auth.jwks.url.clone() {
        findings.push(finding("keys of the identity provider", check_url(&url).await));
    }
    if let Some(endpoint) = config.telemetry.otlp_endpoint.clone() {
        findings.push(finding("trace collector", check_reachable(&endpoint).await));
    }
    report(&findings, globals.json)
}

fn finding(what: &'static str, outcome: Result<String, String>) -> Finding {
    let ok = outcome.is_ok();
    let (Ok(detail) | Err(detail)) = outcome;
    Finding { what, ok, detail }
}

fn report(findings: &[Finding], json: bool) -> Result<(), CliError> {
    if json {
        out::json(&findings)?;
    } else {
        for found in findings {
            out::line(&format!("{} {}: {}", if found.ok { "✓" } else { "✗" }, found.what, found.detail))?;
        }
    }
    match findings.iter().filter(|found| !found.ok).count() {
        0 => Ok(()),
        count => Err(CliError::new(format!("{count} of {} tests failed", findings.len()))),
    }
}

fn check_folder(path: &std::path::Path) -> Result<String, String> {
    let fix =
        |error: std::io::Error| format!("{}: {error}; check its permissions and its mount", path.display());
    std::fs::create_dir_all(path).map_err(fix)?;
    let probe = path.join(format!(".relais-doctor-{}", std::process::id()));
    std::fs::write(&probe, b"probe").map_err(fix)?;
    std::fs::remove_file(&probe).map_err(fix)?;
    Ok(format!("{} can be written", path.display()))
}

async fn check_database(config: &Config) -> Result<String, String> {
    let url: relais_store::DatabaseUrl =
        config.database_url().parse().map_err(|e: relais_store::StoreError| e.to_string())?;
    let shown = url.to_string();
    let mut store_config = StoreConfig::new(url);
    store_config.beside_server = true;
    store_config.readers = 1;
    let opened = tokio::task::spawn_blocking(move || {
        Store::open(&store_config, &crate::features::migrations(), Arc::new(SystemClock))
    });
    let store = opened.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let checked = store.check().await.map_err(|e| e.to_string());
    let head = store.head();
    store.shutdown().await;
    checked.map(|()| format!("{shown} reads and writes; the log has {} events", head.seq))
}

fn check_schemas(config: &Config) -> Result<String, String> {
    crate::features::relay::check_schemas(&config.relay.schemas)
        .map(|()| format!("{} compiled", config.relay.schemas.len()))
}

/// That no server runs is not an error: the doctor is asked before the first start, too.
async fn check_server(config: &Config) -> Result<String, String> {
    let address = config.server.listen;
    let url = format!("http://{address}/readyz");
    match get(&url).await {
        Ok(status) if status.is_success() => Ok(format!("runs at http://{address} and is ready")),
        Ok(status) => Err(format!("something at http://{address} answers {status}; see its log")),
        Err(_) => match crate::http::listen(address) {
            Ok(_) => Ok(format!("does not run; http://{address} is free for it")),
            Err(error) => Err(format!("cannot listen on {address}: {error}; choose another with --listen")),
        },
    }
}

async fn check_url(url: &str) -> Result<String, String> {
    match get(url).await {
        Ok(status) if status.is_success() => Ok(format!("{url} answers")),
        Ok(status) => Err(format!("{url} answers {status}; check the address")),
        Err(error) => Err(format!("{url}: {error}; check the address, the network and the certificate")),
    }
}

async fn check_reachable(url: &str) -> Result<String, String> {
    get(url).await.map(|_| format!("{url} can be reached")).map_err(|error| format!("{url}: {error}"))
}

async fn get(url: &str) -> Result<reqwest::StatusCode, String> {
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build().map_err(|e| e.to_string())?;
    client.get(url).send().await.map(|answer| answer.status()).map_err(|e| e.without_url().to_string())
}
