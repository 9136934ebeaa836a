//! How many messages one client may send.

use std::time::Instant;

/// Tokens that come back with time: `per_second` of them, and twice as many for a burst.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, left: per_second * 2.0, at: now }
    }

    /// Takes one; false if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second * 2.0);
        self.at = now;
        let taken = self.left >= 1.0;
        if taken {
            self.left -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_of_two_seconds_worth_passes_and_then_the_pace_holds() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert_eq!((0..30).filter(|_| pace.take(start)).count(), 20);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..30).filter(|_| pace.take(later)).count(), 5);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..30).filter(|_| pace.take(much_later)).count(), 20);
    }
}
