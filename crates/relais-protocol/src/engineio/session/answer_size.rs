//! How much one answer to a GET holds, so that a client on a slow line has the whole of it, and a ping in it, well
//! before it takes the silence for the end.
//!
//! As TCP does with its window (RFC 5681, section 3.1), a session begins small and grows while the client comes back
//! quickly for the rest. What comes first, the packet that says that a namespace is joined, so arrives at once.

use std::time::{Duration, Instant};

/// Bytes of an answer at the start, and at least; a longer packet goes alone.
const BYTES_MIN: u32 = 1024;
/// A client that is back within this time can take more at once.
const QUICK: Duration = Duration::from_secs(1);
/// One that needs longer than this gets less.
const SLOW: Duration = Duration::from_secs(4);

/// What is known of a polling client's line.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerSize {
    bytes: u32,
    /// When the last GET came that was answered at once with a part of what waited.
    pursued: Option<Instant>,
    /// When the client was last pinged here.
    pinged: Instant,
}

impl AnswerSize {
    pub(super) const fn new(now: Instant) -> Self {
        Self { bytes: BYTES_MIN, pursued: None, pinged: now }
    }

    pub(super) fn bytes(&self, bytes_max: u32) -> u32 {
        self.bytes.min(bytes_max)
    }

    /// A GET came; `rest` says whether an earlier answer left something for it.
    pub(super) fn asked(&mut self, rest: bool, bytes_max: u32, now: Instant) {
        let before = std::mem::replace(&mut self.pursued, rest.then_some(now));
        let Some(before) = before.filter(|_| rest) else { return };
        let took = now.saturating_duration_since(before);
        if took < QUICK {
            self.bytes = self.bytes.saturating_mul(4).min(bytes_max.max(BYTES_MIN));
        } else if took > SLOW {
            self.bytes = (self.bytes / 2).max(BYTES_MIN);
        }
    }

    /// Whether a ping is to go before what waits, because those of the server are behind it.
    pub(super) fn wants_ping(&mut self, interval: Duration, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.pinged) >= interval;
        if due {
            self.pinged = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock as _, SystemClock};

    #[test]
    fn a_quick_client_soon_gets_as_much_as_fits_and_a_slow_one_less() {
        let start = SystemClock.instant();
        let mut size = AnswerSize::new(start);
        let mut now = start;
        let mut ask = |after_ms: u64| {
            now += Duration::from_millis(after_ms);
            size.asked(true, 100_000, now);
            size.bytes(100_000)
        };
        assert_eq!(
            [ask(10), ask(10), ask(10), ask(10), ask(10), ask(10)],
            [1024, 4096, 16_384, 65_536, 100_000, 100_000]
        );
        assert_eq!([ask(5000), ask(2000), ask(9000)], [50_000, 50_000, 25_000]);
    }

    #[test]
    fn the_time_between_two_answers_that_had_to_be_waited_for_says_nothing() {
        let start = SystemClock.instant();
        let mut size = AnswerSize::new(start);
        for second in 0..20 {
            size.asked(second % 2 == 0, 100_000, start + Duration::from_secs(second * 10));
        }
        assert_eq!(size.bytes(100_000), BYTES_MIN);
    }
}
