//! The settings of a session.

use std::time::Duration;

use super::super::{PayloadLimits, Version};

/// The settings of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The client's version.
    pub version: Version,
    /// Whether a client of version 3 accepts text only (`b64=1`).
    pub base64: bool,
    /// Whether the upgrade to WebSocket is offered to a polling client.
    pub upgrade: bool,
    /// Time between two heartbeats; the first is sent after one interval, not at once.
    pub ping_interval: Duration,
    /// How long the reply to a heartbeat may take.
    pub ping_timeout: Duration,
    /// How long the probe and the upgrade to WebSocket may take.
    pub upgrade_timeout: Duration,
    /// The limits of a payload; its byte limit applies to a WebSocket frame too.
    pub payload: PayloadLimits,
    /// Maximum bytes queued for a polling client before its session is closed.
    pub queue_bytes: usize,
}

impl Config {
    /// The default settings for a client of `version`.
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
