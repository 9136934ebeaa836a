//! Errors of a session: violations by the client, and packets that cannot be sent to it.

use std::time::Duration;

use super::super::DecodeError;

/// A violation that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A packet that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet for a namespace that is not joined.
    #[error("a packet for namespace {0:?}, which this connection has not joined: send CONNECT first")]
    NotConnected(String),
    /// A second CONNECT for a namespace.
    #[error("namespace {0:?} is joined already")]
    ConnectedTwice(String),
    /// No namespace was joined in time.
    #[error("no namespace was joined within {} ms of connecting", .0.as_millis())]
    ConnectTimeout(Duration),
    /// More namespaces than our limit.
    #[error("a connection joins at most {0} namespaces here")]
    TooManyNamespaces(usize),
    /// More pending acknowledgements than our limit, or a duplicate id.
    #[error("at most {0} events may wait for their acknowledgement here, each with an id of its own")]
    TooManyAcks(usize),
    /// A packet type that only a server sends.
    #[error("CONNECT_ERROR is sent by servers only")]
    ServerOnly,
}

/// Why the server cannot send a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The namespace is not in the required state.
    #[error("namespace {0:?} is not in the state for this: it left, or was answered already")]
    State(String),
    /// The event's name is reserved by the libraries.
    #[error("the event name {0:?} is reserved: choose another")]
    ReservedName(String),
    /// Too many acknowledgements are pending.
    #[error("{0} acknowledgements of this client are missing: send without one, or wait")]
    TooManyAcks(usize),
    /// An acknowledgement that the client is not (or no longer) waiting for.
    #[error("event {0} waits for no acknowledgement: it has one, or waited too long")]
    NotAsked(u64),
    /// Data that the parser cannot encode.
    #[error(transparent)]
    Data(#[from] DecodeError),
}
