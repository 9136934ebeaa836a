//! When a schedule is due: pure arithmetic, with the time as an argument.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use relais_protocol::time::Timestamp;

/// When something is due again and again.
///
/// A **cron** rule is in the civil time of a zone (minute, hour, day of month, month, day of week; a sixth field in front
/// is the second). Where clocks change, a rule with fixed times runs once: a time that is left out runs when the gap ends,
/// one that comes twice runs the first time. A rule with `*` or steps in its minutes or hours goes on with the time that
/// passes, through the repeated hour too. An **every** rule has periods of equal length that begin at 1970-01-01T00:00Z.
#[derive(Clone, Debug)]
pub struct Rule {
    form: Form,
    /// As the database has it.
    text: String,
    zone_name: String,
}

#[derive(Clone, Debug)]
enum Form {
    Cron(Box<Cron>, TimeZone),
    Every(i64),
}

/// Why something is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} in the zone {zone:?} is no rule for a schedule: {reason}")]
pub struct RuleError {
    rule: String,
    zone: String,
    reason: String,
}

impl Rule {
    /// A cron expression in the civil time of a zone of the IANA database, such as `Europe/Paris`.
    ///
    /// # Errors
    /// If one of them cannot be understood.
    pub fn cron(expression: &str, zone: &str) -> Result<Self, RuleError> {
        Self::parse(&format!("cron {expression}"), zone)
    }

    /// Every so many milliseconds, at least a second.
    ///
    /// # Errors
    /// If it is shorter.
    pub fn every(period: std::time::Duration) -> Result<Self, RuleError> {
        Self::parse(&format!("every {} ms", super::job::millis(period)), "UTC")
    }

    /// A rule from its text and its zone, as the database has them.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn parse(text: &str, zone: &str) -> Result<Self, RuleError> {
        let error = |reason: String| RuleError { rule: text.to_owned(), zone: zone.to_owned(), reason };
        let form = match text.split_once(' ') {
            Some(("cron", expression)) => {
                let zone = TimeZone::get(zone).map_err(|e| error(e.to_string()))?;
                Form::Cron(Box::new(Cron::from_str(expression).map_err(|e| error(e.to_string()))?), zone)
            }
            Some(("every", period)) => {
                let ms = period.strip_suffix(" ms").and_then(|ms| ms.parse().ok()).filter(|ms| *ms >= 1000);
                Form::Every(ms.ok_or_else(|| error("a period is at least 1000 ms".to_owned()))?)
            }
            _ => return Err(error("expected \"cron EXPRESSION\" or \"every N ms\"".to_owned())),
        };
        Ok(Self { form, text: text.to_owned(), zone_name: zone.to_owned() })
    }

    /// The rule as the database has it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone whose civil time it is in.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// The first time that is due after this moment; nothing if there is none.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.form {
            Form::Every(ms) => Some(Timestamp::from_millis((after.as_millis().div_euclid(*ms) + 1) * ms)),
            Form::Cron(cron, zone) => {
                let found = cron.find_next_occurrence(&zoned(after, zone)?, false).ok()?;
                Some(Timestamp::from_millis(found.timestamp().as_millisecond()))
                    .filter(|found| *found > after)
            }
        }
    }

    /// The last time that was due, this moment included; nothing if there is none.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.form {
            Form::Every(ms) => Some(Timestamp::from_millis(until.as_millis().div_euclid(*ms) * ms)),
            Form::Cron(cron, zone) => {
                let found = cron.find_previous_occurrence(&zoned(until, zone)?, true).ok()?;
                Some(Timestamp::from_millis(found.timestamp().as_millisecond()))
                    .filter(|found| *found <= until)
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Cron(..) => write!(f, "{} ({})", self.text, self.zone_name),
            Form::Every(_) => f.write_str(&self.text),
        }
    }
}

/// Civil time to the second: what a cron rule looks at.
fn zoned(at: Timestamp, zone: &TimeZone) -> Option<jiff::Zoned> {
    let seconds = at.as_millis().div_euclid(1000);
    jiff::Timestamp::from_second(seconds).ok().map(|at| at.to_zoned(zone.clone()))
}

/// How missed periods are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// One run makes up for all of them.
    Once,
    /// None does: only a period that begins now is run.
    Skip,
    /// Each is run, the latest ones up to this limit.
    All(u32),
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Skip => f.write_str("skip"),
            Self::All(limit) => write!(f, "all {limit}"),
        }
    }
}

