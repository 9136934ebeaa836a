//! Engine.IO connections, versions 3 and 4: HTTP long-polling, WebSocket, and the upgrade from the first to the second.
//!
//! The rules of the protocol are [`relais_protocol::engineio::Session`]; this module provides its I/O: requests,
//! sockets, and one session of the hub per connection, where everything sent to the client is queued in one order, as
//! WebSocket frames. A WebSocket gets them unchanged; a polling client's GET gets them as packets. The hub's timer
//! sends the heartbeats and closes idle sessions, so a connection has no timer of its own.
//!
//! The meaning of the messages belongs to an [`Application`]: Socket.IO is one.

mod application;
mod body;
mod client;
mod connection;
mod dialect;
mod endpoint;
mod farewell;
mod polling;
mod probe;
mod query;
mod registry;
mod reply;
mod websocket;
mod wire;

pub use application::{Application, Arrival, Callers, Conversation, Opened};
pub use client::Client;
pub(crate) use endpoint::new_id;
pub use endpoint::{Endpoint, Settings};
