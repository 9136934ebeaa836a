//! What a client did.

use bytes::Bytes;
use serde::Deserialize;

use crate::engineio::Text;

/// What the client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It wants to join: answer with [`Session::accept`](super::Session::accept) or [`Session::refuse`](super::Session::refuse).
    Connect {
        /// The namespace.
        namespace: String,
        /// The `auth` object, JSON.
        auth: Option<Text>,
        /// What it wants to go on with.
        recovery: Option<Recovery>,
    },
    /// It sent an event.
    Event {
        /// The namespace.
        namespace: String,
        /// If it asks for an acknowledgement: for [`Session::acknowledge`](super::Session::acknowledge).
        id: Option<u64>,
        /// The JSON array, for [`EventArguments::of`](super::super::EventArguments::of).
        data: Text,
        /// What the placeholders in it stand for.
        attachments: Vec<Bytes>,
    },
    /// It acknowledged an event of ours.
    Acknowledged {
        /// The namespace.
        namespace: String,
        /// Of [`Session::emit_with_ack`](super::Session::emit_with_ack).
        id: u64,
        /// The JSON array.
        data: Text,
        /// What the placeholders in it stand for.
        attachments: Vec<Bytes>,
    },
    /// It did not acknowledge an event of ours in time; a late acknowledgement is ignored.
    NotAcknowledged {
        /// The namespace.
        namespace: String,
        /// Of [`Session::emit_with_ack`](super::Session::emit_with_ack).
        id: u64,
    },
    /// It left a namespace.
    Disconnected {
        /// The namespace.
        namespace: String,
    },
}

/// What a client that lost its connection names to go on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recovery {
    /// The private id of the session that it had.
    pub pid: String,
    /// The last argument of the last event that it got; absent if it got none.
    pub offset: Option<String>,
}
