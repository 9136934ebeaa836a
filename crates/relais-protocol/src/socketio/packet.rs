//! What is said, whatever the parser.

use bytes::Bytes;

use crate::engineio::Text;

/// What a packet is for ("Exchange protocol"). Binary packets are events and acknowledgements with attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Joins a namespace, or says that it is joined.
    Connect = 0,
    /// Leaves a namespace.
    Disconnect = 1,
    /// An event.
    Event = 2,
    /// An acknowledgement.
    Ack = 3,
    /// A namespace cannot be joined.
    ConnectError = 4,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub kind: Kind,
    /// With its slash, without a query.
    pub namespace: String,
    /// Of the acknowledgement that is asked for or given.
    pub id: Option<u64>,
    /// JSON text; attachment `n` stands in it as `{"_placeholder":true,"num":n}`.
    pub data: Option<Text>,
    /// The binary parts.
    pub attachments: Vec<Bytes>,
}

impl Packet {
    /// A packet without id, data and attachments.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), id: None, data: None, attachments: Vec::new() }
    }
}

/// What one packet may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a packet without its attachments.
    pub packet_bytes: u32,
    /// Bytes of a namespace's name.
    pub namespace_bytes: u32,
    /// How deep its data is nested; at most 120.
    pub depth: u32,
    /// Elements of its array, the event's name included.
    pub elements: u32,
    /// Attachments.
    pub attachments: u32,
    /// Bytes of all its attachments together.
    pub attachment_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes: 1_000_000,
            namespace_bytes: 255,
            depth: 32,
            elements: 64,
            attachments: 16,
            attachment_bytes: 1_000_000,
        }
    }
}
