//! Live connections whose credential or rights have ended.

use relais_hub::{CloseCode, CloseReason, Hub};

use super::Ended;

/// Closes the live connections of what ended. Those of one session only, if that was signed out.
pub fn end_connections(hub: &Hub, ended: &Ended) {
    match &ended.session {
        Some(session) => hub.close_sign_in(&ended.principal, session, signed_out()),
        None => hub.close_principal(&ended.principal, rights_changed()),
    }
}

/// Why a hub session ends when its user signs out. The new connection is anonymous, or has the new session.
fn signed_out() -> CloseReason {
    CloseReason::new(CloseCode::ServiceRestart, "signed out: reconnect")
}

/// Why a session ends when its user's rights change: the new connection gets the new rights.
pub(crate) fn rights_changed() -> CloseReason {
    CloseReason::new(CloseCode::ServiceRestart, "your rights have changed: reconnect and resume")
}
