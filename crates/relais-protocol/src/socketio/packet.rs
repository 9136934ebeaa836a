//! A packet, independent of the parser.

use bytes::Bytes;

use crate::engineio::Text;

/// The packet types ("Exchange protocol"). Binary packets are events and acknowledgements with attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Joins a namespace, or confirms that it is joined.
    Connect = 0,
    /// Leaves a namespace.
    Disconnect = 1,
    /// An event.
    Event = 2,
    /// An acknowledgement.
    Ack = 3,
    /// Refuses to join a namespace.
    ConnectError = 4,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type.
    pub kind: Kind,
    /// With its slash, without a query.
    pub namespace: String,
    /// The id of the acknowledgement that is requested or given.
    pub id: Option<u64>,
    /// JSON text; attachment `n` appears in it as `{"_placeholder":true,"num":n}`.
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

/// The limits of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of a packet without its attachments.
    pub packet_bytes: u32,
    /// Maximum bytes of a namespace's name.
    pub namespace_bytes: u32,
    /// Maximum nesting of its data; at most 120.
    pub depth: u32,
    /// Maximum number of elements of its array, the event's name included.
    pub elements: u32,
    /// Maximum number of attachments.
    pub attachments: u32,
    /// Maximum bytes of all its attachments together.
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
