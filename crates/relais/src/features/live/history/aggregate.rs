//! Aggregates: what is kept of the points of a minute or an hour.

use std::collections::BTreeMap;

use relais_store::StoreError;

use super::codec::{Damaged, Packer, Reader, put_column, put_u64, unpack};
use super::points::SERIES_MAX;

/// Milliseconds of a minute, an hour, a day.
pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// What several points of one series come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Aggregate {
    pub(super) count: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) last: f64,
    /// When `last` was.
    pub(super) last_at: i64,
    /// How it began and grew; nothing for what an earlier version of this program aggregated.
    pub(super) growth: Option<Growth>,
}

/// How the points of an aggregate began, and by how much they grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Growth {
    pub(super) first: f64,
    /// When `first` was.
    pub(super) first_at: i64,
    /// The sum of all rises from one point to the next. See [`rise`].
    pub(super) increase: f64,
}

/// By how much a counter rose from one point to the next. One that is lower than before began afresh at 0, so it rose by
/// all that it shows.
pub(super) fn rise(from: f64, to: f64) -> f64 {
    if to >= from { to - from } else { to.max(0.0) }
}

impl Aggregate {
    pub(super) fn of(at: i64, value: f64) -> Self {
        let growth = Some(Growth { first: value, first_at: at, increase: 0.0 });
        Self { count: 1, min: value, max: value, sum: value, last: value, last_at: at, growth }
    }

    /// Adds points that came after those that are in; of two at the same moment the later one counts as last.
    ///
    /// What they grew by is exact if all of one come before all of the other in time. If not, it is exact for a counter
    /// that did not begin afresh meanwhile.
    pub(super) fn merge(&mut self, later: &Self) {
        self.growth = self.growth.zip(later.growth).map(|(own, other)| {
            if other.first_at >= self.last_at {
                own.followed(self.last, other)
            } else if later.last_at < own.first_at {
                other.followed(later.last, own)
            } else {
                let begin = if other.first_at < own.first_at { other } else { own };
                let end = if later.last_at >= self.last_at { later.last } else { self.last };
                let increase = own.increase.max(other.increase).max(end - begin.first);
                Growth { increase: tidy(increase), ..begin }
            }
        });
        self.count += later.count;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum = tidy(self.sum + later.sum);
        if later.last_at >= self.last_at {
            (self.last, self.last_at) = (later.last, later.last_at);
        }
    }

    /// The increase, if it is known, with the rise from the last point before.
    pub(super) fn increase_since(&self, before: Option<f64>) -> Option<f64> {
        let growth = self.growth?;
        Some(tidy(growth.increase + before.map_or(0.0, |before| rise(before, growth.first))))
    }

    /// The arithmetic mean.
    pub(super) fn average(&self) -> f64 {
        self.sum / self.count as f64
    }
}

impl Growth {
    /// Together with what came after it, which ended with `last`.
    fn followed(self, last: f64, next: Self) -> Self {
        Self { increase: tidy(self.increase + rise(last, next.first) + next.increase), ..self }
    }
}

/// The decimal next to a sum that differs from it by rounding only: it is short, and does not drift. A sum beyond what
/// a number can hold stays the greatest there is.
fn tidy(sum: f64) -> f64 {
    let near = (sum * 1e6).round() / 1e6;
    if (near - sum).abs() <= sum.abs() * 1e-14 { near } else { sum.clamp(f64::MIN, f64::MAX) }
}

/// Aggregates of one module by series and begin.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Aggregates(BTreeMap<(u8, i64), Aggregate>);

