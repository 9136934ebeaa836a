//! Inputs from a client.

use bytes::Bytes;
use serde::Deserialize;

use crate::engineio::Text;

/// An input from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A request to join: answer with [`Session::accept`](super::Session::accept) or
    /// [`Session::refuse`](super::Session::refuse).
    Connect {
        /// The namespace.
        namespace: String,
        /// The `auth` object, JSON.
        auth: Option<Text>,
        /// The session to recover, if any.
        recovery: Option<Recovery>,
    },
    /// An event.
    Event {
        /// The namespace.
        namespace: String,
        /// If it requests an acknowledgement: the id for [`Session::acknowledge`](super::Session::acknowledge).
        id: Option<u64>,
        /// The JSON array, for [`EventArguments::of`](super::super::EventArguments::of).
        data: Text,
        /// The attachments that its placeholders refer to.
        attachments: Vec<Bytes>,
    },
    /// An acknowledgement of one of our events.
    Acknowledged {
        /// The namespace.
        namespace: String,
        /// Of [`Session::emit_with_ack`](super::Session::emit_with_ack).
        id: u64,
        /// The JSON array.
        data: Text,
        /// The attachments that its placeholders refer to.
        attachments: Vec<Bytes>,
    },
    /// An event of ours was not acknowledged in time; a late acknowledgement is ignored.
    NotAcknowledged {
        /// The namespace.
        namespace: String,
        /// Of [`Session::emit_with_ack`](super::Session::emit_with_ack).
        id: u64,
    },
    /// The client left a namespace.
    Disconnected {
        /// The namespace.
        namespace: String,
    },
}

/// What a client sends to recover after a lost connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Recovery {
    /// The private id of its previous session.
    pub pid: String,
    /// The last argument of the last event received; absent if there was none.
    pub offset: Option<String>,
}
