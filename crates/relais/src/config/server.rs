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
    /// Address and port; in a configuration the address may be a name, as in `localhost:8000`.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// The folder for everything the server keeps.
    pub data: PathBuf,
    /// Names by which clients reach a server that is open to everybody, beside `localhost` and addresses: it answers to
    /// no other, since a foreign page may have its own name point here.
    pub names: Vec<HostName>,
    /// Origins that browsers may call from; `*` is every origin, without cookies. Empty: the server's own origin only.
    pub allowed_origins: Vec<Origin>,
    /// Addresses or networks of the reverse proxies in front. From them, and from nobody else, `X-Forwarded-For`
    /// says where a client is, and `X-Forwarded-Proto` whether it uses https.
    pub trusted_proxies: Vec<Network>,
    /// Connections at most, live ones included; fewer if the system allows fewer open files.
    pub connections_max: usize,
    /// Connections of one address at most (one IPv6 network of 64 bits); 0 is no limit.
    pub connections_per_address_max: usize,
    /// Addresses or networks that this limit does not hold for.
    pub connections_unlimited_from: Vec<Network>,
    /// Seconds a client may take to send its request headers, and an idle connection is kept.
    pub header_timeout_s: u64,
    /// Seconds for a request body or an answer to make progress. A client that does not send its body gets 408, one
    /// that does not read its answer is closed.
    pub body_stall_timeout_s: u64,
    /// Bytes per second that count as progress.
    pub transfer_rate_min: u64,
    /// Bytes of request bodies in memory at once, all together, uploads apart.
    pub body_memory_bytes: u64,
    /// Seconds over which live clients are asked to reconnect elsewhere when the server stops.
    pub drain_s: u64,
}

fn listen_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_listen(&text).map_err(serde::de::Error::custom)
}

/// The address to listen on. A name stands for its address on this computer, of the fourth version if it has one, which
/// `localhost` always has.
///
/// # Errors
/// What is wrong with it, and how it should look.
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

/// Which database.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:PATH` or `postgres://…`; none: `relais.db` in the data folder.
    pub url: Option<String>,
    /// Connections for reading.
    pub readers: usize,
    /// Days that events stay in the log, so that a client that was away for so long still recovers.
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
    /// Live sessions at most.
    pub sessions_max: usize,
    /// Live sessions at most from one address; 0 is no limit.
    pub sessions_per_address_max: usize,
    /// Live sessions at most from one address whose client has not said who it is, where credentials are required; 0 is
    /// no limit. All addresses together may have half of `sessions_max`.
    pub anonymous_per_address_max: usize,
    /// Live sessions at most of one user or key; 0 is no limit.
    pub sessions_per_principal_max: usize,
    /// Topics that one session may ask for. What its person belongs to is not counted.
    pub subscriptions_per_session_max: usize,
    /// Bytes that may wait for a client that reads slowly, before it is told to reconnect and resume.
    pub queue_bytes: usize,
    /// Bytes of one message from a client.
    pub message_bytes: usize,
    /// Messages of one connection per second; twice as many may come at once.
    pub messages_per_s: u32,
    /// Whether WebSockets may be compressed (permessage-deflate), each message on its own.
    pub compression: bool,
    /// Events that a returning client is sent at most; one that missed more starts afresh.
    pub recover_events_max: usize,
    /// Seconds between two pings to a quiet client.
    pub ping_interval_s: u32,
    /// Seconds without any sign of life after which a client counts as gone.
    pub idle_timeout_s: u32,
    /// Seconds that a client which has to authenticate may take for it.
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

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// What is logged, as `tracing` filters: `info`, `relais=debug`, ….
    pub filter: String,
    /// How a line looks.
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
    /// Where traces go by OTLP over HTTP (`http://collector:4318`); none: nowhere.
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
