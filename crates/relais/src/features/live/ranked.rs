//! The locks of live modules and their order: whoever holds one takes only those of a higher [`Rank`], so that no two
//! threads wait for each other. Debug builds check that on every thread; others have the bare lock.
//!
//! They are several, since a single one would have devices wait while watchers are told of thousands of modules.

use std::ops::{Deref, DerefMut};

use parking_lot::{Mutex, MutexGuard};

/// What a lock guards, in the order in which locks are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Connections as they come and go, so that this is the same everywhere.
    Connections,
    /// What is told to watchers, so that no snapshot comes after what is newer.
    Publishing,
    /// The state of modules, or the open commands: for moments, and never both.
    State,
    /// How modules are reached, or what they have shown: nothing else is taken while one of these is held.
    Leaf,
}

/// A value under a lock with a rank.
pub(super) struct Ranked<T> {
    rank: Rank,
    value: Mutex<T>,
}

/// A value while its lock is held.
pub(super) struct RankedGuard<'a, T> {
    value: MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Ranked<T> {
    pub(super) fn new(rank: Rank, value: T) -> Self {
        Self { rank, value: Mutex::new(value) }
    }

    /// Waits for the lock.
    ///
    /// # Panics
    /// In a debug build, if this thread holds a lock of this rank or a higher one.
    pub(super) fn lock(&self) -> RankedGuard<'_, T> {
        let held = Held::new(self.rank);
        RankedGuard { value: self.value.lock(), _held: held }
    }
}

impl<T> Deref for RankedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for RankedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(debug_assertions)]
use checked::Held;

/// That a lock is held is not noted.
#[cfg(not(debug_assertions))]
struct Held;

#[cfg(not(debug_assertions))]
impl Held {
    fn new(_: Rank) -> Self {
        Self
    }
}

#[cfg(debug_assertions)]
mod checked {
    use std::cell::RefCell;

    use super::Rank;

    thread_local! {
        /// Of the locks that this thread holds.
        static RANKS: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    /// Notes for its life that a lock is held.
    pub(super) struct Held(Rank);

    impl Held {
        pub(super) fn new(rank: Rank) -> Self {
            RANKS.with_borrow_mut(|held| {
                let highest = held.iter().max();
                assert!(highest < Some(&rank), "a lock of {rank:?} is taken while {held:?} are held");
                held.push(rank);
            });
            Self(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            RANKS.with_borrow_mut(|held| {
                if let Some(place) = held.iter().rposition(|rank| *rank == self.0) {
                    held.swap_remove(place);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_their_order_and_given_back_in_any() {
        let (connections, publishing) = (Ranked::new(Rank::Connections, 1), Ranked::new(Rank::Publishing, 2));
        let state = Ranked::new(Rank::State, 3);
        for _ in 0..2 {
            let (first, second) = (connections.lock(), publishing.lock());
            drop(first);
            let third = state.lock();
            assert_eq!((*second, *third), (2, 3));
        }
        assert_eq!(*connections.lock(), 1, "nothing is held any more");
    }

    #[test]
    #[cfg(debug_assertions)]
    fn the_wrong_order_is_noticed_without_a_second_thread() {
        let (state, queue) = (Ranked::new(Rank::State, ()), Ranked::new(Rank::State, ()));
        let publishing = Ranked::new(Rank::Publishing, ());
        let panics = |lock: &Ranked<()>| {
            let lock = std::panic::AssertUnwindSafe(lock);
            std::panic::catch_unwind(|| drop(lock.lock())).is_err()
        };
        let held = state.lock();
        assert!(panics(&publishing) && panics(&queue) && panics(&state));
        drop(held);
        assert!(!panics(&publishing) && !panics(&queue) && !panics(&state));
    }
}
