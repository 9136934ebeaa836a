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
}

impl Aggregate {
    pub(super) fn of(at: i64, value: f64) -> Self {
        Self { count: 1, min: value, max: value, sum: value, last: value, last_at: at }
    }

    /// Adds points that came after those that are in; of two at the same moment the later one counts as last.
    pub(super) fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.sum = tidy(self.sum + later.sum);
        if later.last_at >= self.last_at {
            (self.last, self.last_at) = (later.last, later.last_at);
        }
    }

    /// The arithmetic mean.
    pub(super) fn average(&self) -> f64 {
        self.sum / self.count as f64
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
    for number in 0..many {
        let begin = begins[number];
        let found = Aggregate {
            count: counts[number],
            min: min[number],
            max: max[number],
            sum: sum[number],
            last: last[number],
            last_at: begin.wrapping_add(lasts_at[number] as i64),
        };
        visit(begin, &found);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
