//! Numbers in few bytes: what measurements look like (few decimals, small steps) is short, and every finite `f64` comes
//! back bit for bit.

use relais_store::StoreError;

/// Decimals that a number is looked at with.
const DECIMALS_MAX: u8 = 6;
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
/// Below it every whole number is an `f64`, and a multiplication errs by less than a half.
const WHOLE_MAX: u64 = 1 << 50;

/// The tag of one number that is not a short decimal.
const BITS: u64 = 7;
/// How a column is written: with 0 to [`DECIMALS_MAX`] decimals, as bits, or as one number for all.
const COLUMN_BITS: u8 = 8;
const COLUMN_SAME: u8 = 9;

/// Level of compression: the fastest, since columns have taken out most already.
const LEVEL: i32 = 1;
/// Bytes that one packed piece may have once unpacked.
const UNPACKED_MAX: u64 = 64 * 1024 * 1024;

/// Bytes that are not what was written.
#[derive(Debug, thiserror::Error)]
#[error("a piece of history is damaged ({0}): restore a backup, or remove the module's history")]
pub(super) struct Damaged(pub(super) &'static str);

impl From<Damaged> for StoreError {
    fn from(damaged: Damaged) -> Self {
        Self::Value(damaged.to_string())
    }
}

/// A whole number, short if it is small.
pub(super) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A whole number, short if it is near 0.
pub(super) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, zigzag(value));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// One number by itself.
pub(super) fn put_value(out: &mut Vec<u8>, value: f64) {
    let found = (0..=DECIMALS_MAX).find_map(|decimals| Some((decimals, as_decimal(value, decimals)?)));
    match found {
        Some((decimals, whole)) => put_u64(out, zigzag(whole) << 3 | u64::from(decimals)),
        None => {
            put_u64(out, BITS);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// The number as a count of its last decimal, if that is exact.
fn as_decimal(value: f64, decimals: u8) -> Option<i64> {
    let power = POWERS[usize::from(decimals)];
    let whole = (value * power).round() as i64;
    let is_exact = whole.abs_diff(0) < WHOLE_MAX && (whole as f64 / power).to_bits() == value.to_bits();
    is_exact.then_some(whole)
}

/// Numbers that follow each other: of one series, in time.
pub(super) fn put_column(out: &mut Vec<u8>, values: &[f64]) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(COLUMN_SAME);
        put_value(out, *first);
        return;
    }
    match decimals_of(values) {
        Some(decimals) => put_decimals(out, values, decimals),
        None => put_bits(out, values),
    }
}

/// The fewest decimals with which every number is exact.
fn decimals_of(values: &[f64]) -> Option<u8> {
    let mut decimals = 0;
    for value in values {
        decimals = (decimals..=DECIMALS_MAX).find(|decimals| as_decimal(*value, *decimals).is_some())?;
    }
    values.iter().all(|value| as_decimal(*value, decimals).is_some()).then_some(decimals)
}

fn put_decimals(out: &mut Vec<u8>, values: &[f64], decimals: u8) {
    out.push(decimals);
    let mut before = 0;
    for value in values {
        let whole = as_decimal(*value, decimals).unwrap_or_default();
        put_i64(out, whole - before);
        before = whole;
    }
}

/// What differs from the number before, without its empty bytes at both ends.
fn put_bits(out: &mut Vec<u8>, values: &[f64]) {
    out.push(COLUMN_BITS);
    let mut before = 0;
    for value in values {
        let changed = value.to_bits() ^ before;
        before = value.to_bits();
        let low = (changed.trailing_zeros() / 8).min(7) as usize;
        let high = (changed.leading_zeros() / 8) as usize;
        let kept = 8usize.saturating_sub(low + high);
        out.push((low << 4 | kept) as u8);
        out.extend_from_slice(&changed.to_le_bytes()[low..low + kept]);
    }
}

/// Reads what the functions above wrote.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged("it ends early"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damaged("a number does not end"))
    }

    pub(super) fn i64(&mut self) -> Result<i64, Damaged> {
        self.u64().map(unzigzag)
    }

    /// A count of things that take at least a bit each, so that nothing is reserved for what is not there.
    pub(super) fn count(&mut self) -> Result<usize, Damaged> {
        const COUNT_MAX: u64 = 1 << 24;
        match self.u64()? {
            count if count <= COUNT_MAX => Ok(count as usize),
            _ => Err(Damaged("a count is too large")),
        }
    }

    pub(super) fn value(&mut self) -> Result<f64, Damaged> {
        let number = self.u64()?;
        match number & 7 {
            BITS => {
                let bytes = self.take(8)?.try_into().map_err(|_| Damaged("it ends early"))?;
                Ok(f64::from_le_bytes(bytes))
            }
            decimals => Ok(unzigzag(number >> 3) as f64 / POWERS[decimals as usize]),
        }
    }

    pub(super) fn column(&mut self, count: usize, values: &mut Vec<f64>) -> Result<(), Damaged> {
        values.clear();
        if count == 0 {
            return Ok(());
        }
        match self.byte()? {
            COLUMN_SAME => values.resize(count, self.value()?),
            COLUMN_BITS => self.bits(count, values)?,
            decimals if decimals <= DECIMALS_MAX => {
                let (power, mut whole) = (POWERS[usize::from(decimals)], 0i64);
                for _ in 0..count {
                    whole = whole.wrapping_add(self.i64()?);
                    values.push(whole as f64 / power);
                }
            }
            _ => return Err(Damaged("a column of an unknown kind")),
        }
        Ok(())
    }

    fn bits(&mut self, count: usize, values: &mut Vec<f64>) -> Result<(), Damaged> {
        let mut before = 0;
        for _ in 0..count {
            let head = self.byte()?;
            let (low, kept) = (usize::from(head >> 4), usize::from(head & 15));
            let mut bytes = [0; 8];
            let place = bytes.get_mut(low..low + kept).ok_or(Damaged("a number is too long"))?;
            place.copy_from_slice(self.take(kept)?);
            before ^= u64::from_le_bytes(bytes);
            values.push(f64::from_bits(before));
        }
        Ok(())
    }
}

