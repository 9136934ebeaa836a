//! What is wrong with a module, for its owner: what of it was refused last, and that its connections throw each other
//! out. No I/O, and time is passed in.

use std::collections::VecDeque;

use relais_protocol::time::Timestamp;
use serde::Serialize;

/// Connections that ended each other within [`WINDOW_MS`] from which on somebody is told.
const REPLACEMENTS: usize = 5;
/// Times of them that are remembered.
const REPLACEMENTS_MAX: usize = 64;
const WINDOW_MS: i64 = 60_000;
/// Without one for so long, it is over.
const CALM_MS: i64 = 300_000;
/// How often the same is told again at most.
const TOLD_EVERY_MS: i64 = 60_000;

/// What nobody but a person can mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trouble {
    code: &'static str,
    message: String,
    since: Timestamp,
    at: Timestamp,
    /// How often within the last minute.
    count: usize,
}

/// Something of the module that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Refusal {
    code: &'static str,
    message: String,
    at: Timestamp,
    /// How often since it was told before.
    count: u64,
}

/// What is wrong with one module, as it was last told.
#[derive(Clone, Debug, Default)]
pub(super) struct Diagnosis {
    pub(super) trouble: Option<Trouble>,
    pub(super) refusal: Option<Refusal>,
    replacements: VecDeque<i64>,
    /// Refusals since one was told.
    untold: u64,
    /// When the log last had a line of it.
    logged: Option<Timestamp>,
}

impl Diagnosis {
    /// A connection of the module ended the one before. Says whether there is something to tell.
    pub(super) fn replaced(&mut self, now: Timestamp) -> bool {
        let now_ms = now.as_millis();
        self.replacements.retain(|at| (now_ms - at).abs() < WINDOW_MS);
        if self.replacements.len() >= REPLACEMENTS_MAX {
            self.replacements.pop_front();
        }
        self.replacements.push_back(now_ms);
        let count = self.replacements.len();
        let told = self.trouble.as_ref();
        if count < REPLACEMENTS || told.is_some_and(|told| is_recent(told.at, now, TOLD_EVERY_MS)) {
            return false;
        }
        let message = format!(
            "{count} connections of this module ended each other within a minute: perhaps two devices show its \
             password; give one of them another"
        );
        let since = told.map_or(now, |told| told.since);
        self.trouble = Some(Trouble { code: "connections_replaced", message, since, at: now, count });
        true
    }

    /// Something of the module was refused. Says whether it is told: another than before, or the same a minute later.
    pub(super) fn refused(&mut self, code: &'static str, message: String, now: Timestamp) -> bool {
        self.untold = self.untold.saturating_add(1);
        let told = self.refusal.as_ref();
        if told.is_some_and(|told| told.code == code && is_recent(told.at, now, TOLD_EVERY_MS)) {
            return false;
        }
        let count = std::mem::take(&mut self.untold);
        self.refusal = Some(Refusal { code, message, at: now, count });
        true
    }

    /// Whether the log gets a line of the module now: one a minute, whatever was refused.
    pub(super) fn may_log(&mut self, now: Timestamp) -> bool {
        let may = !self.logged.is_some_and(|at| is_recent(at, now, TOLD_EVERY_MS));
        if may {
            self.logged = Some(now);
        }
        may
    }

    /// Time passed. Says whether something is over.
    pub(super) fn look(&mut self, now: Timestamp) -> bool {
        let last = self.replacements.back().map_or(0, |at| (now.as_millis() - at).abs());
        let is_over = self.trouble.is_some() && last >= CALM_MS;
        if is_over {
            self.trouble = None;
        }
        is_over
    }
}

fn is_recent(at: Timestamp, now: Timestamp, ms: i64) -> bool {
    (now.as_millis() - at.as_millis()).abs() < ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    #[test]
    fn connections_that_throw_each_other_out_are_told_once_a_minute_until_they_stop() {
        let mut diagnosis = Diagnosis::default();
        let told: Vec<i64> = (0..130).filter(|second| diagnosis.replaced(at(*second))).collect();
        assert_eq!(told, [4, 64, 124]);
        let trouble = diagnosis.trouble.clone().unwrap();
        assert_eq!((trouble.code, trouble.since, trouble.count), ("connections_replaced", at(4), 60));
        assert!(!diagnosis.look(at(129 + 299)) && diagnosis.look(at(129 + 300)));
        assert_eq!(diagnosis.trouble, None);
        assert!(!diagnosis.look(at(1000)), "told once");
    }

    #[test]
    fn a_device_that_comes_back_now_and_then_is_no_trouble() {
        let mut diagnosis = Diagnosis::default();
        assert!((0..100).all(|number| !diagnosis.replaced(at(number * 16))));
    }

    #[test]
    fn a_refusal_is_told_when_it_is_another_or_a_minute_later() {
        let mut diagnosis = Diagnosis::default();
        let mut refused = |code, second| diagnosis.refused(code, "…".into(), at(second));
        assert!(refused("bad", 0) && !refused("bad", 1) && !refused("bad", 59) && refused("bad", 60));
        assert!(refused("worse", 61) && refused("bad", 62));
        assert_eq!(diagnosis.refusal.as_ref().unwrap().count, 1);
        assert!(diagnosis.may_log(at(62)) && !diagnosis.may_log(at(121)) && diagnosis.may_log(at(122)));
    }
}
