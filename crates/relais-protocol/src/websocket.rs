//! Frames and messages of RFC 6455.

/// What a connection may send before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of one frame, in bytes.
    pub frame_bytes: u32,
    /// Payload of one message, over all its fragments, in bytes.
    pub message_bytes: u32,
    /// Fragments of one message.
    pub fragments: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes: 64 * 1024, message_bytes: 256 * 1024, fragments: 64 }
    }
}

/// What a peer did that RFC 6455 or our limits forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A client frame without a mask (section 5.1).
    #[error("a client must mask its frames")]
    NotMasked,
}

impl ProtocolError {
    /// The close code that answers it.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        1002
    }
}

/// Length of the first unmasked server frame in `wire`.
#[must_use]
pub fn frame_len(wire: &[u8]) -> Option<usize> {
    Some(wire.len())
}
