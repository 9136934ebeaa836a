//! What a peer may not send.

/// A packet that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No type, no data.
    #[error("an empty packet: a packet begins with its type, 0 to 6")]
    Empty,
    /// A type that does not exist.
    #[error("packet type {0:?} does not exist: the types are 0 to 6")]
    UnknownKind(char),
    /// A binary packet that is not in base64 where only text can be sent.
    #[error("the binary packet is not in base64")]
    Base64,
}

/// An HTTP body that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A packet in it cannot be read.
    #[error("packet {index} of the payload: {source}")]
    Packet {
        /// Its place in the payload, from 0.
        index: usize,
        /// What is wrong with it.
        source: PacketError,
    },
    /// Larger than the `maxPayload` of the handshake.
    #[error("a payload of {bytes} bytes: the handshake allows {max} (maxPayload)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// Our limit.
        max: u32,
    },
    /// More packets than our limit.
    #[error("a payload has at most {0} packets here")]
    TooManyPackets(u32),
    /// Text that is not UTF-8.
    #[error("the payload is not UTF-8")]
    NotUtf8,
    /// A version 3 length that is not a number of at most nine digits with its end mark.
    #[error("the length of packet {0} is not a number of at most 9 digits and its end mark")]
    Length(usize),
    /// A version 3 length that points beyond the payload or into a character.
    #[error("packet {0} is longer than the rest of the payload, or ends inside a character")]
    Truncated(usize),
}
