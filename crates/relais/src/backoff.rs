//! How long to wait before trying again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// The longest pause that a server's `Retry-After` is followed for.
const ASKED_LONGEST: Duration = Duration::from_secs(120);

/// Pauses that grow, each with chance in it, so that many clients of one server do not return together.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
    rule: ExponentialBuilder,
    pauses: ExponentialBackoff,
}

impl Backoff {
    /// Pauses between half and all of `first` · 2ⁿ, at most `longest`; `seed` decides the chance.
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        // Its jitter is up to as much again.
        let rule = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(longest / 2)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed);
        Self { failures: 0, longest, rule, pauses: rule.build() }
    }

    /// The same with a seed from the operating system.
    pub(crate) fn from_entropy(first: Duration, longest: Duration) -> Self {
        // Without entropy every client is alike, which is worse but not wrong.
        Self::new(first, longest, getrandom::u64().unwrap_or_default())
    }

    /// How often it has failed since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause before the next attempt. What the server asked for is the least, up to two minutes.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let pause = self.pauses.next().unwrap_or(self.longest);
        match asked {
            Some(asked) => asked.min(ASKED_LONGEST) + (pause / 2).min(Duration::from_secs(1)),
            None => pause,
        }
    }

    /// Forgets the failures, after a success.
    pub(crate) fn reset(&mut self) {
        (self.failures, self.pauses) = (0, self.rule.build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(15);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(FIRST, LONGEST, seed)
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_never_vanish() {
        let mut backoff = backoff(1);
        for n in 0..40_u32 {
            let full = FIRST.saturating_mul(1 << n.min(16)).min(LONGEST);
            let pause = backoff.next(None);
            assert!(pause >= full / 2 && pause <= full, "pause {n} is {pause:?}, not within {full:?}");
        }
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        assert_ne!(backoff(1).next(None), backoff(2).next(None));
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        let mut backoff = backoff(7);
        let asked = Duration::from_secs(30);
        let pause = backoff.next(Some(asked));
        assert!(pause >= asked && pause <= asked + Duration::from_secs(1), "{pause:?}");
        let absurd = backoff.next(Some(Duration::from_secs(1_000_000)));
        assert!(absurd <= ASKED_LONGEST + Duration::from_secs(1), "{absurd:?}");
    }
}
