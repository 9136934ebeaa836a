//! A block: points of one module within an hour, sorted by series, so that one series is read without the others.

use relais_store::StoreError;

use super::codec::{Damaged, Packer, Reader, put_column, put_i64, put_u64, unpack};
use super::points::{Points, SERIES_MAX, series_in};

/// Whether a series has a value at every moment of the block, or a bit per moment says so.
const ALWAYS: u8 = 0;
const SOMETIMES: u8 = 1;

/// Packs points. They keep their order within each series.
pub(super) fn encode(points: &Points, packer: &mut Packer) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    put_times(&mut out, points);
    let mut columns: Vec<Column> = vec![Column::default(); SERIES_MAX];
    let mut all = 0;
    for (moment, (_, mask, values)) in points.iter().enumerate() {
        all |= mask;
        for (series, value) in series_in(mask).zip(values) {
            let column = &mut columns[usize::from(series)];
            column.moments.push(moment);
            column.values.push(*value);
        }
    }
    let mut body = Vec::new();
    for series in series_in(all) {
        body.clear();
        columns[usize::from(series)].write(&mut body, points.moments());
        out.push(series);
        put_u64(&mut out, body.len() as u64);
        out.extend_from_slice(&body);
    }
    packer.pack(&out)
}

/// Moments come at an even pace, so the change of the pace is what is written.
fn put_times(out: &mut Vec<u8>, points: &Points) {
    put_u64(out, points.moments() as u64);
    let (mut before, mut pace) = (0i64, 0i64);
    for (at, _, _) in points.iter() {
        let step = at.wrapping_sub(before);
        put_i64(out, step.wrapping_sub(pace));
        (before, pace) = (at, step);
    }
}

/// The values of one series, and at which moments they were.
#[derive(Clone, Default)]
struct Column {
    moments: Vec<usize>,
    values: Vec<f64>,
}

impl Column {
    fn write(&self, out: &mut Vec<u8>, moments: usize) {
        if self.moments.len() == moments {
            out.push(ALWAYS);
        } else {
            out.push(SOMETIMES);
            let from = out.len();
            out.resize(from + moments.div_ceil(8), 0);
            self.moments.iter().for_each(|moment| out[from + moment / 8] |= 1 << (moment % 8));
        }
        put_column(out, &self.values);
    }
}

/// Shows the points of the series in `wanted`, series after series, each in its order.
pub(super) fn decode(packed: &[u8], wanted: u64, mut visit: impl FnMut(u8, i64, f64)) -> Result<(), Damaged> {
    let bytes = unpack(packed)?;
    let mut reader = Reader::new(&bytes);
    let times = times(&mut reader)?;
    let mut values = Vec::with_capacity(times.len());
    while !reader.is_at_end() {
        let (series, length) = (reader.byte()?, reader.count()?);
        let mut body = Reader::new(reader.take(length)?);
        if usize::from(series) >= SERIES_MAX {
            return Err(Damaged("a series of a high number"));
        }
        if wanted & 1 << series == 0 {
            continue;
        }
        if body.byte()? == ALWAYS {
            body.column(times.len(), &mut values)?;
            times.iter().zip(&values).for_each(|(at, value)| visit(series, *at, *value));
        } else {
            let bits = body.take(times.len().div_ceil(8))?;
            let is_there = |moment: &usize| bits[moment / 8] & 1 << (moment % 8) != 0;
            let there: Vec<usize> = (0..times.len()).filter(is_there).collect();
            body.column(there.len(), &mut values)?;
            there.iter().zip(&values).for_each(|(moment, value)| visit(series, times[*moment], *value));
        }
    }
    Ok(())
}

fn times(reader: &mut Reader<'_>) -> Result<Vec<i64>, Damaged> {
    let mut times = Vec::new();
    let (mut at, mut pace) = (0i64, 0i64);
    for _ in 0..reader.count()? {
        pace = pace.wrapping_add(reader.i64()?);
        at = at.wrapping_add(pace);
        times.push(at);
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_block_gives_each_series_back_in_its_order(
            moments in proptest::collection::vec((0i64..3_600_000, any::<u64>()), 0..30),
            wanted in any::<u64>(),
        ) {
            let mut points = Points::default();
            for (number, (at, mask)) in moments.iter().enumerate() {
                let values: Vec<f64> = series_in(*mask).map(|series| f64::from(series) + number as f64).collect();
                points.push(1_800_000_000_000 + at, *mask, &values);
            }
            let packed = encode(&points, &mut Packer::new().unwrap()).unwrap();
            let mut found = Vec::new();
            decode(&packed, wanted, |series, at, value| found.push((series, at, value))).unwrap();
            let mut expected = Vec::new();
            points.each(|series, at, value| expected.push((series, at, value)));
            expected.retain(|(series, ..)| wanted & 1 << series != 0);
            expected.sort_by_key(|(series, ..)| *series);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_damaged_block_is_refused_and_not_believed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, u64::MAX, |_, _, _| {});
        }
    }
}
