//! Why a connection ended, for a polling client: the close packet of Engine.IO has no field for it.

use std::sync::Arc;

use relais_hub::{CloseCode, CloseReason};

/// The code and the reason that a WebSocket would have been closed with (RFC 6455, section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    pub(super) code: u16,
    pub(super) reason: Arc<str>,
}

impl Farewell {
    /// The payload of a close frame (RFC 6455, section 5.5.1).
    pub(super) fn of_frame(payload: &[u8]) -> Self {
        let (code, reason) = payload.split_first_chunk().unwrap_or((&[0x03, 0xe8], &[]));
        Self { code: u16::from_be_bytes(*code), reason: String::from_utf8_lossy(reason).into() }
    }

    /// Whether it is a normal close.
    pub(super) fn is_normal(&self) -> bool {
        self.code == CloseCode::Normal.number()
    }
}

impl From<&CloseReason> for Farewell {
    fn from(reason: &CloseReason) -> Self {
        Self { code: reason.code.number(), reason: reason.text.as_ref().into() }
    }
}
