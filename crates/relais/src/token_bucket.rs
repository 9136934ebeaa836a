//! How much one client may do in a while: token buckets, of one client and by key.

use std::cell::Cell;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, StateStore};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use relais_protocol::time::Timestamp;

/// Keys that are remembered at most; beyond it all may begin afresh.
const KEYS_MAX: usize = 10_000;

const NANOS_PER_S: u128 = 1_000_000_000;
/// How often in a minute, and at once, each person may do what concerns others: tell people something, have devices do
/// something, try codes.
pub(crate) const PER_MINUTE: u32 = 60;

/// So many per second, and twice as many at once.
pub(crate) fn per_second(count: u32) -> Quota {
    Quota::per_second(some(count)).allow_burst(some(count.saturating_mul(2)))
}

/// So many per minute, and all of them at once.
pub(crate) fn per_minute(count: u32) -> Quota {
    Quota::per_minute(some(count))
}

/// One at least: the settings refuse a limit that lets nothing through.
fn some(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
}

/// The moment that is asked about: whoever asks says what time it is, so a bucket holds no clock of its own.
struct Asked(Cell<Nanos>);

impl Asked {
    /// Before any time that a clock shows.
    fn first() -> Self {
        Self(Cell::new(Nanos::from(0)))
    }

    fn about(&self, now: Timestamp) -> Nanos {
        let ms = u64::try_from(now.as_millis()).unwrap_or(0);
        self.0.set(Duration::from_millis(ms).into());
        self.0.get()
    }
}

impl Clock for Asked {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get()
    }
}

type Limiter<S> = RateLimiter<<S as StateStore>::Key, S, Asked, NoOpMiddleware<Nanos>>;

/// Tokens of one client, which come back with time.
pub(crate) struct TokenBucket(Limiter<InMemoryState>);

impl TokenBucket {
    /// A full one.
    pub(crate) fn new(quota: Quota) -> Self {
        Self(RateLimiter::direct_with_clock(quota, Asked::first()))
    }

    /// Takes one; false if there is none. `now` is steady time.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        self.0.clock().about(now);
        self.0.check().is_ok()
    }
}

/// A bucket for each key.
pub(crate) struct TokenBuckets<K: Hash + Eq + Clone> {
    quota: Quota,
    limiter: Mutex<Limiter<HashMapStateStore<K>>>,
}

impl<K: Hash + Eq + Clone> TokenBuckets<K> {
    /// Full ones.
    pub(crate) fn new(quota: Quota) -> Self {
        Self { quota, limiter: Mutex::new(Self::limiter(quota)) }
    }

    fn limiter(quota: Quota) -> Limiter<HashMapStateStore<K>> {
        RateLimiter::hashmap_with_clock(quota, Asked::first())
    }

    /// Takes one, or says how many seconds to wait for it. `now` is steady time.
    pub(crate) fn take(&self, key: impl Into<K>, now: Timestamp) -> Result<(), u64> {
        let mut limiter = self.limiter.lock();
        let now = limiter.clock().about(now);
        let taken = limiter.check_key(&key.into());
        if limiter.len() > KEYS_MAX {
            // Whoever may do everything again need not be remembered.
            limiter.retain_recent();
            if limiter.len() > KEYS_MAX {
                *limiter = Self::limiter(self.quota);
            }
        }
        taken.map_err(|until| until.wait_time_from(now).as_nanos().div_ceil(NANOS_PER_S) as u64)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.limiter.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn taken(buckets: &TokenBuckets<String>, who: &str, now: Timestamp) -> usize {
        (0..200).take_while(|_| buckets.take(who, now).is_ok()).count()
    }

    #[test]
    fn a_burst_of_two_seconds_worth_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(per_second(10));
        let mut taken = |ms| (0..30).filter(|_| bucket.take(START.plus_millis(ms))).count();
        assert_eq!(taken(0), 20);
        assert_eq!(taken(500), 5);
        assert_eq!(taken(60_000), 20);
    }

    #[test]
    fn a_bucket_takes_no_more_room_than_it_has_to() {
        assert!(size_of::<TokenBucket>() <= 40, "every connection has one");
    }

    #[test]
    fn a_minutes_worth_passes_at_once_then_one_each_second() {
        let buckets = TokenBuckets::new(per_minute(60));
        assert_eq!(taken(&buckets, "lea", START), 60);
        assert_eq!(buckets.take("lea", START), Err(1));
        assert_eq!(taken(&buckets, "lea", START.plus_millis(999)), 0);
        assert_eq!(taken(&buckets, "lea", START.plus_millis(5_000)), 5);
        assert_eq!(taken(&buckets, "lea", START.plus_millis(120_000)), 60);
    }

    #[test]
    fn every_key_has_a_bucket_of_its_own() {
        let buckets = TokenBuckets::new(per_minute(60));
        assert_eq!(taken(&buckets, "lea", START), 60);
        assert_eq!(taken(&buckets, "paul", START), 60);
    }

    #[test]
    fn those_who_may_do_everything_again_are_forgotten() {
        let buckets = TokenBuckets::<usize>::new(per_minute(60));
        for number in 0..=KEYS_MAX {
            buckets.take(number, START.plus_millis(i64::try_from(number).unwrap())).unwrap();
        }
        assert!(buckets.len() < KEYS_MAX);
    }

    #[test]
    fn many_keys_do_not_grow_without_limit() {
        let buckets = TokenBuckets::<usize>::new(per_second(1));
        for number in 0..2 * KEYS_MAX {
            buckets.take(number, START).unwrap();
        }
        assert!(buckets.len() <= KEYS_MAX);
    }
}
