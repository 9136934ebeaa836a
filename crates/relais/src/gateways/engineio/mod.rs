//! Engine.IO connections, versions 3 and 4: HTTP long-polling, WebSocket, and the first upgraded to the second.
//!
//! The rules of the protocol are [`relais_protocol::engineio::Session`]; here is what they need of the world:
//! requests, sockets, and one session of the hub per connection, where all that the client is sent waits in one
//! order, as the WebSocket frames that it would be. A WebSocket gets them as they are; a polling client's GET
//! gets them as packets. The hub's timer sends the heartbeats and ends what has been silent for too long, so a
//! connection has no timer of its own.
//!
//! What the messages mean is an [`Application`]'s matter: Socket.IO is one.

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
