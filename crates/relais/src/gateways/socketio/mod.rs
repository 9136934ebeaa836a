//! Socket.IO 5 (and 4, for clients on Engine.IO 3) on an Engine.IO endpoint.
//!
//! A connection is one session of the hub, however many namespaces it joins. What a channel carries is told in
//! the dialect of the namespace that listens, so an event is encoded once per namespace and the bytes are shared
//! by everybody there ([`dialect`](self)).
//!
//! A feature implements [`Namespace`]: who may come in, which channels a client hears and since when, what its
//! events do. It speaks to one client through its [`Socket`], and to everybody else by publishing events.

mod conversation;
mod dialect;
mod entrance;
mod incoming;
mod messages;
mod namespace;
mod recovery;
mod routes;
mod server;
mod shared;
mod socket;

pub use incoming::{Incoming, Reply};
pub use messages::Messages;
pub use namespace::{Admission, ConnectRequest, Namespace, Refused, Welcome};
pub(super) use routes::router;
pub use server::{Settings, SocketIo};
pub use shared::{Guest, Namespaces};
pub use socket::{AskError, Because, Socket};
