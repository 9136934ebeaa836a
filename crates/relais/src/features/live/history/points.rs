//! Points as they come: what one module says at one moment, for several series.

use super::codec::{Damaged, Reader, put_i64, put_u64, put_value};

/// Series of one module: each is a bit.
pub const SERIES_MAX: usize = 64;

/// One moment: when, and which series have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    at: i64,
    mask: u64,
}

/// Points of one module in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Points {
    moments: Vec<Moment>,
    /// Of each moment the values of its series, lowest series first.
    values: Vec<f64>,
}

/// The numbers of the series in a mask, lowest first.
pub(super) fn series_in(mask: u64) -> impl Iterator<Item = u8> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let series = rest.trailing_zeros() as u8;
        rest &= rest.wrapping_sub(1);
        (usize::from(series) < SERIES_MAX).then_some(series)
    })
}

impl Points {
    /// Adds a moment; `values` are those of the series in `mask`, lowest series first.
    pub(super) fn push(&mut self, at: i64, mask: u64, values: &[f64]) {
        debug_assert_eq!(mask.count_ones() as usize, values.len());
        self.moments.push(Moment { at, mask });
        self.values.extend_from_slice(values);
    }

    /// Adds others after them.
    pub(super) fn append(&mut self, others: &Self) {
        self.moments.extend_from_slice(&others.moments);
        self.values.extend_from_slice(&others.values);
    }

    /// How many moments there are.
    pub(super) fn moments(&self) -> usize {
        self.moments.len()
    }

    /// Every moment with its mask and its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, u64, &[f64])> {
        let mut from = 0;
        self.moments.iter().map(move |moment| {
            let values = &self.values[from..from + moment.mask.count_ones() as usize];
            from += values.len();
            (moment.at, moment.mask, values)
        })
    }

    /// Shows every point: series, time, value.
    pub(super) fn each(&self, mut visit: impl FnMut(u8, i64, f64)) {
        for (at, mask, values) in self.iter() {
            for (series, value) in series_in(mask).zip(values) {
                visit(series, at, *value);
            }
        }
    }

    /// Writes them as they are kept until they are sorted by series.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.moments.len() as u64);
        let mut before = 0;
        for (at, mask, values) in self.iter() {
            put_i64(out, at.wrapping_sub(before));
            put_u64(out, mask);
            values.iter().for_each(|value| put_value(out, *value));
            before = at;
        }
    }

    /// Adds what [`Self::write`] wrote.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        let mut reader = Reader::new(bytes);
        let mut at = 0i64;
        for _ in 0..reader.count()? {
            at = at.wrapping_add(reader.i64()?);
            let mask = reader.u64()?;
            self.moments.push(Moment { at, mask });
            for _ in 0..mask.count_ones() {
                self.values.push(reader.value()?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_come_back_in_the_order_in_which_they_came() {
        let mut points = Points::default();
        points.push(1_800_000_000_000, 0b1011, &[21.5, -3.0, 1e300]);
        points.push(1_799_999_999_000, 1 << 63, &[0.1]);
        points.push(1_800_000_000_000, 0, &[]);
        let mut bytes = Vec::new();
        points.write(&mut bytes);
        let mut read = Points::default();
        read.read(&bytes).unwrap();
        assert_eq!(read, points);
        let mut seen = Vec::new();
        read.each(|series, at, value| seen.push((series, at - 1_800_000_000_000, value)));
        assert_eq!(seen, [(0, 0, 21.5), (1, 0, -3.0), (3, 0, 1e300), (63, -1000, 0.1)]);
        assert!(Points::default().read(&bytes[..bytes.len() - 1]).is_err());
    }
}
