//! Whether a module is there, and when it is told.
//!
//! A module is online as long as its connection stands, or, if it reports without one, until `offline_after_ms` after
//! it was last heard. A connection that ends is no absence yet: the module has some seconds to come back, and the more
//! often it went and came, the longer. Only the server's steady time
//! counts.

use relais_protocol::time::Timestamp;

use crate::config::LiveConfig;

/// The longest that a flapping module is waited for, in milliseconds.
const HOLD_MS_MAX: i64 = 120_000;
/// Without an absence for so long, a module flaps no more.
const CALM_MS: i64 = 600_000;

/// How long a module may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without a connection, after its last report.
    pub(super) offline_after_ms: i64,
    /// After its connection ended.
    pub(super) hold_ms: i64,
}

impl Patience {
    pub(super) fn new(config: &LiveConfig) -> Self {
        let ms = |seconds: u32| i64::from(seconds) * 1000;
        Self { offline_after_ms: ms(config.offline_after_s), hold_ms: ms(config.offline_delay_s) }
    }
}

/// Whether one module is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Presence {
    online: bool,
    /// Whether its connection stands.
    linked: bool,
    /// Without a connection, when it counts as gone.
    gone_at: Timestamp,
    /// How long what it said without a connection of its own counts, whatever becomes of a connection.
    heard_until: Timestamp,
    /// How often it went lately.
    absences: u32,
    /// When it last came or went.
    changed_at: Timestamp,
}

impl Presence {
    /// As the server knew it before it was restarted: that is no absence, so it has its whole time to come back.
    pub(super) fn remembered(online: bool, now: Timestamp, patience: Patience) -> Self {
        Self { online, gone_at: now.plus_millis(patience.offline_after_ms), ..Self::default() }
    }

    pub(super) fn is_online(&self) -> bool {
        self.online
    }

    /// Its connection stands. Says whether it was away.
    pub(super) fn link(&mut self, now: Timestamp) -> bool {
        self.linked = true;
        self.come(now)
    }

    /// Its connection ended, or somebody who would know says that it is gone.
    pub(super) fn unlink(&mut self, now: Timestamp, patience: Patience) {
        self.linked = false;
        if self.online && self.is_calm(now) {
            self.absences = 0;
        }
        let doubled = patience.hold_ms.saturating_mul(1 << self.absences.min(16));
        let hold_ms = doubled.min(HOLD_MS_MAX.max(patience.hold_ms));
        self.gone_at = now.plus_millis(hold_ms).max(self.heard_until);
    }

    /// It said something without a connection of its own. Says whether it was away.
    pub(super) fn hear(&mut self, now: Timestamp, patience: Patience) -> bool {
        self.heard_until = now.plus_millis(patience.offline_after_ms);
        if !self.linked {
            self.gone_at = self.heard_until;
        }
        self.come(now)
    }

    /// Somebody who would know says that it is gone: that counts unless it has a connection. Said again, it does not
    /// give it more time.
    pub(super) fn went(&mut self, now: Timestamp, patience: Patience) {
        self.heard_until = Timestamp::default();
        if !self.linked {
            let before = self.gone_at;
            self.unlink(now, patience);
            self.gone_at = self.gone_at.min(before);
        }
    }

    /// Nobody could hear it: its silence does not count before `until`. What was silent for too long already stays so.
    pub(super) fn excuse(&mut self, now: Timestamp, until: Timestamp) {
        if self.online && self.heard_until > now {
            self.heard_until = until;
            if !self.linked {
                self.gone_at = until;
            }
        }
    }

    /// It reported. Says whether it was away.
    pub(super) fn report(&mut self, now: Timestamp, patience: Patience) -> bool {
        if !self.linked {
            self.gone_at = now.plus_millis(patience.offline_after_ms);
        }
        self.come(now)
    }

    fn come(&mut self, now: Timestamp) -> bool {
        let was_away = !self.online;
        if was_away {
            if self.is_calm(now) {
                self.absences = 0;
            }
            (self.online, self.changed_at) = (true, now);
        }
        was_away
    }

