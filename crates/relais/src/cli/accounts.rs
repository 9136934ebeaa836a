//! What the commands on users, tokens and keys share: the accounts, opened beside a server that may be running.

use std::sync::Arc;

use relais_protocol::time::{SharedClock, SystemClock};
use relais_store::{DatabaseUrl, Store, StoreConfig, StoreError};

use super::{CliError, Globals, out};
use crate::auth::{Auth, Policy};
use crate::features;
use crate::features::accounts::{Accounts, Actor};

/// Entries asked for at a time.
pub(super) const PAGE: usize = 200;

/// Opens the database that the configuration names. A running server sees changes within
/// [`CACHE_TTL_MS`](crate::auth::CACHE_TTL_MS).
pub(super) async fn open(globals: &Globals) -> Result<Opened, CliError> {
    let config = globals.load_config()?;
    let clock: SharedClock = Arc::new(SystemClock);
    let url: DatabaseUrl = config.database_url().parse().map_err(|e: StoreError| CliError::from(e))?;
    let made = url.is_missing().then(|| url.to_string());
    let mut store_config = StoreConfig::new(url);
    store_config.beside_server = true;
    store_config.readers = 1;
    let opened = tokio::task::spawn_blocking(move || {
        let store = Store::open(&store_config, &features::migrations(), clock.clone())?;
        let open_mode = config.auth.is_open(config.server.listen.ip());
        let policy = Policy { open_mode, topics: features::topics() };
        let auth = Auth::open(&config.auth, store.clone(), &config.server.data, policy, clock)
            .map_err(|e| CliError::new(e.to_string()))?;
        Ok::<_, CliError>(Opened { store, accounts: Accounts::new(auth) })
    });
    let opened = opened.await.map_err(|e| CliError::new(e.to_string()))?;
    if let (Ok(_), Some(made)) = (&opened, made) {
        out::note(&format!(
            "{made} is a new database. If a server has one already, name its folder by --data."
        ));
    }
    opened
}

/// The accounts and the store below them.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) accounts: Accounts,
}

impl Opened {
    /// Leaves the database tidy and passes the outcome on.
    pub(super) async fn close(self, outcome: Result<(), CliError>) -> Result<(), CliError> {
        self.store.shutdown().await;
        outcome
    }
}

/// The user of this terminal, for the audit log.
pub(super) fn actor() -> Actor {
    let login =
        std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
    let plain: String = login.chars().filter(|c| !c.is_control()).take(64).collect();
    Actor::named(format!("cli:{plain}"), None)
}
