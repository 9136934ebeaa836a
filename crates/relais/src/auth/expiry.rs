//! Sessions that end when their credential does: a token that is valid for an hour does not open a
//! connection for ever.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use relais_hub::{CloseCode, CloseReason, Hub, Session, SessionId};
use relais_protocol::time::Timestamp;

/// When which session ends.
#[derive(Default)]
pub struct Expiries(Mutex<Ends>);

#[derive(Default)]
struct Ends {
    due: BTreeMap<(Timestamp, SessionId), Weak<Session>>,
    of: HashMap<SessionId, Timestamp>,
}

impl Expiries {
    /// Ends `session` at `at`, unless it has shown a credential that lasts longer. The time is steady: a clock that
    /// leaps neither ends nor prolongs a session.
    pub fn add(&self, at: Timestamp, session: &Arc<Session>) {
        let mut ends = self.0.lock();
        match ends.of.get(&session.id()) {
            Some(known) if *known >= at => return,
            Some(known) => {
                let earlier = (*known, session.id());
                ends.due.remove(&earlier);
            }
            None => {}
        }
        ends.of.insert(session.id(), at);
        ends.due.insert((at, session.id()), Arc::downgrade(session));
    }

    /// Closes what is due at `now`, in steady time; called about once a second.
    pub fn close_due(&self, hub: &Hub, now: Timestamp) {
        let due = {
            let mut ends = self.0.lock();
            let later = ends.due.split_off(&(now.plus_millis(1), SessionId(0)));
            let due = std::mem::replace(&mut ends.due, later);
            due.keys().for_each(|(_, session)| {
                ends.of.remove(session);
            });
            due
        };
        for session in due.into_values().filter_map(|session| session.upgrade()) {
            let text = "the credential has expired: sign in again, then reconnect and resume";
            hub.close(&session, CloseReason::new(CloseCode::NotAuthenticated, text));
        }
    }

    /// Removes sessions that have already ended; called periodically.
    pub fn forget_ended(&self) {
        let Ends { due, of } = &mut *self.0.lock();
        due.retain(|(_, id), session| {
            let stands = session.strong_count() > 0;
            if !stands {
                of.remove(id);
            }
            stands
        });
    }
}
