//! Heartbeats (section "Heartbeat"): in version 4 the server sends pings, in version 3 the client does.

use std::time::Instant;

use super::super::{Kind, Packet, Version};
use super::Config;

#[derive(Clone, Copy, Debug)]
pub(super) enum Heartbeat {
    /// Version 4: when the next ping is sent.
    PingAt(Instant),
    /// Version 4: the deadline for the pong.
    PongBy(Instant),
    /// Version 3: the deadline for the next packet.
    HearBy(Instant),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    Dead,
}

impl Heartbeat {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        match config.version {
            Version::V4 => Self::PingAt(now + config.ping_interval),
            Version::V3 => Self::HearBy(now + config.ping_interval + config.ping_timeout),
        }
    }

    pub(super) const fn deadline(&self) -> Instant {
        let (Self::PingAt(at) | Self::PongBy(at) | Self::HearBy(at)) = *self;
        at
    }

    pub(super) fn heard(&mut self, config: &Config, packet: &Packet, now: Instant) {
        match self {
            // An unsolicited pong proves nothing and delays nothing.
            Self::PongBy(_) if packet.kind == Kind::Pong => *self = Self::PingAt(now + config.ping_interval),
            Self::HearBy(_) => *self = Self::new(config, now),
            Self::PongBy(_) | Self::PingAt(_) => {}
        }
    }

    pub(super) fn due(&mut self, config: &Config, now: Instant) -> Due {
        if now < self.deadline() {
            return Due::Nothing;
        }
        match self {
            Self::PingAt(_) => {
                *self = Self::PongBy(now + config.ping_timeout);
                Due::Ping
            }
            Self::PongBy(_) | Self::HearBy(_) => Due::Dead,
        }
    }
}
