//! Violations by a client.

/// A violation of RFC 6455 or of our limits. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A client frame without a mask (section 5.1).
    #[error("a client must mask its frames")]
    NotMasked,
    /// RSV1, RSV2 or RSV3 is set although no extension was negotiated (section 5.2).
    #[error("a reserved bit is set, but no extension was agreed")]
    ReservedBits,
    /// An unknown opcode (section 5.2).
    #[error("opcode {0:#x} has no meaning")]
    UnknownOpcode(u8),
    /// A length that fits a shorter form, or has its top bit set (section 5.2).
    #[error("the length is not in its shortest form")]
    LengthForm,
    /// A control frame of more than 125 bytes (section 5.5).
    #[error("a control frame has at most 125 bytes")]
    ControlTooLong,
    /// A fragmented control frame (section 5.5).
    #[error("a control frame cannot be fragmented")]
    ControlFragmented,
    /// A continuation without a message in progress (section 5.4).
    #[error("a continuation without a beginning")]
    UnexpectedContinuation,
    /// A new message before the last fragment of the previous one (section 5.4).
    #[error("a new message inside a fragmented one")]
    ExpectedContinuation,
    /// A close frame whose payload is one byte long (section 5.5.1).
    #[error("a close frame has no code or one of two bytes")]
    CloseLength,
    /// A close code that may not be sent on the wire (section 7.4).
    #[error("close code {0} cannot be sent")]
    CloseCode(u16),
    /// Text, or a close reason, that is not UTF-8 (section 8.1).
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A compressed message that cannot be decompressed (RFC 7692 section 7.2.2).
    #[error("a compressed message cannot be unpacked")]
    Compression,
    /// A frame larger than our limit.
    #[error("a frame has at most {0} bytes here")]
    FrameTooLarge(u32),
    /// A message larger than our limit.
    #[error("a message has at most {0} bytes here")]
    MessageTooLarge(u32),
    /// A message in more fragments than our limit.
    #[error("a message has at most {0} fragments here")]
    TooManyFragments(u32),
}

impl ProtocolError {
    /// The close code to answer with (section 7.4.1): 1002, 1007 or 1009.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::NotUtf8 | Self::Compression => 1007,
            Self::FrameTooLarge(_) | Self::MessageTooLarge(_) | Self::TooManyFragments(_) => 1009,
            _ => 1002,
        }
    }
}
