//! One timer for all sessions.

/// Seconds ahead that the wheel can hold; later entries are rescheduled on the way.
const SPOKES: u32 = 128;

/// Names of due entries, by second. Nothing is ever removed: an entry that is no longer due at that second ignores the
/// call.
pub(crate) struct TimerWheel<T> {
    now: u32,
    spokes: Vec<Vec<T>>,
}

impl<T> TimerWheel<T> {
    pub(crate) fn new() -> Self {
        Self { now: 0, spokes: (0..SPOKES).map(|_| Vec::new()).collect() }
    }

    pub(crate) fn now(&self) -> u32 {
        self.now
    }

    /// Schedules `name` for the second `due`, and returns the second at which it will come up: later than now, and
    /// within the wheel's range.
    pub(crate) fn schedule(&mut self, name: T, due: u32) -> u32 {
        let due = due.clamp(self.now + 1, self.now + SPOKES - 1);
        self.spokes[(due % SPOKES) as usize].push(name);
        due
    }

    /// Advances one second: returns what is due.
    pub(crate) fn advance(&mut self) -> Vec<T> {
        self.now += 1;
        std::mem::take(&mut self.spokes[(self.now % SPOKES) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_comes_up_at_its_second() {
        let mut wheel = TimerWheel::new();
        assert_eq!((wheel.schedule('a', 2), wheel.schedule('b', 0), wheel.schedule('c', 900)), (2, 1, 127));
        assert_eq!((wheel.advance(), wheel.advance(), wheel.advance()), (vec!['b'], vec!['a'], vec![]));
    }
}
