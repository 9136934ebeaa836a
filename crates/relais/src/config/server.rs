//! Settings of the server, the database, live connections, logs and traces.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::origin::{HostName, Origin};

/// Where the server listens and how it stops.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; in the configuration the address may be a host name, as in `localhost:8000`.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// The folder for all data of the server.
    pub data: PathBuf,
    /// Host names accepted by a server that is open to everyone, besides `localhost` and IP addresses: requests for any
    /// other are rejected, since a foreign page may point its own name at this server.
    pub names: Vec<HostName>,
    /// Origins that browsers may call from; `*` is every origin, without cookies. If empty, only the server's own
    /// origin.
    pub allowed_origins: Vec<Origin>,
    /// Addresses or networks of the reverse proxies in front. Only from them are `X-Forwarded-For`, for the client's
    /// address, and `X-Forwarded-Proto`, for https, trusted.
    pub trusted_proxies: Vec<Network>,
    /// Maximum number of connections, live ones included; fewer if the system allows fewer open files.
    pub connections_max: usize,
    /// Maximum number of connections from one address (one IPv6 network of 64 bits); 0 is no limit.
    pub connections_per_address_max: usize,
    /// Addresses or networks exempt from this limit.
    pub connections_unlimited_from: Vec<Network>,
    /// Seconds that a client may take to send its request headers, and that an idle connection is kept.
    pub header_timeout_s: u64,
    /// Seconds within which a request body or a response must make progress. A client that does not send its body gets
    /// 408; one that does not read its response is disconnected.
    pub body_stall_timeout_s: u64,
    /// Minimum rate that counts as progress, in bytes per second.
    pub transfer_rate_min: u64,
    /// Maximum bytes of all request bodies in memory at once, excluding uploads.
    pub body_memory_bytes: u64,
    /// Seconds over which live clients are asked to reconnect elsewhere when the server stops.
    pub drain_s: u64,
}

fn listen_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_listen(&text).map_err(serde::de::Error::custom)
}

/// Parses the address to listen on. A host name is resolved on this computer, preferring IPv4, which `localhost` always
/// has.
///
/// # Errors
/// What is wrong with it, and the expected form.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let wrong = |why: &str| {
        format!(
            "server.listen: {text:?} {why}; write ADDRESS:PORT, for instance 127.0.0.1:8000 or localhost:8000"
        )
    };
    let (name, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
    let port: u16 = port.parse().map_err(|_| wrong("has no port from 0 to 65535"))?;
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    if name.is_empty() || name.contains(['/', ':']) {
        return Err(wrong("has no address"));
    }
    let found = std::net::ToSocketAddrs::to_socket_addrs(&(name, port));
    let found: Vec<SocketAddr> = found.map_err(|e| wrong(&format!("names no computer ({e})")))?.collect();
    let fourth = found.iter().find(|address| address.is_ipv4());
    fourth.or(found.first()).copied().ok_or_else(|| wrong("names no computer"))
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            data: PathBuf::from("relais-data"),
            names: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            connections_max: 100_000,
            connections_per_address_max: 1024,
            connections_unlimited_from: ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|n| n.parse().ok())
                .collect(),
            header_timeout_s: 20,
            body_stall_timeout_s: 30,
            transfer_rate_min: 256,
            body_memory_bytes: 64 * 1024 * 1024,
            drain_s: 3,
        }
    }
}

/// The database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`; if unset, `relais.db` in the data folder.
    pub url: Option<String>,
    /// Number of read connections.
    pub readers: usize,
    /// Days for which events stay in the log, so that a client that was away for that long can still recover.
    pub events_days: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, readers: 4, events_days: 30 }
    }
}

/// Limits of live connections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HubLimits {
    /// Maximum number of live sessions.
    pub sessions_max: usize,
    /// Maximum number of live sessions from one address; 0 is no limit.
    pub sessions_per_address_max: usize,
    /// Maximum number of unauthenticated live sessions from one address, where credentials are required; 0 is no limit.
    /// All addresses together may have half of `sessions_max`.
    pub anonymous_per_address_max: usize,
    /// Maximum number of live sessions of one user or key; 0 is no limit.
    pub sessions_per_principal_max: usize,
    /// Topics that one session may request. What its user is a member of is not counted.
    pub subscriptions_per_session_max: usize,
    /// Maximum bytes queued for a slow reader before it is told to reconnect and resume.
    pub queue_bytes: usize,
    /// Maximum bytes of one message from a client.
    pub message_bytes: usize,
    /// Messages per second and connection; bursts may be twice as large.
    pub messages_per_s: u32,
    /// Whether WebSockets may use compression (permessage-deflate), each message on its own.
    pub compression: bool,
    /// Maximum number of events replayed to a returning client; one that missed more starts over.
    pub recover_events_max: usize,
    /// Seconds between two pings to an idle client.
    pub ping_interval_s: u32,
    /// Seconds without any traffic after which a client is considered gone.
    pub idle_timeout_s: u32,
    /// Seconds within which a client must authenticate, where that is required.
    pub authenticate_timeout_s: u32,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            sessions_max: 100_000,
            sessions_per_address_max: 0,
            anonymous_per_address_max: 1_000,
            sessions_per_principal_max: 0,
            subscriptions_per_session_max: 1_000,
            queue_bytes: 1024 * 1024,
            message_bytes: 64 * 1024,
            messages_per_s: 200,
            compression: false,
            recover_events_max: 10_000,
            ping_interval_s: 25,
            idle_timeout_s: 60,
            authenticate_timeout_s: 10,
        }
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The filter, in `tracing` syntax: `info`, `relais=debug`, ….
    pub filter: String,
    /// The format of a line.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Auto }
    }
}

/// Traces.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// Where traces are exported by OTLP over HTTP (`http://collector:4318`); if unset, nowhere.
    pub otlp_endpoint: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_address_may_be_a_name() {
        for (text, address) in [
            ("localhost:8000", "127.0.0.1:8000"),
            ("LOCALHOST:0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), address);
        }
        for wrong in
            ["8000", ":8000", "localhost", "localhost:http", "http://localhost:8000", "nowhere.invalid:1"]
        {
            let error = parse_listen(wrong).unwrap_err();
            assert!(error.contains("127.0.0.1:8000") && error.contains(wrong), "{error}");
        }
    }
}
