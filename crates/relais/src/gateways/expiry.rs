//! Sessions that end when their credential does: a token that is valid for an hour does not open a
//! connection for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use relais_hub::{CloseCode, CloseReason, Hub, Session, SessionId};
use relais_protocol::time::Timestamp;

/// When which session ends.
#[derive(Default)]
pub struct Expiries(Mutex<BTreeMap<(Timestamp, SessionId), Weak<Session>>>);

impl Expiries {
    /// Ends `session` at `at`.
    pub fn add(&self, at: Timestamp, session: &Arc<Session>) {
        self.0.lock().insert((at, session.id()), Arc::downgrade(session));
    }

    /// Closes what is due at `now`; called about once a second.
    pub fn close_due(&self, hub: &Hub, now: Timestamp) {
        let due = {
            let mut all = self.0.lock();
            let later = all.split_off(&(now.plus_millis(1), SessionId(0)));
            std::mem::replace(&mut *all, later)
        };
        for session in due.into_values().filter_map(|session| session.upgrade()) {
            let text = "the credential has expired: sign in again, then reconnect and resume";
            hub.close(&session, CloseReason::new(CloseCode::NotAuthenticated, text));
        }
    }

    /// Forgets sessions that have ended already; called now and then.
    pub fn forget_ended(&self) {
        self.0.lock().retain(|_, session| session.strong_count() > 0);
    }
}
