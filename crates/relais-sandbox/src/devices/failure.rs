//! Why a device lost its connection or could not connect.

use std::io;

/// The reason, counted by kind.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no WebSocket: the server answered {0:?}")]
    Handshake(String),
    #[error("no welcome within {0} s")]
    Unwelcome(u64),
    #[error("refused: {0}")]
    Refused(String),
    #[error("closed by the server with {code}: {reason}")]
    Closed { code: u16, reason: String },
    #[error("lost: {0}")]
    Lost(io::Error),
    #[error("the server takes nothing any more")]
    Stalled,
    #[error("the server sent {0}")]
    Protocol(&'static str),
    /// The device disconnected by itself: not an error.
    #[error("left by itself")]
    Left,
}

/// The kinds that are counted.
pub(super) const KINDS: [&str; 8] =
    ["connect", "handshake", "refused", "closed", "lost", "stalled", "protocol", "report"];
/// A report that the server rejected while the connection continues.
pub(super) const REPORT: usize = 7;

impl Failure {
    /// The index in [`KINDS`]; `None` if it is not an error.
    pub(super) fn kind(&self) -> Option<usize> {
        Some(match self {
            Self::Connect(_) => 0,
            Self::Handshake(_) | Self::Unwelcome(_) => 1,
            Self::Refused(_) => 2,
            Self::Closed { .. } => 3,
            Self::Lost(_) => 4,
            Self::Stalled => 5,
            Self::Protocol(_) => 6,
            Self::Left => return None,
        })
    }
}
