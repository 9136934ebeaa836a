//! `relais doctor`: tests everything the configuration names and reports the remedies.

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::time::SystemClock;
use relais_store::{Store, StoreConfig, StoreError};

use super::{CliError, Globals, out};
use crate::boot::listen_remedy;
use crate::config::{Config, masked};
use crate::declared::declared;
use crate::disk;
use crate::finding::{Finding, named};
use crate::outbound::{self, Obstacle};

/// How long a server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `relais doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

/// Tests one by one and reports all; fails if any test failed.
pub async fn run(_args: DoctorArgs, globals: &Globals) -> Result<(), CliError> {
    let config = globals.load_config()?;
    let mut findings = vec![
        Finding::new("configuration", Ok("complete and consistent".into())),
        Finding::new(
            "data folder",
            disk::check_folder(&config.server.data).map(|found| found + shared_with(&config.server.data)),
        ),
        Finding::new("database", check_database(&config).await),
        Finding::new("server", check_server(&config).await),
    ];
    for feature in declared() {
        findings.extend((feature.checks)(&config).await);
    }
    if let Some(url) = config.auth.jwks.url.clone() {
        findings.push(Finding::new("keys of the identity provider", check_url(&url).await));
    }
    if let Some(endpoint) = config.telemetry.otlp_endpoint.clone() {
        findings.push(Finding::new("trace collector", check_reachable(&endpoint).await));
    }
    report(&findings, globals.json)
}

fn report(findings: &[Finding], json: bool) -> Result<(), CliError> {
    if json {
        out::json(&findings)?;
    } else {
        for found in findings {
            out::line(&found.line())?;
        }
    }
    match findings.iter().filter(|found| !found.ok).count() {
        0 => Ok(()),
        count => Err(CliError::after_result(format!("{count} of {} tests failed", findings.len()))),
    }
}

/// The folder is the server's own; who made it may have left it open.
fn shared_with(path: &std::path::Path) -> &'static str {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = path.metadata().map_or(0, |found| found.permissions().mode());
    if mode & 0o077 == 0 {
        ""
    } else {
        ", but other users of this computer may look into it: chmod 700 closes it"
    }
}

async fn unreadable_rows(store: &Store) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for feature in declared() {
        found.extend((feature.unreadable_rows)(store).await?);
    }
    Ok(found)
}

async fn check_database(config: &Config) -> Result<String, String> {
    let url: relais_store::DatabaseUrl =
        config.database_url().parse().map_err(|e: StoreError| e.to_string())?;
    let (shown, remote, checked) = (url.to_string(), url.is_remote(), url.checks_certificate());
    let mut store_config = StoreConfig::new(url);
    store_config.beside_server = true;
    store_config.readers = 1;
    let opened = tokio::task::spawn_blocking(move || {
        Store::open(&store_config, &crate::features::migrations(), Arc::new(SystemClock))
    });
    let store = opened.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    let works = store.check_writes().await;
    let tls = store.tls_version().await;
    let head = store.head();
    let broken = unreadable_rows(&store).await;
    store.shutdown().await;
    works.map_err(|e| e.to_string())?;
    let broken = broken.map_err(|e| e.to_string())?;
    if !broken.is_empty() {
        return Err(format!("{shown}: these rows cannot be read, and are left out: {}", named(&broken)));
    }
    let way = describe_way(tls.map_err(|e| e.to_string())?.as_deref(), checked, remote);
    Ok(format!("{shown} reads and writes{way}; the log has {} events", head.seq))
}

/// How safe the way to the database server is, and how to make it safer.
fn describe_way(tls: Option<&str>, checked: bool, remote: bool) -> String {
    match (tls, checked) {
        (Some(version), true) => format!(" over {version}"),
        (Some(version), false) => {
            format!(" over {version}, but whose server it is was not checked: sslmode=verify-full checks it")
        }
        (None, _) if remote => {
            " without encryption: sslmode=verify-full in its address asks for it".to_owned()
        }
        (None, _) => String::new(),
    }
}

/// That no server runs is not an error: the doctor is asked before the first start, too.
async fn check_server(config: &Config) -> Result<String, String> {
    let address = config.server.listen;
    let url = format!("http://{address}/readyz");
    match get(&url).await {
        Ok(status) if status.is_success() => Ok(format!("runs at http://{address} and is ready")),
        Ok(status) => Err(format!("something at http://{address} answers {status}; see its log")),
        Err(_) => match crate::web::listen(address) {
            Ok(_) => Ok(format!("does not run; http://{address} is free for it")),
            Err(error) => Err(format!("cannot listen on {address}: {error}; {}", listen_remedy(&error))),
        },
    }
}

async fn check_url(url: &str) -> Result<String, String> {
    let (url, answer) = (masked(url), get(url).await);
    match answer {
        Ok(status) if status.is_success() => Ok(format!("{url} answers")),
        Ok(status) => Err(format!("{url} answers {status}; check the address")),
        Err(error) => Err(format!("{url}: {error}")),
    }
}

async fn check_reachable(url: &str) -> Result<String, String> {
    let (url, answer) = (masked(url), get(url).await);
    answer.map(|_| format!("{url} can be reached")).map_err(|error| format!("{url}: {error}"))
}

async fn get(url: &str) -> Result<reqwest::StatusCode, String> {
    let client = outbound::client_for(url).timeout(ANSWER_TIMEOUT).build().map_err(|e| e.to_string())?;
    client.get(url).send().await.map(|answer| answer.status()).map_err(|error| {
        let (obstacle, reason) = Obstacle::of(&error, error.is_timeout());
        let proxy = reqwest::Url::parse(url).ok();
        let proxy = proxy.and_then(|url| outbound::proxy_for(&url, |name| std::env::var(name).ok()));
        let via = proxy.map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
        format!("{reason}{via}; {}", obstacle.remedy())
    })
}

#[cfg(test)]
mod tests {
    use super::describe_way;

    #[test]
    fn an_unsafe_way_to_the_database_is_told_with_the_way_out() {
        assert_eq!(describe_way(Some("TLSv1.3"), true, true), " over TLSv1.3");
        assert!(describe_way(Some("TLSv1.3"), false, true).contains("sslmode=verify-full"));
        assert!(describe_way(None, false, true).contains("without encryption"));
        assert_eq!(describe_way(None, false, false), "", "nobody listens inside this computer");
    }
}
