//! What makes a packet from a peer invalid.

use super::Kind;

/// A packet that cannot be parsed or that breaks a rule. Close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// An empty packet.
    #[error("an empty packet: a packet begins with its type, 0 to 6")]
    Empty,
    /// An unknown packet type.
    #[error("packet type {0:?} does not exist: the types are 0 to 6")]
    UnknownKind(char),
    /// The number of attachments of a binary packet is missing or not a number.
    #[error("a binary packet names the number of its attachments and '-' after its type")]
    AttachmentCount,
    /// More attachments than our limit.
    #[error("a packet has at most {0} attachments here")]
    TooManyAttachments(u32),
    /// Attachments larger than our limit, in bytes.
    #[error("the attachments of a packet have at most {0} bytes together here")]
    AttachmentsTooLarge(u32),
    /// A namespace longer than our limit.
    #[error("the name of a namespace has at most {0} bytes here")]
    NamespaceTooLong(u32),
    /// An acknowledgement id that does not fit in 64 bits.
    #[error("an acknowledgement id is a number of at most 64 bits")]
    AckId,
    /// A packet that requires an id but has none.
    #[error("an acknowledgement needs the id of what it acknowledges")]
    MissingAckId,
    /// A packet that has an id but may not.
    #[error("a packet of type {0:?} has no acknowledgement id")]
    UnexpectedAckId(Kind),
    /// Data larger than our limit.
    #[error("a packet of {bytes} bytes: at most {max} are allowed here")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Our limit.
        max: u32,
    },
    /// Data that is not valid JSON.
    #[error("the data is not valid JSON")]
    Json,
    /// Data nested deeper than our limit.
    #[error("the data is nested at most {0} deep here")]
    TooDeep(u32),
    /// More arguments than our limit.
    #[error("an event or acknowledgement has at most {0} elements here")]
    TooManyElements(u32),
    /// Data whose shape does not match the packet type ("Packet encoding").
    #[error("the data of a packet of type {kind:?} is {expected}")]
    Shape {
        /// The type.
        kind: Kind,
        /// The expected shape.
        expected: &'static str,
    },
    /// An event name reserved by the libraries.
    #[error("the event name {0:?} is reserved")]
    ReservedName(String),
    /// A placeholder that refers to no attachment.
    #[error("a placeholder names attachment {num}, but there are {count}, counted from 0")]
    PlaceholderRange {
        /// The index it refers to.
        num: String,
        /// How many attachments there are.
        count: usize,
    },
    /// Two placeholders for one attachment.
    #[error("attachment {0} has two placeholders")]
    PlaceholderTwice(usize),
    /// An attachment without a placeholder.
    #[error("attachment {0} has no placeholder")]
    PlaceholderMissing(usize),
    /// A placeholder where the encoding carries binary inline.
    #[error("a msgpack packet has its binary inline, not a map with the key _placeholder")]
    PlaceholderInline,
    /// Binary that was not announced by a packet.
    #[error("a binary message that no packet announced")]
    UnexpectedBinary,
    /// Text while attachments are expected.
    #[error("a text message before the {0} attachments that are still missing")]
    ExpectedBinary(usize),
    /// Text although the msgpack parser was negotiated.
    #[error("a text message, but the msgpack parser speaks binary")]
    ExpectedMsgpack,
    /// Bytes that are not msgpack, or not the map of a packet.
    #[error("not a msgpack packet: {0}")]
    Msgpack(&'static str),
}
