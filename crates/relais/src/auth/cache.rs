//! Rows that nearly every request needs, kept for a few seconds.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use relais_protocol::time::Timestamp;

/// How long a cached row is valid. Changes made by this process are visible at once; those made by another process,
/// such as the command line or another node, after this time at the latest.
pub const TTL_MS: i64 = 5_000;

/// Rows kept at most.
const ENTRIES_MAX: usize = 10_000;

/// Rows by id. Times are steady.
pub(crate) struct RowCache<T: Clone> {
    rows: Cache<Box<str>, (Timestamp, T)>,
    changes: AtomicU64,
}

/// The state of the database that a row was read from, or a later one.
#[derive(Clone, Copy)]
pub(crate) struct Seen(u64);

impl<T: Clone> RowCache<T> {
    pub(crate) fn new() -> Self {
        Self { rows: Cache::new(ENTRIES_MAX), changes: AtomicU64::new(0) }
    }

    pub(crate) fn get(&self, id: &str, now: Timestamp) -> Option<T> {
        let (at, row) = self.rows.get(id)?;
        (now < at.plus_millis(TTL_MS)).then_some(row)
    }

    /// To be called before the row is read.
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.changes.load(Ordering::SeqCst))
    }

    /// Keeps a row, unless something changed since it was read.
    pub(crate) fn keep(&self, id: &str, row: T, now: Timestamp, seen: Seen) {
        self.rows.insert(id.into(), (now, row));
        if self.changes.load(Ordering::SeqCst) != seen.0 {
            self.rows.remove(id);
        }
    }

    /// The row changed.
    pub(crate) fn forget(&self, id: &str) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.rows.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_row_counts_for_a_short_time() {
        let cache = RowCache::new();
        cache.keep("a", 1, NOW, cache.seen());
        assert_eq!(cache.get("a", NOW.plus_millis(TTL_MS - 1)), Some(1));
        assert_eq!(cache.get("a", NOW.plus_millis(TTL_MS)), None);
    }

    #[test]
    fn a_row_read_before_a_change_is_not_kept_after_it() {
        let cache = RowCache::new();
        let seen = cache.seen();
        cache.forget("a");
        cache.keep("a", 1, NOW, seen);
        assert_eq!(cache.get("a", NOW), None);
    }
}
