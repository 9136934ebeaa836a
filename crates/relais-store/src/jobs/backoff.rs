//! How long a failed job waits before it is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use super::job::millis;
use super::kind::JobKind;

/// From here on a pause grows no further, for any kind.
const ATTEMPTS_COUNTED: u32 = 64;
/// The longest that another side can make us wait.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// The pause after this attempt, from 1, in milliseconds: the kind's, doubled each time, and up to as much again by
/// chance, so that what failed together does not come back together.
pub(super) fn pause_ms(kind: &JobKind, attempt: u32, chance: &mut fastrand::Rng) -> i64 {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(kind.backoff_min)
        .with_max_delay(kind.backoff_max)
        .with_factor(2.0)
        .without_max_times()
        .with_jitter()
        .with_jitter_seed(chance.u64(..));
    let counted = attempt.clamp(1, ATTEMPTS_COUNTED);
    let pause = pauses.build().nth(counted as usize - 1);
    millis(pause.unwrap_or(kind.backoff_max))
}

/// The pause that another side asked for, at most a day; never less, and up to a tenth more by chance.
pub(super) fn asked_ms(asked: Duration, chance: &mut fastrand::Rng) -> i64 {
    let ms = millis(asked.min(RETRY_AFTER_MAX));
    ms + chance.i64(0..=ms / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: JobKind = JobKind::new("k").backoff(Duration::from_secs(2), Duration::from_secs(600));

    #[test]
    fn pauses_double_up_to_the_longest_and_chance_adds_at_most_as_much_again() {
        let mut chance = fastrand::Rng::with_seed(1);
        for attempt in 1..200u32 {
            let plain = 2000i64.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(600_000);
            for _ in 0..20 {
                let pause = pause_ms(&KIND, attempt, &mut chance);
                assert!((plain..=2 * plain).contains(&pause), "{attempt}: {pause} beside {plain}");
            }
        }
    }

    #[test]
    fn what_fails_together_does_not_come_back_together() {
        let mut chance = fastrand::Rng::with_seed(1);
        let pauses: std::collections::HashSet<i64> =
            (0..100).map(|_| pause_ms(&KIND, 3, &mut chance)).collect();
        assert!(pauses.len() > 90, "{pauses:?}");
    }

    #[test]
    fn who_asked_for_a_pause_is_given_it_up_to_a_day() {
        let mut chance = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            assert!((30_000..=33_000).contains(&asked_ms(Duration::from_secs(30), &mut chance)));
            assert!(asked_ms(Duration::from_secs(1 << 40), &mut chance) <= 86_400_000 / 10 * 11);
        }
        assert_eq!(asked_ms(Duration::ZERO, &mut chance), 0);
    }
}