    /// Time passed. Says whether it counts as gone from now on.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let gone = self.online && !self.linked && now >= self.gone_at;
        if gone {
            self.absences = self.absences.saturating_add(1);
            (self.online, self.changed_at) = (false, now);
        }
        gone
    }

    fn is_calm(&self, now: Timestamp) -> bool {
        now.as_millis() - self.changed_at.as_millis() > CALM_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { offline_after_ms: 90_000, hold_ms: 5_000 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn a_module_with_a_connection_is_there_however_silent_it_is() {
        let mut presence = Presence::default();
        assert!(presence.link(at(0)) && !presence.link(at(1)));
        assert!(!presence.look(at(100_000)) && presence.is_online());
    }

    #[test]
    fn a_connection_that_comes_back_in_time_was_no_absence() {
        let mut presence = Presence::default();
        presence.link(at(0));
        presence.unlink(at(10), PATIENCE);
        assert!(!presence.look(at(14)));
        assert!(!presence.link(at(14)), "nothing to tell");
        presence.unlink(at(20), PATIENCE);
        assert!(presence.look(at(25)) && !presence.look(at(26)), "told once");
    }

    #[test]
    fn a_module_that_goes_and_comes_is_waited_for_longer_each_time_until_it_is_calm() {
        let mut presence = Presence::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..7 {
            presence.link(at(now));
            presence.unlink(at(now), PATIENCE);
            let wait = (0..).find(|wait| presence.look(at(now + wait))).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 120, 120]);
        presence.link(at(now));
        now += 10_000;
        presence.unlink(at(now), PATIENCE);
        assert!(presence.look(at(now + 5)), "it stayed for more than ten minutes");
    }

    #[test]
    fn without_a_connection_the_last_report_counts() {
        let mut presence = Presence::default();
        assert!(presence.report(at(0), PATIENCE) && !presence.report(at(60), PATIENCE));
        assert!(!presence.look(at(149)) && presence.look(at(150)));
        assert!(presence.report(at(151), PATIENCE));
    }

    #[test]
    fn what_it_said_beside_a_connection_counts_when_the_connection_ends() {
        let mut presence = Presence::default();
        presence.link(at(0));
        presence.hear(at(60), PATIENCE);
        presence.unlink(at(61), PATIENCE);
        assert!(!presence.look(at(149)) && presence.look(at(150)));
    }

    #[test]
    fn a_last_will_ends_it_unless_it_has_a_connection() {
        let mut presence = Presence::default();
        presence.hear(at(0), PATIENCE);
        presence.went(at(10), PATIENCE);
        presence.went(at(14), PATIENCE);
        assert!(!presence.look(at(14)) && presence.look(at(15)), "said again, it does not last longer");
        presence.link(at(20));
        presence.went(at(21), PATIENCE);
        assert!(!presence.look(at(1000)));
    }

    #[test]
    fn silence_does_not_count_while_nobody_could_hear() {
        let mut presence = Presence::default();
        presence.hear(at(0), PATIENCE);
        presence.excuse(at(50), at(650));
        assert!(!presence.look(at(649)));
        presence.excuse(at(600), at(690));
        assert!(!presence.look(at(689)) && presence.look(at(690)));
        presence.excuse(at(700), at(800));
        assert!(!presence.is_online(), "whoever was gone stays gone");
        let mut said_so = Presence::default();
        said_so.hear(at(0), PATIENCE);
        said_so.went(at(1), PATIENCE);
        said_so.excuse(at(2), at(600));
        assert!(said_so.look(at(6)), "it had said that it goes");
    }

    #[test]
    fn a_restart_of_the_server_is_no_absence() {
        let mut presence = Presence::remembered(true, at(0), PATIENCE);
        assert!(!presence.look(at(89)) && !presence.link(at(89)));
        let mut silent = Presence::remembered(true, at(0), PATIENCE);
        assert!(silent.look(at(90)));
        assert!(!Presence::remembered(false, at(0), PATIENCE).look(at(1000)), "it was gone before");
    }
}