/// Compresses pieces one after the other with the same memory.
pub(super) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(super) fn new() -> Result<Self, StoreError> {
        zstd::bulk::Compressor::new(LEVEL).map(Self).map_err(|e| StoreError::Internal(e.to_string()))
    }

    /// The length, then the bytes, compressed if that makes them fewer.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let compressed = self.0.compress(bytes).map_err(|e| StoreError::Internal(e.to_string()))?;
        let is_shorter = compressed.len() < bytes.len();
        let mut out = Vec::with_capacity(compressed.len().min(bytes.len()) + 5);
        put_u64(&mut out, if is_shorter { bytes.len() as u64 } else { 0 });
        out.extend_from_slice(if is_shorter { &compressed } else { bytes });
        Ok(out)
    }
}

/// What [`Packer::pack`] was given.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, Damaged> {
    let mut reader = Reader::new(packed);
    match reader.u64()? {
        0 => Ok(reader.0.to_vec()),
        length if length <= UNPACKED_MAX => {
            let bytes = zstd::bulk::decompress(reader.0, length as usize);
            bytes.map_err(|_| Damaged("it cannot be unpacked"))
        }
        _ => Err(Damaged("it is too long")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = f64> {
        let odd = [0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 1e15, 0.1 + 0.2, 1e-7];
        prop_oneof![
            (-100_000i64..100_000, 0usize..7).prop_map(|(whole, decimals)| whole as f64 / POWERS[decimals]),
            any::<f64>().prop_filter("finite", |value| value.is_finite()),
            proptest::sample::select(odd.to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn every_number_comes_back_bit_for_bit(values in proptest::collection::vec(numbers(), 0..40)) {
            let mut out = Vec::new();
            put_column(&mut out, &values);
            values.iter().for_each(|value| put_value(&mut out, *value));
            let packed = Packer::new().unwrap().pack(&out).unwrap();
            let bytes = unpack(&packed).unwrap();
            let (mut reader, mut read) = (Reader::new(&bytes), Vec::new());
            reader.column(values.len(), &mut read).unwrap();
            let single: Vec<f64> = values.iter().map(|_| reader.value().unwrap()).collect();
            prop_assert!(reader.is_at_end());
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&values));
            prop_assert_eq!(bits(&single), bits(&values));
        }

        #[test]
        fn bytes_that_are_damaged_are_refused_and_not_believed(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            count in 0usize..50,
        ) {
            let mut values = Vec::new();
            if Reader::new(&bytes).column(count, &mut values).is_ok() {
                prop_assert_eq!(values.len(), count);
            }
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn measurements_are_short() {
        let mut out = Vec::new();
        put_column(&mut out, &[21.5, 21.6, 21.4, 21.4, 21.7]);
        assert_eq!(out.len(), 1 + 2 + 4);
        out.clear();
        put_value(&mut out, 21.5);
        assert_eq!(out.len(), 2);
    }
}
