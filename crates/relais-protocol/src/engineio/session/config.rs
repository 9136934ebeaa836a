//! The rules of a session.

use std::time::Duration;

use super::super::{PayloadLimits, Version};

/// The rules of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The client's version.
    pub version: Version,
    /// A client of version 3 that takes text only (`b64=1`).
    pub base64: bool,
    /// Whether the WebSocket is offered to a polling client.
    pub upgrade: bool,
    /// Time between two heartbeats; the first comes after it, not at once.
    pub ping_interval: Duration,
    /// How long the answer to a heartbeat may take.
    pub ping_timeout: Duration,
    /// How long a WebSocket may take to be probed and to take over.
    pub upgrade_timeout: Duration,
    /// What a payload may hold; its bytes are the limit of a WebSocket frame too.
    pub payload: PayloadLimits,
    /// Bytes that may wait for a polling client before it is given up.
    pub queue_bytes: usize,
}

impl Config {
    /// The usual rules for a client of `version`.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            base64: false,
            upgrade: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            payload: PayloadLimits::default(),
            queue_bytes: 1 << 20,
        }
    }
}
