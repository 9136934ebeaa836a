//! Timers of sessions: pings, idle timeout, and close timeout.

use std::sync::atomic::Ordering::Relaxed;

use crate::close::{CloseCode, CloseReason};
use crate::engine::Engine;
use crate::outbox::State;

impl Engine {
    /// One second passes.
    pub(crate) fn tick(&mut self) {
        let due = self.timer_wheel.advance();
        self.shared.now_s.store(self.timer_wheel.now(), Relaxed);
        for (slot, id) in due {
            self.look_at(slot, id);
        }
    }

    /// Schedules the next check of the session.
    pub(crate) fn schedule(&mut self, slot: u32, id: u64) {
        let idle_timeout_s = self.shared.config.idle_timeout_s;
        let Some(entry) = self.members.entry(slot, id) else { return };
        let mut due = entry.deadline_s;
        if entry.session.state() == State::Open {
            due = due.min(entry.session.active_at_s() + idle_timeout_s);
            if entry.identify_by_s > 0 {
                due = due.min(entry.identify_by_s);
            }
        }
        let due = self.timer_wheel.schedule((slot, id), due);
        if let Some(entry) = self.members.entry(slot, id) {
            entry.due_s = due;
        }
    }

    fn look_at(&mut self, slot: u32, id: u64) {
        let now = self.timer_wheel.now();
        let config = &self.shared.config;
        let (ping_interval_s, idle_timeout_s) = (config.ping_interval_s, config.idle_timeout_s);
        let Some(entry) = self.members.entry(slot, id).filter(|entry| entry.due_s == now) else { return };
        if entry.session.state() != State::Open {
            if now < entry.deadline_s {
                return self.schedule(slot, id);
            }
            entry.session.kill();
            return self.ended(slot, id);
        }
        if entry.identify_by_s > 0 && now >= entry.identify_by_s {
            return self.begin_close(slot, &CloseCode::NotAuthenticated.into());
        }
        if now - entry.session.active_at_s().min(now) >= idle_timeout_s {
            let silent = CloseReason::new(CloseCode::ServiceRestart, "silent too long: reconnect and resume");
            entry.session.begin_close(&silent);
            // It is closed in case it is alive after all. Its answer is not awaited: its owner must be notified now.
            entry.session.kill();
            return self.ended(slot, id);
        }
        if entry.session.is_stalled(now) {
            let stalled =
                CloseReason::new(CloseCode::Policy, "a message does not come to its end: send it faster");
            return self.begin_close(slot, &stalled);
        }
        if now >= entry.deadline_s {
            entry.deadline_s = now + ping_interval_s;
            entry.session.send_heartbeat(entry.session.dialect.ping());
        }
        self.schedule(slot, id);
    }
}
