//! Which tier a chart is read from, and how wide its buckets are.

use serde::Serialize;
use utoipa::ToSchema;

use super::aggregate::{DAY, HOUR, MINUTE};
use super::compact::floor;
use crate::config::HistoryConfig;

/// How finely points are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HistoryTier)]
pub enum Tier {
    /// Each by itself.
    Raw,
    /// Aggregates of a minute.
    Minute,
    /// Aggregates of an hour.
    Hour,
}

/// Widths of buckets that people read well, in milliseconds; an hour and more are multiples of an hour.
const STEPS: [i64; 29] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
];

/// How a chart is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) tier: Tier,
    pub(super) step: i64,
    /// The span, at both ends widened to whole buckets.
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Plan {
    /// The plan for a chart of at most `points` buckets from `from` to `to`, which is later.
    pub(super) fn new(from: i64, to: i64, points: i64, now: i64, config: &HistoryConfig) -> Self {
        let step = step(from, to, points);
        let tiers = [
            (Tier::Hour, HOUR, i64::from(config.hour_days) * DAY),
            (Tier::Minute, MINUTE, i64::from(config.minute_days) * DAY),
            (Tier::Raw, 1, i64::from(config.raw_hours) * HOUR),
        ];
        let reaches = |kept: i64| kept > 0 && from >= now - kept;
        // The coarsest that is fine enough is read fastest; else the finest that reaches back, else what reaches most.
        let fitting = tiers.iter().find(|(_, width, kept)| *width <= step && reaches(*kept));
        let reaching = || tiers.iter().rev().find(|(_, _, kept)| reaches(*kept));
        let longest = || tiers.iter().max_by_key(|(_, _, kept)| *kept);
        let (tier, width, _) = fitting.or_else(reaching).or_else(longest).copied().unwrap_or(tiers[2]);
        let step = step.max(width);
        Self { tier, step, from: floor(from, step), to: floor(to - 1, step).saturating_add(step) }
    }

    /// The width of an aggregate of this tier.
    pub(super) fn width(&self) -> Option<i64> {
        match self.tier {
            Tier::Raw => None,
            Tier::Minute => Some(MINUTE),
            Tier::Hour => Some(HOUR),
        }
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> usize {
        ((self.to - self.from) / self.step) as usize
    }
}

/// The narrowest bucket with which there are few enough.
fn step(from: i64, to: i64, points: i64) -> i64 {
    let fits = |step: i64| floor(to - 1, step) / step - floor(from, step) / step < points;
    let longer = std::iter::successors(Some(14 * DAY), |step| step.checked_mul(2));
    STEPS.into_iter().chain(longer).find(|step| fits(*step)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn plan(span: i64, points: i64) -> (Tier, i64) {
        let plan = Plan::new(NOW - span, NOW, points, NOW, &HistoryConfig::default());
        assert!(plan.buckets() as i64 <= points && plan.from <= NOW - span && plan.to >= NOW);
        (plan.tier, plan.step)
    }

    #[test]
    fn a_chart_is_read_from_the_coarsest_tier_that_is_fine_enough() {
        assert_eq!(plan(HOUR, 500), (Tier::Raw, 10_000));
        assert_eq!(plan(DAY, 500), (Tier::Minute, 5 * MINUTE));
        assert_eq!(plan(30 * DAY, 500), (Tier::Hour, 2 * HOUR));
        assert_eq!(plan(700 * DAY, 500), (Tier::Hour, 2 * DAY));
        assert_eq!(plan(1, 1), (Tier::Raw, 1));
    }

    #[test]
    fn a_tier_that_does_not_reach_back_is_not_asked() {
        let old = |config: &HistoryConfig| {
            let plan = Plan::new(NOW - 40 * DAY, NOW - 40 * DAY + HOUR, 500, NOW, config);
            (plan.tier, plan.step)
        };
        assert_eq!(old(&HistoryConfig::default()), (Tier::Hour, HOUR));
        assert_eq!(
            old(&HistoryConfig { minute_days: 60, ..HistoryConfig::default() }),
            (Tier::Minute, MINUTE)
        );
        let short = HistoryConfig { hour_days: 0, minute_days: 0, ..HistoryConfig::default() };
        assert_eq!(old(&short), (Tier::Raw, 10_000));
    }
}
