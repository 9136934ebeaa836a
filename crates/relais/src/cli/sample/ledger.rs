//! The entries of one société: what each account took in, month by month, to the cent.

use std::collections::BTreeMap;

use super::chance::Chance;
use super::plan::{POSTES, Poste, Rhythm, Side};

/// A société and how it differs from the firm that the plan describes, in hundredths.
pub(super) struct Profile {
    /// Its name.
    pub societe: &'static str,
    /// Its size.
    size: i64,
    /// The weight of its trade in goods.
    trade: i64,
    /// How much a year adds.
    growth: i64,
}

/// The sociétés of the seed's documentation.
pub(super) const PROFILES: [Profile; 3] = [
    Profile { societe: "rsp-bgs", size: 100, trade: 60, growth: 4 },
    Profile { societe: "rsp-neg", size: 70, trade: 240, growth: 2 },
    Profile { societe: "rsp-sb", size: 45, trade: 25, growth: 7 },
];

/// How busy each month is, in hundredths: August is quiet, June and November are not.
const SEASON: [i64; 12] = [88, 92, 106, 104, 101, 117, 98, 54, 108, 112, 116, 104];

/// What one account took in during a period, in cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Movement {
    /// Sum of the debits.
    pub debit: i64,
    /// Sum of the credits.
    pub credit: i64,
}

impl Movement {
    /// The amount as the account's side counts it.
    pub(super) fn amount(self, side: Side) -> i64 {
        match side {
            Side::Charge => self.debit - self.credit,
            Side::Produit => self.credit - self.debit,
        }
    }
}

/// The movements of a month or a year, by account number. Accounts that did not move are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Period(BTreeMap<&'static str, Movement>);

impl Period {
    /// What an account took in, if it moved.
    pub(super) fn of(&self, code: &str) -> Option<Movement> {
        self.0.get(code).copied()
    }

    /// The amount of a whole line.
    pub(super) fn amount(&self, poste: &Poste) -> i64 {
        let moved = poste.accounts.iter().filter_map(|(code, ..)| self.of(code));
        moved.map(|movement| movement.amount(poste.side)).sum()
    }

    fn add(&mut self, code: &'static str, movement: Movement) {
        let sum = self.0.entry(code).or_default();
        sum.debit += movement.debit;
        sum.credit += movement.credit;
    }
}

/// The twelve months of a year and their sum.
pub(super) struct Year {
    /// The year.
    pub year: u16,
    /// January to December.
    pub months: Vec<Period>,
    /// All of them together.
    pub total: Period,
}

/// The entries of `profile` in `year`; the same for the same `seed` for ever.
pub(super) fn entries(profile: &Profile, year: u16, seed: u64) -> Year {
    let name = profile.societe.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mut chance = Chance::new(name ^ (u64::from(year) << 32));
    let (mut months, mut total) = (Vec::with_capacity(12), Period::default());
    for month in 0..12 {
        let mut period = Period::default();
        for poste in POSTES {
            for &(code, _, thousands, rhythm) in poste.accounts {
                let expected = expected(profile, poste, thousands, rhythm, year, month);
                if expected != 0 {
                    let movement = movement(expected, poste.side, &mut chance);
                    period.add(code, movement);
                    total.add(code, movement);
                }
            }
        }
        months.push(period);
    }
    Year { year, months, total }
}

/// What an account is expected to take in during a month, in cents; 0 if it does not move then.
fn expected(
    profile: &Profile,
    poste: &Poste,
    thousands: i64,
    rhythm: Rhythm,
    year: u16,
    month: usize,
) -> i64 {
    let yearly = thousands * 100_000 * profile.size / 100;
    let trade = if poste.key.ends_with("_marchandises") { profile.trade } else { 100 };
    let grown = 100 + profile.growth * (i64::from(year) - 2021);
    let yearly = yearly * trade / 100 * grown.max(20) / 100;
    match rhythm {
        Rhythm::Monthly => yearly / 12 * SEASON[month] / 100,
        Rhythm::Quarterly if month % 3 == 2 => yearly / 4,
        Rhythm::Yearly if month == 11 => yearly,
        Rhythm::Quarterly | Rhythm::Yearly => 0,
    }
}

/// An amount near the expected one, and now and then a correction on the other side.
fn movement(expected: i64, side: Side, chance: &mut Chance) -> Movement {
    let size = expected.abs();
    let main = size * chance.between(880, 1120) / 1000 + chance.between(0, 99);
    let correction = if chance.between(0, 4) == 0 { size * chance.between(2, 30) / 1000 } else { 0 };
    let normal = (expected > 0) == (side == Side::Produit);
    if normal {
        Movement { debit: correction, credit: main }
    } else {
        Movement { debit: main, credit: correction }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_year_is_the_sum_of_its_months() {
        let year = entries(&PROFILES[0], 2023, 1);
        for poste in POSTES {
            let months: i64 = year.months.iter().map(|month| month.amount(poste)).sum();
            assert_eq!(months, year.total.amount(poste), "{}", poste.key);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_entries_and_another_one_others() {
        let total = |seed| entries(&PROFILES[1], 2024, seed).total;
        assert_eq!(total(1), total(1));
        assert_ne!(total(1), total(2));
    }

    #[test]
    fn discounts_lower_the_line_they_belong_to() {
        let year = entries(&PROFILES[0], 2023, 1);
        assert!(year.total.of("709700").unwrap().amount(Side::Produit) < 0);
        assert!(year.total.of("609700").unwrap().amount(Side::Charge) < 0);
    }

    #[test]
    fn a_firm_of_the_sample_is_one_that_lives() {
        for profile in &PROFILES {
            for year in 2020..=2026 {
                let total = entries(profile, year, 1).total;
                let sides =
                    |side| -> i64 { POSTES.iter().filter(|p| p.side == side).map(|p| total.amount(p)).sum() };
                let (earned, spent) = (sides(Side::Produit), sides(Side::Charge));
                let result = (earned - spent) * 100 / earned;
                assert!((-15..=25).contains(&result), "{} {year}: {result} %", profile.societe);
            }
        }
    }
}
