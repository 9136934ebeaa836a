//! The message rate limit of a connection.

use relais_hub::{CloseCode, CloseReason};

pub(super) use crate::pace::Pace;

/// Why a connection over the limit is closed.
pub(super) fn too_fast(per_second: u32) -> CloseReason {
    CloseReason::new(CloseCode::Policy, format!("more than {per_second} messages per second"))
}
