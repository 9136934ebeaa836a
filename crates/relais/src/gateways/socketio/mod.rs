//! Socket.IO 5 (and 4, for clients on Engine.IO 3) on an Engine.IO endpoint.
//!
//! A connection is one session of the hub, however many namespaces it joins. Events of a channel are encoded in the
//! dialect of the subscribing namespace: once per namespace, with the bytes shared by all its clients
//! ([`dialect`](self)).
//!
//! A feature implements [`Namespace`]: which clients are accepted, which channels they are subscribed to and from which
//! position, and how their events are handled. It sends to one client through its [`Socket`], and to all others by
//! publishing events.

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
