//! A clock that moves only when the test advances it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use relais_protocol::time::{Clock, Timestamp};

/// A clock that moves only when the test advances it.
#[derive(Debug)]
pub struct TestClock {
    now: AtomicI64,
    steady: AtomicI64,
}

impl TestClock {
    /// A clock that shows `ms` milliseconds since 1970.
    #[must_use]
    pub fn at(ms: i64) -> Arc<Self> {
        Arc::new(Self { now: AtomicI64::new(ms), steady: AtomicI64::new(ms) })
    }

    /// Advances the time.
    pub fn advance_ms(&self, ms: i64) {
        self.leap_ms(ms);
        self.steady.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock forward, or back if `ms` is negative, without any time passing.
    pub fn leap_ms(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Timestamp {
        Timestamp::from_millis(self.steady.load(Ordering::SeqCst))
    }
}
