//! Live connections whose credential or rights ended.

use relais_hub::{CloseCode, CloseReason, Hub};

use super::Ended;

/// Closes the live connections that came with what ended. Those of one session alone, if it was signed out of.
pub fn end_connections(hub: &Hub, ended: &Ended) {
    match &ended.session {
        Some(session) => hub.close_sign_in(&ended.principal, session, signed_out()),
        None => hub.close_principal(&ended.principal, rights_changed()),
    }
}

/// Why a session of the hub ends whose person signed out. The new connection is nobody's, or has the new session.
fn signed_out() -> CloseReason {
    CloseReason::new(CloseCode::ServiceRestart, "signed out: reconnect")
}

/// Why a session ends whose person's rights are others now: the new connection gets the new rights.
pub(crate) fn rights_changed() -> CloseReason {
    CloseReason::new(CloseCode::ServiceRestart, "your rights have changed: reconnect and resume")
}
