//! What a client may not do, and what cannot be said to it.

use std::time::Duration;

use super::super::DecodeError;

/// What ends the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// A packet that cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet for a namespace that was not joined.
    #[error("a packet for namespace {0:?}, which this connection has not joined: send CONNECT first")]
    NotConnected(String),
    /// A second CONNECT.
    #[error("namespace {0:?} is joined already")]
    ConnectedTwice(String),
    /// No namespace in time.
    #[error("no namespace was joined within {} ms of connecting", .0.as_millis())]
    ConnectTimeout(Duration),
    /// More namespaces than our limit.
    #[error("a connection joins at most {0} namespaces here")]
    TooManyNamespaces(usize),
    /// More acknowledgements asked for than our limit, or one twice.
    #[error("at most {0} events may wait for their acknowledgement here, each with an id of its own")]
    TooManyAcks(usize),
    /// A type that only a server sends.
    #[error("CONNECT_ERROR is sent by servers only")]
    ServerOnly,
}

/// What the server cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The namespace is not in the state for it.
    #[error("namespace {0:?} is not in the state for this: it left, or was answered already")]
    State(String),
    /// The event has a name that the libraries use for themselves.
    #[error("the event name {0:?} is reserved: choose another")]
    ReservedName(String),
    /// More acknowledgements are missing than may.
    #[error("{0} acknowledgements of this client are missing: send without one, or wait")]
    TooManyAcks(usize),
    /// An acknowledgement that nobody waits for (any more).
    #[error("event {0} waits for no acknowledgement: it has one, or waited too long")]
    NotAsked(u64),
    /// Data that the parser cannot write.
    #[error(transparent)]
    Data(#[from] DecodeError),
}
