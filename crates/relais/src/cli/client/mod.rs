//! The commands' side of the relay's HTTP contract: which server, requests, retries, local folders.

mod error;
pub(super) mod folder;
mod interrupt;
pub(super) mod model;
pub(super) mod names;
pub(super) mod progress;
mod remote;
mod sse;
#[cfg(test)]
pub(super) mod stub;

pub(super) use crate::backoff::Backoff;
pub(super) use error::ClientError;
pub(super) use interrupt::Stop;
pub(super) use remote::{ChangesQuery, Remote};
pub(super) use sse::SseParser;

use std::time::Duration;

use super::{CliError, Globals};

/// The server that commands talk to if none is named.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8000";

/// Which server, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ServerArgs {
    /// Address of the server [env: RELAIS_SERVER] [config: client.server] [default: http://127.0.0.1:8000]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// API key or token [env: RELAIS_KEY] [config: client.key]
    #[arg(long, value_name = "KEY")]
    key: Option<Key>,
    /// How often a request that failed for a passing reason is tried again
    #[arg(long, value_name = "N", default_value_t = 4)]
    retries: u32,
}

/// A key as given; its text is never shown.
#[derive(Clone)]
pub(super) struct Key(String);

impl Key {
    /// The text itself, for a request's header.
    pub(super) fn text(&self) -> &str {
        self.0.trim()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("••••••")
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl ServerArgs {
    /// How often a request that failed for a passing reason is tried again.
    pub(super) fn retries(&self) -> u32 {
        self.retries
    }

    /// The server named by flags, else environment, else configuration file. Nothing is sent yet.
    ///
    /// # Errors
    /// [`CliError`] if the configuration or the address is wrong.
    pub(super) fn remote(&self, globals: &Globals) -> Result<Remote, CliError> {
        let (mut server, mut key) = (self.server.clone(), self.key.clone().map(|key| key.0));
        if server.is_none() || key.is_none() {
            let configured = globals.load_config()?.client;
            server = server.or(configured.server);
            key = key.or(configured.key);
        }
        let server = server.filter(|text| !text.trim().is_empty());
        let key = key.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(Remote::new(server.as_deref().unwrap_or(DEFAULT_SERVER), key.as_deref(), self.retries)?)
    }
}

/// The pauses of a command that tries again.
pub(super) fn backoff() -> Backoff {
    Backoff::from_entropy(Duration::from_millis(250), Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let args = ServerArgs { key: Some("rk_1_hunter2".into()), ..ServerArgs::default() };
        assert!(!format!("{args:?}").contains("hunter2"));
        let remote = Remote::new("http://127.0.0.1:1", Some("rk_1_hunter2"), 0).unwrap();
        assert!(!format!("{remote:?}").contains("hunter2"));
    }
}
