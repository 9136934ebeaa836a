//! How long to wait before trying again.

use std::time::Duration;

use super::chance::Chance;

/// The first pause; each one after it doubles.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause that is chosen here.
const LONGEST: Duration = Duration::from_secs(15);
/// The longest pause that a server's `Retry-After` is followed for.
const ASKED_LONGEST: Duration = Duration::from_secs(120);

/// Pauses that grow, each with chance in it, so that many clients of one server do not return together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    failures: u32,
    chance: Chance,
}

impl Backoff {
    /// Starts at the shortest pause; `seed` decides the chance.
    #[cfg(test)]
    pub(crate) fn new(seed: u64) -> Self {
        Self { failures: 0, chance: Chance::new(seed) }
    }

    /// Starts at the shortest pause with a seed from the operating system.
    pub(crate) fn from_entropy() -> Self {
        Self { failures: 0, chance: Chance::from_entropy() }
    }

    /// How often it has failed since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause before the next attempt: between half and all of 250 ms · 2ⁿ, at most 15 s. What the server
    /// asked for is the least, up to two minutes.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        let jitter = half.mul_f64(self.chance.fraction());
        match asked {
            Some(asked) => asked.min(ASKED_LONGEST) + jitter.min(Duration::from_secs(1)),
            None => half + jitter,
        }
    }

    /// Forgets the failures, after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Reads a `Retry-After` header in seconds; the form with a date is not used by any server of ours.
pub(crate) fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_never_vanish() {
        let mut backoff = Backoff::new(1);
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
        let (mut a, mut b) = (Backoff::new(1), Backoff::new(2));
        assert_ne!(a.next(None), b.next(None));
    }

    #[test]
    fn what_the_server_asks_for_is_the_least() {
        let mut backoff = Backoff::new(7);
        let asked = Duration::from_secs(30);
        let pause = backoff.next(Some(asked));
        assert!(pause >= asked && pause <= asked + Duration::from_secs(1), "{pause:?}");
        let absurd = backoff.next(Some(Duration::from_secs(1_000_000)));
        assert!(absurd <= ASKED_LONGEST + Duration::from_secs(1), "{absurd:?}");
    }
}
