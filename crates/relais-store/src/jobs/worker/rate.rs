//! How fast jobs end, to know how many to claim ahead.

use std::time::{Duration, Instant};

/// About as long as what is claimed ahead should last.
const WINDOW: Duration = Duration::from_millis(100);

/// Counts what ended in windows of a tenth of a second.
pub(super) struct Rate {
    since: Instant,
    count: usize,
    last: usize,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0, last: 0 }
    }

    pub(super) fn note(&mut self, count: usize) {
        self.count += count;
    }

    /// How many jobs will end in a window if they go on as they do.
    pub(super) fn per_window(&mut self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            let windows = passed.as_millis() / WINDOW.as_millis();
            self.last = self.count / usize::try_from(windows).unwrap_or(usize::MAX);
            (self.count, self.since) = (0, now);
        }
        self.last.max(self.count)
    }
}

#[cfg(test)]
mod tests {
    use relais_protocol::time::{Clock as _, SystemClock};

    use super::*;

    #[test]
    fn a_rate_grows_at_once_and_is_forgotten_when_nothing_ends() {
        let begun = SystemClock.instant();
        let after = |ms| begun + Duration::from_millis(ms);
        let mut rate = Rate::new(begun);
        assert_eq!(rate.per_window(begun), 0);
        rate.note(8);
        assert_eq!(rate.per_window(after(10)), 8);
        rate.note(40);
        assert_eq!(rate.per_window(after(100)), 48);
        assert_eq!(rate.per_window(after(150)), 48);
        assert_eq!(rate.per_window(after(200)), 0);
        rate.note(10);
        assert_eq!(rate.per_window(after(1200)), 1, "ten jobs in ten windows");
    }
}
