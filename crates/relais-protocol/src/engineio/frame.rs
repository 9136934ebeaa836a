//! A packet as one WebSocket frame carries it.

use bytes::Bytes;

/// Bytes known to be valid UTF-8, shared rather than copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// Wraps the bytes if they are valid UTF-8.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        std::str::from_utf8(&bytes).is_ok().then_some(Self(bytes))
    }

    /// As a string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was made")
    }

    /// As shareable bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The same text without its first `bytes` bytes, which must end on a character boundary.
    pub(crate) fn skip(&self, bytes: usize) -> Self {
        debug_assert!(self.as_str().is_char_boundary(bytes), "a cut between characters");
        Self(self.0.slice(bytes..))
    }

    /// The slice of this text that `part` borrows from.
    pub(crate) fn slice_of(&self, part: &str) -> Self {
        Self(self.0.slice_ref(part.as_bytes()))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

/// A packet in a frame of its own: text starts with the packet's type, binary is the data of a message.
///
/// Version 3 prefixes binary with the type too, as a byte; that is added when frames are written, so that one frame
/// serves clients of both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Type and data as text.
    Text(Text),
    /// The bytes of a binary message.
    Binary(Bytes),
}

impl Frame {
    /// A text message.
    #[must_use]
    pub fn message(text: &str) -> Self {
        Self::Text(format!("4{text}").into())
    }

    /// Size in bytes, as counted against limits.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.0.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
