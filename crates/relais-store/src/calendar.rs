//! The current date, for retention.

use parking_lot::Mutex;
use relais_protocol::time::{Moment, SharedClock, Timestamp};

use crate::connection::WriteConnection;
use crate::error::StoreError;
use crate::params;
use crate::tx::WriteTx;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How far a clock may be from the time that passed: it is corrected now and then.
const AGREES_MS: i64 = HOUR_MS;
/// For how long the program may have been away: a long weekend.
const AWAY_MS: i64 = 4 * DAY_MS;
/// How long a clock has to be consistent before it is believed against the time that passed.
const PROVEN_MS: i64 = DAY_MS;
/// How often what is known is written.
const NOTED_EVERY_MS: i64 = 600_000;

/// The date, for one database.
pub(crate) struct Calendar {
    clock: SharedClock,
    known: Mutex<Known>,
    noted: Mutex<Option<Noted>>,
}

/// What is known of the time of day.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When the time of day was last believed.
    believed: Moment,
    /// How much more may have passed since then than this process saw.
    away_ms: i64,
    doubt: Option<Doubt>,
}

/// The clock disagrees with the time that passed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// How far the time of day is from steady time.
    offset_ms: i64,
    /// Since when, in steady time.
    since: Timestamp,
}

/// What the database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    believed: Timestamp,
    /// When doubt was last noted, and for how long there had been doubt.
    doubt: Option<(Timestamp, i64)>,
}

impl Calendar {
    /// What the database has; the clock is believed if it has nothing.
    pub(crate) fn load(connection: &mut dyn WriteConnection, clock: SharedClock) -> Result<Self, StoreError> {
        let mut noted = None;
        connection.visit(
            "SELECT believed, doubted_at, doubted_ms FROM calendar WHERE id = 1",
            params![],
            &mut |row| {
                let doubt = row.opt_timestamp(1)?.map(|at| Ok::<_, StoreError>((at, row.i64(2)?)));
                noted = Some(Noted { believed: row.timestamp(0)?, doubt: doubt.transpose()? });
                Ok(())
            },
        )?;
        let known = Known::new(noted, clock.moment());
        Ok(Self { clock, known: Mutex::new(known), noted: Mutex::new(noted) })
    }

    /// The present, for what deletes by age.
    pub(crate) fn retention_now(&self) -> Timestamp {
        let (moment, mut known) = (self.clock.moment(), self.known.lock());
        let doubted = known.doubt.is_some();
        let date = known.look(moment);
        let off_ms = known.off_ms(moment);
        match (doubted, known.doubt.is_some()) {
            (false, true) => tracing::warn!(
                hours = off_ms / HOUR_MS,
                "the clock does not agree with the time that passed: nothing is deleted for its age sooner than time \
                 passes until it has said so for a day; correct the clock if it is wrong"
            ),
            (true, false) => tracing::info!("the clock is believed again"),
            _ => {}
        }
        let leap_s = if known.doubt.is_some() { off_ms / 1000 } else { 0 };
        metrics::gauge!("relais_clock_leap_seconds").set(leap_s as f64);
        date
    }

    /// What is to be written, if it is another than what is written already or old.
    pub(crate) fn to_note(&self) -> Option<Noted> {
        self.retention_now();
        let (moment, known) = (self.clock.moment(), *self.known.lock());
        let doubt = known.doubt.map(|doubt| (moment.now, passed(doubt.since, moment.steady)));
        let new = Noted { believed: known.believed.now, doubt };
        let is_old = |noted: Noted| {
            let age = |at: Timestamp, now: Timestamp| passed(at, now).abs() >= NOTED_EVERY_MS;
            noted.doubt.is_some() != new.doubt.is_some()
                || age(noted.believed, new.believed)
                || noted.doubt.zip(new.doubt).is_some_and(|(noted, new)| age(noted.0, new.0))
        };
        self.noted.lock().is_none_or(is_old).then_some(new)
    }

    /// The database has it.
    pub(crate) fn noted(&self, new: Noted) {
        *self.noted.lock() = Some(new);
    }
}

impl Noted {
    pub(crate) fn write(self, tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
        let Self { believed, doubt } = self;
        tx.execute(
            "INSERT INTO calendar (id, believed, doubted_at, doubted_ms) VALUES (1, $1, $2, $3) ON CONFLICT (id) \
             DO UPDATE SET believed = excluded.believed, doubted_at = excluded.doubted_at, \
             doubted_ms = excluded.doubted_ms",
            params![believed, doubt.map(|(at, _)| at), doubt.map_or(0, |(_, ms)| ms)],
        )?;
        Ok(())
    }
}

impl Known {
    fn new(noted: Option<Noted>, moment: Moment) -> Self {
        let Some(Noted { believed, doubt }) = noted else {
            return Self { believed: moment, away_ms: 0, doubt: None };
        };
        // The same doubt as before, if the clock only went on since then.
        let same = doubt.filter(|(at, _)| agrees(passed(*at, moment.now), AWAY_MS));
        let doubt =
            same.map(|(_, ms)| Doubt { offset_ms: offset(moment), since: moment.steady.plus_millis(-ms) });
        Self { believed: Moment { now: believed, steady: moment.steady }, away_ms: AWAY_MS, doubt }
    }

