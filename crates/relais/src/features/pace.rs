//! How often each person may do what concerns others: tell people something, have devices do something.

use std::collections::HashMap;

use parking_lot::Mutex;
use relais_protocol::time::Timestamp;

/// Times in a minute, and at once after a minute without one.
pub(crate) const PER_MINUTE: u32 = 60;
/// Milliseconds after which one more is allowed.
const STEP_MS: i64 = MINUTE_MS / PER_MINUTE as i64;
const MINUTE_MS: i64 = 60_000;
/// People remembered at most; beyond it all may begin afresh.
const PEOPLE_MAX: usize = 10_000;

/// Of each person the moment, in milliseconds, from which on all is allowed to them again.
#[derive(Default)]
pub(crate) struct Pace(Mutex<HashMap<String, i64>>);

impl Pace {
    /// Takes one, or says how many seconds to wait for it. `now` is steady time.
    pub(crate) fn take(&self, who: &str, now: Timestamp) -> Result<(), u64> {
        let now = now.as_millis();
        let mut people = self.0.lock();
        if people.len() >= PEOPLE_MAX && !people.contains_key(who) {
            people.retain(|_, free_at| *free_at > now);
            if people.len() >= PEOPLE_MAX {
                people.clear();
            }
        }
        let free_at = people.entry(who.to_owned()).or_insert(now);
        let taken = (*free_at).max(now) + STEP_MS;
        let missing_ms = taken - MINUTE_MS - now;
        if missing_ms > 0 {
            return Err(missing_ms.unsigned_abs().div_ceil(1000));
        }
        *free_at = taken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn taken(pace: &Pace, who: &str, now: Timestamp) -> usize {
        (0..200).take_while(|_| pace.take(who, now).is_ok()).count()
    }

    #[test]
    fn sixty_pass_at_once_then_one_each_second() {
        let pace = Pace::default();
        assert_eq!(taken(&pace, "lea", START), 60);
        assert_eq!(pace.take("lea", START), Err(1));
        assert_eq!(taken(&pace, "lea", START.plus_millis(999)), 0);
        assert_eq!(taken(&pace, "lea", START.plus_millis(5_000)), 5);
        assert_eq!(taken(&pace, "lea", START.plus_millis(120_000)), 60);
    }

    #[test]
    fn everybody_has_a_pace_of_their_own() {
        let pace = Pace::default();
        assert_eq!(taken(&pace, "lea", START), 60);
        assert_eq!(taken(&pace, "paul", START), 60);
    }

    #[test]
    fn those_who_may_do_everything_again_are_forgotten() {
        let pace = Pace::default();
        for number in 0..=PEOPLE_MAX {
            pace.take(&number.to_string(), START.plus_millis(i64::try_from(number).unwrap())).unwrap();
        }
        assert!(pace.0.lock().len() < PEOPLE_MAX);
    }
}