impl FromStr for CatchUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limit = text.strip_prefix("all ").and_then(|limit| limit.parse().ok());
        match (text, limit) {
            ("once", _) => Ok(Self::Once),
            ("skip", _) => Ok(Self::Skip),
            (_, Some(limit)) => Ok(Self::All(limit)),
            _ => Err(format!("{text:?} says nothing of missed periods: expected once, skip or \"all N\"")),
        }
    }
}

/// How late a period may be run and still count as on time.
pub(super) const ON_TIME_MS: i64 = 60_000;
/// Missed periods are counted up to here.
const MISSED_COUNTED: u32 = 100;
/// The most periods that one look makes up for.
const RUNS_MAX: u32 = 1000;

/// What a schedule does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// The periods that are run, in order.
    pub(super) runs: Vec<Timestamp>,
    /// The periods that are not; a hundred stand for a hundred or more.
    pub(super) missed: u32,
    /// When it is due next.
    pub(super) next: Option<Timestamp>,
}

impl Turn {
    /// What a schedule that was due at `due` does at `now`.
    pub(super) fn at(rule: &Rule, catch_up: CatchUp, due: Timestamp, now: Timestamp) -> Self {
        let keep = match catch_up {
            CatchUp::Once | CatchUp::Skip => 1,
            CatchUp::All(limit) => limit.clamp(1, RUNS_MAX),
        };
        let mut turn = Self { next: rule.next_after(now), ..Self::default() };
        let mut last = rule.last_until(now);
        while let Some(period) = last.filter(|period| *period >= due) {
            let is_late = now.as_millis() - period.as_millis() > ON_TIME_MS;
            if (turn.runs.len() as u32) < keep && !(is_late && catch_up == CatchUp::Skip) {
                turn.runs.push(period);
            } else {
                turn.missed += 1;
            }
            if turn.missed >= MISSED_COUNTED {
                break;
            }
            last = rule.last_until(period.plus_millis(-1));
        }
        turn.runs.reverse();
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn next_ones(rule: &Rule, from: &str, count: usize) -> Vec<String> {
        let mut moment = at(from);
        let mut next = || {
            moment = rule.next_after(moment).unwrap();
            moment.to_string().replace(":00.000Z", "Z")
        };
        (0..count).map(|_| next()).collect()
    }

    fn paris(expression: &str) -> Rule {
        Rule::cron(expression, "Europe/Paris").unwrap()
    }

    #[test]
    fn a_time_that_the_clocks_leave_out_runs_when_the_gap_ends() {
        // 29 March 2026, 02:00 becomes 03:00 in Paris, which is 01:00 UTC.
        let found = next_ones(&paris("30 2 * * *"), "2026-03-28T00:00:00Z", 3);
        assert_eq!(found, ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
    }

    #[test]
    fn a_time_that_comes_twice_runs_the_first_time() {
        // 25 October 2026, 03:00 becomes 02:00 in Paris, which is 01:00 UTC.
        let found = next_ones(&paris("30 2 * * *"), "2026-10-24T00:00:00Z", 3);
        assert_eq!(found, ["2026-10-24T00:30Z", "2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    }

    #[test]
    fn what_runs_every_half_hour_goes_on_through_the_gap_and_the_repeated_hour() {
        for from in ["2026-03-29T00:00:00Z", "2026-10-25T00:00:00Z"] {
            let found = next_ones(&paris("*/30 * * * *"), from, 8);
            let expected: Vec<String> = (1..=8)
                .map(|n| at(from).plus_millis(n * 1_800_000).to_string().replace(":00.000Z", "Z"))
                .collect();
            assert_eq!(found, expected, "{from}");
        }
    }

    #[test]
    fn months_without_the_day_are_left_out_and_last_days_are_found() {
        let found = next_ones(&paris("0 12 31 * *"), "2026-01-31T12:00:00Z", 2);
        assert_eq!(found, ["2026-03-31T10:00Z", "2026-05-31T10:00Z"]);
        assert_eq!(next_ones(&paris("0 12 L * *"), "2026-02-01T00:00:00Z", 1), ["2026-02-28T11:00Z"]);
        assert_eq!(next_ones(&paris("0 0 29 2 *"), "2026-02-01T00:00:00Z", 1), ["2028-02-28T23:00Z"]);
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_reason() {
        for (rule, zone) in [
            ("cron 61 * * * *", "UTC"),
            ("cron * * * * *", "Mars/Olympus"),
            ("every 5 ms", "UTC"),
            ("x", "UTC"),
        ] {
            let error = Rule::parse(rule, zone).unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(zone), "{error}");
        }
        assert_eq!(Rule::cron("0 0 30 2 *", "UTC").unwrap().next_after(at("2026-01-01T00:00:00Z")), None);
    }

    #[test]
    fn missed_periods_are_made_up_for_as_the_schedule_says() {
        let rule = Rule::every(Duration::from_secs(3600)).unwrap();
        let (due, now) = (at("2026-01-01T01:00:00Z"), at("2026-01-01T05:30:00Z"));
        let hours =
            |turn: &Turn| turn.runs.iter().map(|at| at.as_millis() / 3_600_000 % 24).collect::<Vec<_>>();
        let turn = |catch_up| Turn::at(&rule, catch_up, due, now);
        assert_eq!((hours(&turn(CatchUp::Once)), turn(CatchUp::Once).missed), (vec![5], 4));
        assert_eq!((hours(&turn(CatchUp::Skip)), turn(CatchUp::Skip).missed), (vec![], 5));
        assert_eq!((hours(&turn(CatchUp::All(3))), turn(CatchUp::All(3)).missed), (vec![3, 4, 5], 2));
        assert_eq!(hours(&turn(CatchUp::All(100))), [1, 2, 3, 4, 5]);
        let on_time = Turn::at(&rule, CatchUp::Skip, at("2026-01-01T05:00:00Z"), at("2026-01-01T05:00:59Z"));
        assert_eq!((hours(&on_time), on_time.missed), (vec![5], 0));
        assert_eq!(on_time.next, Some(at("2026-01-01T06:00:00Z")));
    }

    #[test]
    fn years_of_downtime_are_made_up_for_in_bounded_time() {
        let rule = paris("* * * * *");
        let turn =
            Turn::at(&rule, CatchUp::All(u32::MAX), at("2016-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
        assert_eq!((turn.runs.len(), turn.missed), (1000, 100));
        assert_eq!(turn.runs.last(), Some(&at("2026-01-01T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn looking_back_and_looking_ahead_find_the_same_times(
            which in 0usize..6, start in 1_770_000_000i64..1_800_000_000, zone in 0usize..4,
        ) {
            let expressions = ["30 2 * * *", "*/20 * * * *", "0 9-17 * * 1-5", "15 3 1 * *", "0 0 * * 0", "59 1,2 * * *"];
            let zones = ["Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"];
            let rule = Rule::cron(expressions[which], zones[zone]).unwrap();
            let mut moment = Timestamp::from_millis(start * 1000);
            for _ in 0..50 {
                let next = rule.next_after(moment).unwrap();
                prop_assert!(next > moment);
                prop_assert_eq!(rule.last_until(next), Some(next), "{}", rule);
                let between = rule.last_until(next.plus_millis(-1)).unwrap();
                prop_assert!(between <= moment, "{} is due between {} and {} in {}", between, moment, next, rule);
                moment = next;
            }
        }

        #[test]
        fn each_period_is_run_once_however_often_somebody_looks(
            looks in proptest::collection::vec(1i64..200_000, 1..60), every in 1i64..5,
        ) {
            let rule = Rule::every(Duration::from_secs(every as u64 * 30)).unwrap();
            let mut now = Timestamp::from_millis(1_800_000_000_000);
            let (mut due, begun) = (rule.next_after(now).unwrap(), now);
            let mut runs = Vec::new();
            for passed in looks {
                now = now.plus_millis(passed);
                if due <= now {
                    let turn = Turn::at(&rule, CatchUp::All(1000), due, now);
                    prop_assert_eq!(turn.missed, 0);
                    runs.extend(turn.runs);
                    due = turn.next.unwrap();
                }
            }
            let mut expected = Vec::new();
            let mut period = begun;
            while let Some(next) = rule.next_after(period).filter(|next| *next <= now) {
                expected.push(next);
                period = next;
            }
            prop_assert_eq!(runs, expected);
        }
    }
}
