//! The chat over sockets: its own WebSocket at `/ws/chat`, and Socket.IO in the namespaces `/` and `/chat`.
//!
//! Both turn what a client says into [`crate::features::chat::Chat::obey`], and both hear the same events under the
//! same names: a client of one sees what a client of the other writes.

mod channels;
mod frames;
mod namespace;
mod socket;

pub use namespace::ChatNamespace;
pub(super) use socket::open_socket;
