//! Memory goes back to the system when a crowd has left. The allocator gives back what a thread has freed when that
//! thread next works with memory, and a worker without work does not: of ten thousand connections that are gone it
//! would keep the most.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::runtime::Handle;

/// Fewer connections are no crowd.
const CROWD: usize = 500;
/// How long after it was found gone memory is given back, in looks.
const LOOKS: u32 = 20;
/// Looks from one time to the next.
const LOOKS_BETWEEN: u32 = 4;

/// How often all threads were asked.
static ASKED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How often they were asked when this thread gave back last.
    static GIVEN: Cell<u32> = const { Cell::new(0) };
}

/// How many have been here.
#[derive(Default)]
pub(crate) struct Crowd {
    most: usize,
    looks_left: u32,
}

impl Crowd {
    /// Notes how many are here, and whether now is a time to give memory back: for some looks after half of them left.
    pub(crate) fn has_left(&mut self, here: usize) -> bool {
        self.most = self.most.max(here);
        if self.most >= CROWD && here <= self.most / 2 {
            self.most = here;
            self.looks_left = LOOKS;
        }
        let due = self.looks_left > 0 && self.looks_left.is_multiple_of(LOOKS_BETWEEN);
        self.looks_left = self.looks_left.saturating_sub(1);
        due
    }
}

/// Asks every worker of this runtime to give back what it does not need.
pub(crate) fn give_back() {
    ASKED.fetch_add(1, Relaxed);
    let workers = Handle::current();
    // Work wakes those that sleep.
    for _ in 0..workers.metrics().num_workers() {
        workers.spawn(async {});
    }
}

/// What a worker does before it sleeps.
pub(crate) fn before_sleep() {
    let asked = ASKED.load(Relaxed);
    if GIVEN.replace(asked) != asked {
        collect();
    }
}

#[expect(
    unsafe_code,
    reason = "no safe wrapper exists; the call takes no memory of ours and may be made at any time"
)]
fn collect() {
    // SAFETY: it frees memory that the allocator holds unused, of the calling thread.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_some_times_after_half_of_a_crowd_left() {
        let mut crowd = Crowd::default();
        let mut times = |here, looks| (0..looks).filter(|_| crowd.has_left(here)).count();
        assert_eq!((times(10, 5), times(0, 50)), (0, 0), "no crowd");
        assert_eq!((times(1000, 5), times(501, 5)), (0, 0));
        assert_eq!((times(500, 1), times(500, 50), times(500, 50)), (1, 4, 0));
        assert_eq!((times(250, 50), times(0, 50)), (5, 0), "250 were no crowd");
    }
}
