//! Small numbers from chance: repeatable from a seed, fast, and no secret.

/// A SplitMix64 generator. The same seed gives the same numbers in every version.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from the operating system's randomness.
    pub(crate) fn from_entropy() -> Self {
        let mut seed = [0; 8];
        // Without entropy every client is alike, which is worse but not wrong.
        let _ = getrandom::fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to and without 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from((self.bits() >> 40) as u32) / f64::from(1_u32 << 24)
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low + 1).unwrap_or(1);
        low + i64::try_from(self.bits() % span).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut chance = Chance::new(0);
        assert_eq!([chance.bits(), chance.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut chance = Chance::new(7);
        for _ in 0..1000 {
            assert!((-3..=5).contains(&chance.between(-3, 5)));
            assert!((0.0..1.0).contains(&chance.fraction()));
        }
    }
}