impl Aggregates {
    pub(super) fn add(&mut self, series: u8, begin: i64, later: &Aggregate) {
        match self.0.get_mut(&(series, begin)) {
            Some(known) => known.merge(later),
            None => {
                self.0.insert((series, begin), *later);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, i64, &Aggregate)> {
        self.0.iter().map(|((series, begin), aggregate)| (*series, *begin, aggregate))
    }

    /// Packs a row: aggregates of `width` milliseconds each, none before `start`.
    pub(super) fn encode(&self, start: i64, width: i64, packer: &mut Packer) -> Result<Vec<u8>, StoreError> {
        let (mut out, mut body) = (Vec::new(), Vec::new());
        for series in 0..SERIES_MAX as u8 {
            let of_series: Vec<(i64, &Aggregate)> = self
                .0
                .range((series, i64::MIN)..=(series, i64::MAX))
                .map(|((_, begin), aggregate)| (*begin, aggregate))
                .collect();
            if of_series.is_empty() {
                continue;
            }
            body.clear();
            write_series(&mut body, &of_series, start, width);
            out.push(series);
            put_u64(&mut out, body.len() as u64);
            out.extend_from_slice(&body);
        }
        packer.pack(&out)
    }
}

fn write_series(out: &mut Vec<u8>, of_series: &[(i64, &Aggregate)], start: i64, width: i64) {
    put_u64(out, of_series.len() as u64);
    let mut next = start;
    for (begin, _) in of_series {
        put_u64(out, ((begin - next) / width) as u64);
        next = begin + width;
    }
    of_series.iter().for_each(|(_, aggregate)| put_u64(out, aggregate.count));
    of_series.iter().for_each(|(begin, aggregate)| put_u64(out, (aggregate.last_at - begin) as u64));
    let parts: [fn(&Aggregate) -> f64; 4] = [|a| a.min, |a| a.max, |a| a.sum, |a| a.last];
    for part in parts {
        let column: Vec<f64> = of_series.iter().map(|(_, aggregate)| part(aggregate)).collect();
        put_column(out, &column);
    }
    write_growth(out, of_series);
}

/// What earlier versions of this program neither wrote nor read: it is at the end, where they stop. What is not known is
/// not a number.
fn write_growth(out: &mut Vec<u8>, of_series: &[(i64, &Aggregate)]) {
    let unknown = Growth { first: f64::NAN, first_at: i64::MIN, increase: 0.0 };
    let all: Vec<(i64, Growth)> =
        of_series.iter().map(|(begin, aggregate)| (*begin, aggregate.growth.unwrap_or(unknown))).collect();
    all.iter().for_each(|(begin, growth)| put_u64(out, growth.first_at.saturating_sub(*begin).max(0) as u64));
    put_column(out, &all.iter().map(|(_, growth)| growth.first).collect::<Vec<_>>());
    put_column(out, &all.iter().map(|(_, growth)| growth.increase).collect::<Vec<_>>());
}

/// Shows the aggregates of the series in `wanted` of a row that [`Aggregates::encode`] packed.
pub(super) fn decode(
    packed: &[u8],
    start: i64,
    width: i64,
    wanted: u64,
    mut visit: impl FnMut(u8, i64, &Aggregate),
) -> Result<(), Damaged> {
    let bytes = unpack(packed)?;
    let mut reader = Reader::new(&bytes);
    while !reader.is_at_end() {
        let (series, length) = (reader.byte()?, reader.count()?);
        let body = reader.take(length)?;
        if usize::from(series) >= SERIES_MAX {
            return Err(Damaged("a series of a high number"));
        }
        if wanted & 1 << series != 0 {
            read_series(Reader::new(body), start, width, &mut |begin, found| visit(series, begin, found))?;
        }
    }
    Ok(())
}

fn read_series(
    mut body: Reader<'_>,
    start: i64,
    width: i64,
    visit: &mut impl FnMut(i64, &Aggregate),
) -> Result<(), Damaged> {
    let many = body.count()?;
    let mut begins = Vec::new();
    let mut next = start;
    for _ in 0..many {
        let begin = next.wrapping_add(width.wrapping_mul(body.u64()? as i64));
        begins.push(begin);
        next = begin.wrapping_add(width);
    }
    let counts = (0..many).map(|_| body.u64()).collect::<Result<Vec<_>, _>>()?;
    let lasts_at = (0..many).map(|_| body.u64()).collect::<Result<Vec<_>, _>>()?;
    let mut columns: [Vec<f64>; 4] = Default::default();
    for column in &mut columns {
        body.column(many, column)?;
    }
    let [min, max, sum, last] = &columns;
    let growths = read_growth(&mut body, &begins)?;
    for number in 0..many {
        let begin = begins[number];
        let found = Aggregate {
            count: counts[number],
            min: min[number],
            max: max[number],
            sum: sum[number],
            last: last[number],
            last_at: begin.wrapping_add(lasts_at[number] as i64),
            growth: growths.get(number).copied().flatten(),
        };
        visit(begin, &found);
    }
    Ok(())
}

/// Nothing for a row that an earlier version wrote.
fn read_growth(body: &mut Reader<'_>, begins: &[i64]) -> Result<Vec<Option<Growth>>, Damaged> {
    if body.is_at_end() {
        return Ok(Vec::new());
    }
    let firsts_at = begins.iter().map(|_| body.u64()).collect::<Result<Vec<_>, _>>()?;
    let (mut firsts, mut increases) = (Vec::new(), Vec::new());
    body.column(begins.len(), &mut firsts)?;
    body.column(begins.len(), &mut increases)?;
    let all = begins.iter().zip(firsts_at).zip(firsts.into_iter().zip(increases));
    let known = |((begin, first_at), (first, increase)): ((&i64, u64), (f64, f64))| {
        let first_at = begin.wrapping_add(first_at as i64);
        (!first.is_nan()).then_some(Growth { first, first_at, increase })
    };
    Ok(all.map(known).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(points: &[(i64, f64)]) -> Aggregate {
        let mut all = points.iter().map(|(at, value)| Aggregate::of(*at, *value));
        let first = all.next().unwrap();
        all.fold(first, |mut known, point| {
            known.merge(&point);
            known
        })
    }

    fn increase(of: &Aggregate) -> f64 {
        of.growth.unwrap().increase
    }

    #[test]
    fn a_counter_that_begins_afresh_rose_by_all_that_it_shows() {
        let known = of(&[(1, 10.0), (2, 15.0), (3, 3.0), (4, 3.5)]);
        assert_eq!(increase(&known), 5.0 + 3.0 + 0.5);
        assert_eq!((known.growth.unwrap().first, known.last), (10.0, 3.5));
        assert_eq!(known.increase_since(Some(8.0)), Some(10.5));
        assert_eq!(known.increase_since(Some(100.0)), Some(18.5), "it began afresh before");
    }

    #[test]
    fn parts_come_to_the_same_in_any_order() {
        let (one, two) = (of(&[(1, 10.0), (2, 15.0)]), of(&[(3, 3.0), (4, 4.0)]));
        let (mut forth, mut back) = (one, two);
        forth.merge(&two);
        back.merge(&one);
        assert_eq!((forth.growth, increase(&back)), (back.growth, 5.0 + 3.0 + 1.0));
        let mut within = of(&[(1, 10.0), (9, 30.0)]);
        within.merge(&of(&[(4, 12.0), (5, 20.0)]));
        assert_eq!(increase(&within), 20.0, "late points between others");
        within.merge(&of(&[(8, 29.0), (12, 36.0)]));
        assert_eq!((increase(&within), within.last), (26.0, 36.0));
    }

    #[test]
    fn a_row_of_an_earlier_version_is_read_and_its_growth_is_not_known() {
        let written = [(60_000, Aggregate { growth: None, ..of(&[(60_001, 2.0), (60_002, 5.0)]) })];
        let mut body = Vec::new();
        let by_reference: Vec<(i64, &Aggregate)> =
            written.iter().map(|(begin, known)| (*begin, known)).collect();
        write_series(&mut body, &by_reference, 0, MINUTE);
        let mut growth = Vec::new();
        write_growth(&mut growth, &by_reference);
        for body in [&body[..body.len() - growth.len()], &body[..]] {
            let mut read = Vec::new();
            read_series(Reader::new(body), 0, MINUTE, &mut |begin, found| read.push((begin, *found)))
                .unwrap();
            assert_eq!(read, written);
            let mut together = read[0].1;
            together.merge(&Aggregate::of(70_000, 6.0));
            assert_eq!((together.growth, together.count, together.last), (None, 3, 6.0));
        }
    }

    #[test]
    fn a_row_comes_back_as_it_was() {
        let start = 1_800_000_000_000 - 1_800_000_000_000 % HOUR;
        let mut aggregates = Aggregates::default();
        for number in 0..300i64 {
            let at = start + number * 11_777;
            let value = 20.0 + number as f64 / 10.0;
            for series in [0, 7, 63] {
                aggregates.add(series, at - at % MINUTE, &Aggregate::of(at, value));
            }
        }
        let packed = aggregates.encode(start, MINUTE, &mut Packer::new().unwrap()).unwrap();
        let mut read = Aggregates::default();
        decode(&packed, start, MINUTE, u64::MAX, |series, begin, found| read.add(series, begin, found))
            .unwrap();
        assert_eq!(read, aggregates);
        let mut of_one = 0;
        decode(&packed, start, MINUTE, 1 << 7, |series, _, _| of_one += usize::from(series)).unwrap();
        assert_eq!(of_one, 7 * 59);
    }

    #[test]
    fn the_later_of_two_points_at_one_moment_is_the_last_and_an_earlier_moment_is_not() {
        let mut known = Aggregate::of(1000, 1.0);
        known.merge(&Aggregate::of(1000, 2.0));
        assert_eq!((known.last, known.count), (2.0, 2));
        known.merge(&Aggregate::of(999, 3.0));
        assert_eq!((known.last, known.max, known.average()), (2.0, 3.0, 2.0));
    }

    #[test]
    fn a_sum_of_decimals_is_a_decimal() {
        let mut known = Aggregate::of(0, 0.1);
        known.merge(&Aggregate::of(0, 0.2));
        assert_eq!(known.sum, 0.3);
    }
}
