//! How long a device waits before it reconnects.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter, so that a fleet does not reconnect all at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Between half and all of 500 ms · 2ⁿ, at most 30 s.
    pub(super) fn next(&mut self, chance: &mut fastrand::Rng) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full / 2 + (full / 2).mul_f64(chance.f64())
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_vanish() {
        let (mut backoff, mut chance) = (Backoff::default(), fastrand::Rng::with_seed(1));
        for n in 0..40 {
            let full = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
            let pause = backoff.next(&mut chance);
            assert!(pause >= full / 2 && pause <= full, "pause {n} is {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut chance) <= FIRST);
    }
}
