//! The configuration: defaults, then `relais.toml`, then the environment, then flags, validated as a whole.

mod auth;
mod chat;
mod client;
mod history;
mod jobs;
mod live;
mod load;
mod masked;
pub(crate) mod mqtt;
mod near;
mod network;
mod origin;
mod relay;
mod server;
mod socketio;
mod variables;

pub use auth::*;
pub use chat::{ChatAccess, ChatConfig};
pub use client::ClientConfig;
pub use history::HistoryConfig;
pub use jobs::JobsConfig;
pub use live::{AnswerWords, LiveConfig, ModuleType, ReconnectConfig};
pub use load::{ConfigError, Overrides, load, read};
pub use masked::{masked, masked_text};
pub use mqtt::{MqttConfig, MqttTopics};
pub(crate) use near::nearest;
pub use network::Network;
pub use origin::{HostName, Origin, canonical_origin};
pub use relay::{DuplicateKeys, RelayConfig, SchemaRule};
pub use server::{DatabaseConfig, HubLimits, LogConfig, LogFormat, ServerConfig, TelemetryConfig};

pub use socketio::{Recovery, SocketIoConfig};
pub use variables::unknown_variables;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All settings, one struct per concern.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens and how it stops.
    pub server: ServerConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The relay of JSON files.
    pub relay: RelayConfig,
    /// Authentication and authorisation.
    pub auth: AuthConfig,
    /// Conversations and messages.
    pub chat: ChatConfig,
    /// Live pages, and modules: machines in the field.
    pub live: LiveConfig,
    /// Durable jobs.
    pub jobs: JobsConfig,
    /// Limits of live connections.
    pub hub: HubLimits,
    /// Rules for Socket.IO clients.
    pub socketio: SocketIoConfig,
    /// What is logged and how.
    pub log: LogConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Settings of the client commands.
    pub client: ClientConfig,
}

impl Config {
    /// The folder of the relay's plain files.
    #[must_use]
    pub fn relay_files_dir(&self) -> PathBuf {
        self.relay.files_dir.clone().unwrap_or_else(|| self.server.data.join("payloads_societes"))
    }

    /// The URL of the database: the one that is set, else a SQLite file in the data folder.
    #[must_use]
    pub fn database_url(&self) -> String {
        self.database
            .url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", self.server.data.join("relais.db").display()))
    }
}
