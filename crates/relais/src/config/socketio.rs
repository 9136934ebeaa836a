//! Settings of Socket.IO.

use serde::{Deserialize, Serialize};

/// Which clients receive an offset with every event and can recover.
///
/// A client that does not know of offsets would take them for an argument of its events, and only the JavaScript
/// library ignores extra arguments: so clients opt in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Recovery {
    /// Clients that opt in: `recovery: true` in the `auth` object, or `recovery=1` in the query.
    #[default]
    Asked,
    /// All clients, for servers whose clients all use `socket.io-client`.
    Always,
    /// No clients.
    Never,
}

/// Settings for Socket.IO clients. Heartbeats and the maximum number of connections are those of all live connections
/// (`hub`).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketIoConfig {
    /// Whether clients of Socket.IO 2 (Engine.IO 3) are supported.
    pub allow_eio3: bool,
    /// Maximum bytes of one message or one polling request of a client.
    pub message_bytes: u32,
    /// Maximum number of binary attachments of one event.
    pub attachments_max: u32,
    /// Maximum bytes of all attachments of one event together.
    pub attachment_bytes: u32,
    /// Messages per second and connection; bursts may be twice as large.
    pub events_per_s: u32,
    /// Maximum number of namespaces per connection.
    pub namespaces_max: usize,
    /// Seconds within which a client must join its first namespace.
    pub connect_timeout_s: u32,
    /// Seconds that an upgrade from polling to WebSocket may take.
    pub upgrade_timeout_s: u64,
    /// Seconds that an acknowledgement may take, in either direction.
    pub ack_timeout_s: u64,
    /// Whether WebSockets may use compression (permessage-deflate). It costs CPU time and saves bandwidth.
    pub compression: bool,
    /// Which clients receive offsets with events, to recover after a lost connection: `asked`, `always` or `never`.
    pub recovery: Recovery,
}

impl Default for SocketIoConfig {
    fn default() -> Self {
        Self {
            allow_eio3: true,
            message_bytes: 1_000_000,
            attachments_max: 16,
            attachment_bytes: 1_000_000,
            events_per_s: 200,
            namespaces_max: 16,
            connect_timeout_s: 45,
            upgrade_timeout_s: 10,
            ack_timeout_s: 30,
            compression: false,
            recovery: Recovery::Asked,
        }
    }
}

impl SocketIoConfig {
    /// Settings that a server cannot run with.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.message_bytes < 1_000 {
            found
                .push(format!("socketio.message_bytes: {} leaves no room for a message", self.message_bytes));
        }
        if self.events_per_s == 0 || self.namespaces_max == 0 {
            found.push("socketio.events_per_s, socketio.namespaces_max: 0 would refuse every client".into());
        }
        found
    }
}
