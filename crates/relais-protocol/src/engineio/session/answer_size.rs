//! The size of one response to a GET, so that a client on a slow connection receives all of it, and a ping in it, well
//! before its heartbeat timeout.
//!
//! Like the TCP congestion window (RFC 5681, section 3.1), it starts small and grows while the client quickly polls for
//! the rest. The first packet, which confirms that a namespace is joined, therefore arrives at once.

use std::time::{Duration, Instant};

/// The initial and smallest response, in bytes; a longer packet is sent alone.
const BYTES_MIN: u32 = 1024;
/// A client that polls again within this time is sent more at once.
const QUICK: Duration = Duration::from_secs(1);
/// A client that takes longer than this is sent less.
const SLOW: Duration = Duration::from_secs(4);

/// The estimate for a polling client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerSize {
    bytes: u32,
    /// When the last GET arrived that was answered at once with part of the queue.
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

    /// Records a GET; `rest` is set if an earlier response left frames in the queue for it.
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

    /// Whether a ping must be sent ahead of the queue, because the server's own pings are queued behind it.
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
