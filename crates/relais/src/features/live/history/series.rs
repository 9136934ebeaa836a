//! The series of a module: which of its places has which name.
//!
//! A module has [`SERIES_MAX`] places. A name that has said nothing for an hour gives its place to a new one if all are
//! taken. The place then belongs to the new name from a whole hour on, later than every value of the former one, so that
//! blocks and aggregates keep the two apart; what the former one said stays readable under its name.

use serde::{Deserialize, Serialize};

use super::aggregate::HOUR;
use super::points::SERIES_MAX;

/// Bytes of a series' name at most.
const NAME_BYTES_MAX: usize = 64;
/// Milliseconds without a value after which a name may lose its place.
const SILENT_MS: i64 = HOUR;
/// Former names of one place that are remembered.
const FORMER_MAX: usize = 8;
/// Names without a place that are remembered.
const REFUSED_MAX: usize = 16;

/// A series, and over which time blocks have points of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) name: Box<str>,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    /// Points before this moment are of a former name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<i64>,
    /// Names that had the place before, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) former: Vec<Former>,
    /// The newest point that came, in memory or not.
    #[serde(skip)]
    pub(super) newest: Option<i64>,
    /// When the name last said something, in steady time.
    #[serde(skip)]
    pub(super) seen: i64,
}

/// A name that had a place until another one got it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Former {
    pub(super) name: Box<str>,
    pub(super) since: Option<i64>,
    pub(super) until: i64,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
}

/// A part of the points of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) number: usize,
    pub(super) from: i64,
    pub(super) until: i64,
}

/// Which place a name has.
pub(super) enum Place {
    Taken(usize),
    /// It is new; the name that had it before, if one had.
    New(usize, Option<Box<str>>),
    /// All places are taken by names that say something.
    Full,
    /// It is no name.
    Unfit,
}

/// Names that got no place, so that it can be said.
#[derive(Clone, Debug, Default)]
pub(super) struct Unplaced {
    names: Vec<Box<str>>,
    /// When that was last said, in steady time.
    pub(super) told: Option<i64>,
}

impl Unplaced {
    pub(super) fn add(&mut self, name: &str) {
        if self.names.len() < REFUSED_MAX && !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.retain(|known| **known != *name);
    }

    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }
}

/// The place of a name; it gets one if it has none and there is room. `now` is the time of day, `steady` the one that
/// nobody sets.
pub(super) fn place(all: &mut Vec<Series>, name: &str, now: i64, steady: i64) -> Place {
    if let Some(number) = all.iter().position(|series| *series.name == *name) {
        return Place::Taken(number);
    }
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || name.chars().any(char::is_control) {
        return Place::Unfit;
    }
    if all.len() < SERIES_MAX {
        all.push(Series { name: name.into(), seen: steady, ..Series::default() });
        return Place::New(all.len() - 1, None);
    }
    let silent = all.iter().enumerate().filter(|(_, series)| series.is_silent(now, steady));
    let Some(number) = silent.min_by_key(|(_, series)| series.seen).map(|(number, _)| number) else {
        return Place::Full;
    };
    let former = std::mem::take(&mut all[number]);
    let freed = former.name.clone();
    all[number] = former.replaced_by(name, steady);
    Place::New(number, Some(freed))
}

impl Series {
    /// From which hour on the place can be another's.
    fn free_from(&self) -> i64 {
        let newest = self.newest.max(self.last).or(self.since);
        newest.map_or(i64::MIN, |newest| newest.div_euclid(HOUR).saturating_add(1).saturating_mul(HOUR))
    }

    fn is_silent(&self, now: i64, steady: i64) -> bool {
        steady - self.seen >= SILENT_MS && self.free_from() <= now
    }

    fn replaced_by(self, name: &str, steady: i64) -> Self {
        let since = self.free_from();
        let mut former = self.former;
        former.push(Former {
            name: self.name,
            since: self.since,
            until: since,
            first: self.first.or(self.newest),
            last: self.newest.max(self.last),
        });
        former.drain(..former.len().saturating_sub(FORMER_MAX));
        Self { name: name.into(), since: Some(since), former, seen: steady, ..Self::default() }
    }

    /// Whether a point of this moment is this name's.
    pub(super) fn has(&self, at: i64) -> bool {
        self.since.is_none_or(|since| at >= since)
    }

    /// Takes over which time blocks have points of it, unless the place is another's meanwhile.
    pub(super) fn widen_to(&mut self, seen: &Self) {
        if self.name == seen.name && self.since == seen.since {
            (self.first, self.last) = (seen.first, seen.last);
        }
    }

    /// Notes a point that came.
    pub(super) fn note(&mut self, at: i64, steady: i64) {
        self.newest = self.newest.max(Some(at));
        self.seen = steady;
    }
}

/// Where the points of a name are.
pub(super) fn parts(all: &[Series], name: &str) -> Vec<Part> {
    let mut found = Vec::new();
    for (number, series) in all.iter().enumerate() {
        for former in series.former.iter().filter(|former| *former.name == *name) {
            found.push(Part { number, from: former.since.unwrap_or(i64::MIN), until: former.until });
        }
        if *series.name == *name {
            found.push(Part { number, from: series.since.unwrap_or(i64::MIN), until: i64::MAX });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(now: i64) -> Vec<Series> {
        let mut all = Vec::new();
        for number in 0..SERIES_MAX {
            assert!(matches!(place(&mut all, &format!("s{number}"), now, now), Place::New(..)));
            all[number].note(now, now);
        }
        all
    }

    #[test]
    fn the_name_that_was_silent_longest_gives_its_place_and_keeps_what_it_said() {
        let now = 1_000 * HOUR + 5;
        let mut all = full(now);
        assert!(matches!(place(&mut all, "new", now + HOUR - 1, now + HOUR - 1), Place::Full));
        let later = now + 2 * HOUR;
        all.iter_mut().filter(|series| &*series.name != "s7").for_each(|series| series.note(later, later));
        assert!(matches!(place(&mut all, "new", later, later), Place::New(7, Some(name)) if &*name == "s7"));
        let since = 1_001 * HOUR;
        assert_eq!(parts(&all, "s7"), [Part { number: 7, from: i64::MIN, until: since }]);
        assert_eq!(parts(&all, "new"), [Part { number: 7, from: since, until: i64::MAX }]);
        assert!(!all[7].has(since - 1) && all[7].has(since));
        assert!(matches!(place(&mut all, "another", later, later), Place::Full));
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let read: Vec<Series> = serde_json::from_str(r#"[{"name":"t","first":1,"last":2}]"#).unwrap();
        assert_eq!((&*read[0].name, read[0].last, read[0].since), ("t", Some(2), None));
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"[{"name":"t","first":1,"last":2}]"#);
    }
}
