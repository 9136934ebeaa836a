//! What is wrong with a module, for its owner: what of it was refused last, and that its connections throw each other
//! out. No I/O, and time is passed in: what is told has the time of day, what waits goes by steady time.

use std::collections::VecDeque;

use relais_protocol::time::{Moment, Timestamp};
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
    /// When connections ended each other, in steady time as all that follows.
    replacements: VecDeque<Timestamp>,
    trouble_reported: Option<Timestamp>,
    refusal_reported: Option<Timestamp>,
    /// Refusals since one was told.
    unpublished: u64,
    /// When the log last had a line of it.
    logged: Option<Timestamp>,
}

impl Diagnosis {
    /// A connection of the module ended the one before. Says whether there is something to tell.
    pub(super) fn replaced(&mut self, Moment { now, steady }: Moment) -> bool {
        self.replacements.retain(|at| is_recent(Some(*at), steady, WINDOW_MS));
        if self.replacements.len() >= REPLACEMENTS_MAX {
            self.replacements.pop_front();
        }
        self.replacements.push_back(steady);
        let count = self.replacements.len();
        if count < REPLACEMENTS || is_recent(self.trouble_reported, steady, TOLD_EVERY_MS) {
            return false;
        }
        let message = format!(
            "{count} connections of this module ended each other within a minute: perhaps two devices show its \
             password; give one of them another"
        );
        let since = self.trouble.as_ref().map_or(now, |told| told.since);
        self.trouble_reported = Some(steady);
        self.trouble = Some(Trouble { code: "connections_replaced", message, since, at: now, count });
        true
    }

    /// Something of the module was refused. Says whether it is told: another than before, or the same a minute later.
    pub(super) fn refused(&mut self, code: &'static str, message: String, moment: Moment) -> bool {
        let Moment { now, steady } = moment;
        self.unpublished = self.unpublished.saturating_add(1);
        let is_same = self.refusal.as_ref().is_some_and(|told| told.code == code);
        if is_same && is_recent(self.refusal_reported, steady, TOLD_EVERY_MS) {
            return false;
        }
        self.refusal_reported = Some(steady);
        let count = std::mem::take(&mut self.unpublished);
        self.refusal = Some(Refusal { code, message, at: now, count });
        true
    }

    /// Whether the log gets a line of the module now: one a minute, whatever was refused.
    pub(super) fn may_log(&mut self, steady: Timestamp) -> bool {
        let may = !is_recent(self.logged, steady, TOLD_EVERY_MS);
        if may {
            self.logged = Some(steady);
        }
        may
    }

    /// Time passed. Says whether something is over.
    pub(super) fn look(&mut self, steady: Timestamp) -> bool {
        let is_calm = !is_recent(self.replacements.back().copied(), steady, CALM_MS);
        let is_over = is_calm && self.trouble.take().is_some();
        if is_over {
            self.trouble_reported = None;
        }
        is_over
    }
}

fn is_recent(at: Option<Timestamp>, steady: Timestamp, ms: i64) -> bool {
    at.is_some_and(|at| steady.as_millis() - at.as_millis() < ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn moment(seconds: i64) -> Moment {
        Moment { now: day(seconds), steady: at(seconds) }
    }

    #[test]
    fn connections_that_throw_each_other_out_are_told_once_a_minute_until_they_stop() {
        let mut diagnosis = Diagnosis::default();
        let told: Vec<i64> = (0..130).filter(|second| diagnosis.replaced(moment(*second))).collect();
        assert_eq!(told, [4, 64, 124]);
        let trouble = diagnosis.trouble.clone().unwrap();
        assert_eq!((trouble.code, trouble.since, trouble.count), ("connections_replaced", day(4), 60));
        assert!(!diagnosis.look(at(129 + 299)) && diagnosis.look(at(129 + 300)));
        assert_eq!(diagnosis.trouble, None);
        assert!(!diagnosis.look(at(1000)), "told once");
    }

    #[test]
    fn a_device_that_comes_back_now_and_then_is_no_trouble() {
        let mut diagnosis = Diagnosis::default();
        assert!((0..100).all(|number| !diagnosis.replaced(moment(number * 16))));
    }

    #[test]
    fn a_refusal_is_told_when_it_is_another_or_a_minute_later() {
        let mut diagnosis = Diagnosis::default();
        let mut refused = |code, second| diagnosis.refused(code, "…".into(), moment(second));
        assert!(refused("bad", 0) && !refused("bad", 1) && !refused("bad", 59) && refused("bad", 60));
        assert!(refused("worse", 61) && refused("bad", 62));
        assert_eq!(diagnosis.refusal.as_ref().unwrap().count, 1);
        assert!(diagnosis.may_log(at(62)) && !diagnosis.may_log(at(121)) && diagnosis.may_log(at(122)));
    }

    #[test]
    fn a_clock_that_leaps_neither_repeats_nor_silences_what_is_told() {
        let mut diagnosis = Diagnosis::default();
        let leapt = |years: i64, seconds| Moment { now: day(years * 31_536_000), steady: at(seconds) };
        let mut refused = |moment| diagnosis.refused("bad", "…".into(), moment);
        assert!(
            refused(leapt(0, 0)) && !refused(leapt(3, 1)) && !refused(leapt(-3, 59)) && refused(leapt(0, 60))
        );
        assert!((0..4).all(|second| !diagnosis.replaced(leapt(second, second))));
        assert!(diagnosis.replaced(leapt(3, 4)));
        assert!(!diagnosis.look(at(4 + 299)) && diagnosis.look(at(4 + 300)));
    }
}
