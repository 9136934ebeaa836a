//! The hub's own messages on an Engine.IO connection: heartbeats and the close.

use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{CloseReason, Dialect};
use relais_protocol::engineio::{Frame, Version};
use relais_protocol::event::Event;
use relais_protocol::websocket::close_frame;

use super::wire;

/// The dialect of the connection itself. The events of its channels are encoded in dialects of the application.
struct ConnectionDialect {
    name: &'static str,
    ping: Bytes,
}

/// The dialect of connections of `version`. In version 4 the server sends the heartbeats, in version 3 clients do.
pub(super) fn of(version: Version) -> Arc<dyn Dialect> {
    let mut ping = Vec::new();
    let name = match version {
        Version::V3 => "engineio-3",
        Version::V4 => {
            wire::write(&Frame::Text(wire::PING.into()), &mut ping);
            "engineio-4"
        }
    };
    Arc::new(ConnectionDialect { name, ping: ping.into() })
}

impl Dialect for ConnectionDialect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, _: &Event, _: &mut Vec<u8>) {}

    fn ping(&self) -> Bytes {
        self.ping.clone()
    }

    /// A client that expects a ping every `pingInterval` disconnects without one, however much else it receives.
    fn heartbeats_are_awaited(&self) -> bool {
        true
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        let mut out = Vec::new();
        close_frame(reason.code.number(), &reason.text, &mut out);
        out.into()
    }
}
