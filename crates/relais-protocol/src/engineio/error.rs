//! What makes a packet or payload from a peer invalid.

/// A packet that cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// An empty packet, without even a type.
    #[error("an empty packet: a packet begins with its type, 0 to 6")]
    Empty,
    /// An unknown packet type.
    #[error("packet type {0:?} does not exist: the types are 0 to 6")]
    UnknownKind(char),
    /// Invalid base64 in a binary packet on a text-only transport.
    #[error("the binary packet is not in base64")]
    Base64,
}

/// An HTTP body that cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// One of its packets cannot be parsed.
    #[error("packet {index} of the payload: {source}")]
    Packet {
        /// The packet's index in the payload, from 0.
        index: usize,
        /// What is wrong with it.
        source: PacketError,
    },
    /// Larger than the handshake's `maxPayload`.
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
    /// A version 3 length that is not a number of at most nine digits followed by its terminator.
    #[error("the length of packet {0} is not a number of at most 9 digits and its end mark")]
    Length(usize),
    /// A version 3 length that runs past the end of the payload or splits a character.
    #[error("packet {0} is longer than the rest of the payload, or ends inside a character")]
    Truncated(usize),
}