    /// The time of day as the time that passed has it.
    fn expected(&self, moment: Moment) -> Timestamp {
        self.believed.now.plus_millis(passed(self.believed.steady, moment.steady))
    }

    fn off_ms(&self, moment: Moment) -> i64 {
        passed(self.expected(moment), moment.now)
    }

    /// Reads the clock; returns the date.
    fn look(&mut self, moment: Moment) -> Timestamp {
        let proven = self.doubt.filter(|doubt| agrees(offset(moment) - doubt.offset_ms, AGREES_MS));
        let is_proven = proven.is_some_and(|doubt| passed(doubt.since, moment.steady) >= PROVEN_MS);
        if is_proven || agrees(self.off_ms(moment), self.away_ms.max(AGREES_MS)) {
            *self = Self { believed: moment, away_ms: 0, doubt: None };
            return moment.now;
        }
        self.doubt = proven.or(Some(Doubt { offset_ms: offset(moment), since: moment.steady }));
        moment.now.min(self.expected(moment))
    }
}

fn offset(moment: Moment) -> i64 {
    passed(moment.steady, moment.now)
}

fn passed(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millis().saturating_sub(from.as_millis())
}

fn agrees(off_ms: i64, ahead_ms: i64) -> bool {
    (-AGREES_MS..=ahead_ms).contains(&off_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS_MS: i64 = 3 * 365 * DAY_MS;

    fn at(now: i64, steady: i64) -> Moment {
        let ms = |hours: i64| Timestamp::from_millis(1_800_000_000_000 + hours * HOUR_MS);
        Moment { now: ms(now), steady: ms(steady) }
    }

    fn began() -> Known {
        Known::new(None, at(0, 0))
    }

    #[test]
    fn a_clock_that_goes_as_time_passes_is_followed() {
        let mut known = began();
        for hour in [0, 1, 30, 10_000] {
            assert_eq!(known.look(at(hour, hour)), at(hour, hour).now);
        }
    }

    #[test]
    fn a_leap_ahead_changes_the_date_no_more_than_the_time_that_passes() {
        let mut known = began();
        let years = YEARS_MS / HOUR_MS;
        assert_eq!(known.look(at(years, 0)), at(0, 0).now);
        assert_eq!(known.look(at(years + 2, 2)), at(2, 0).now);
        assert_eq!(known.look(at(3, 3)), at(3, 3).now);
        assert!(known.doubt.is_none());
    }

    #[test]
    fn a_clock_that_says_the_same_for_a_day_is_believed() {
        let mut known = began();
        assert_eq!(known.look(at(1_000, 0)), at(0, 0).now);
        assert_eq!(known.look(at(1_023, 23)), at(23, 23).now);
        assert_eq!(known.look(at(1_024, 24)), at(1_024, 24).now);
        assert_eq!(known.look(at(5_000, 25)), at(1_025, 25).now, "another leap is another doubt");
        assert_eq!(known.look(at(4_000, 26)), at(1_026, 26).now, "and so is a leap back to a wrong time");
        assert_eq!(known.look(at(4_023, 49)), at(1_049, 49).now);
        assert_eq!(known.look(at(4_024, 50)), at(4_024, 50).now);
    }

    #[test]
    fn a_clock_that_is_behind_deletes_less_and_its_correction_is_no_leap() {
        let mut known = began();
        assert_eq!(known.look(at(-2, 0)), at(-2, 0).now);
        assert_eq!(known.look(at(10, 10)), at(10, 10).now);
        let noted = Noted { believed: at(100, 0).now, doubt: None };
        let mut without_battery = Known::new(Some(noted), at(-400_000, 0));
        assert_eq!(without_battery.look(at(-400_000, 0)), at(-400_000, 0).now);
        assert_eq!(without_battery.look(at(120, 1)), at(120, 0).now);
    }

    #[test]
    fn a_weekend_without_the_server_is_no_leap_and_a_year_is_one_until_it_is_proven() {
        let noted = Noted { believed: at(0, 0).now, doubt: None };
        let mut weekend = Known::new(Some(noted), at(60, 0));
        assert_eq!(weekend.look(at(60, 0)), at(60, 0).now);
        assert_eq!(weekend.look(at(150, 1)), at(61, 0).now, "the absence counts once");

        let mut noted = noted;
        for day in 0..3 {
            // A computer that is on for eight hours a day.
            let morning = 9_000 + day * 24;
            let mut known = Known::new(Some(noted), at(morning, 0));
            assert_eq!(known.look(at(morning, 0)), at(0, 0).now, "day {day}");
            let evening = at(morning + 8, 8);
            let date = known.look(evening);
            if day == 2 {
                assert_eq!(date, evening.now, "24 hours, in three parts");
                return;
            }
            let doubt = known.doubt.map(|doubt| (evening.now, passed(doubt.since, evening.steady)));
            noted = Noted { believed: known.believed.now, doubt };
        }
    }
}
