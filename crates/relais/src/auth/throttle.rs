//! Slows down guessing of passwords: per account and address together, and per address. Never per account alone, or
//! whoever guesses would shut its owner out.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use parking_lot::Mutex;
use relais_protocol::network::ClientNetwork;
use relais_protocol::time::Timestamp;

/// Attempts on one account from one address before waiting begins, and the longest wait in seconds.
const ACCOUNT: Rule = Rule { free: 8, wait_max_s: 300 };
/// The same for one address, where a whole office may sit behind one.
const ADDRESS: Rule = Rule { free: 40, wait_max_s: 900 };
/// Milliseconds without an attempt after which all is forgotten.
const FORGET_MS: i64 = 3_600_000;
/// Accounts and addresses remembered at most, each.
const ENTRIES_MAX: usize = 10_000;

#[derive(Clone, Copy)]
struct Rule {
    free: u32,
    wait_max_s: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    failures: u32,
    last: Timestamp,
    until: Timestamp,
}

/// An account, and from where somebody tries.
type Guessed = (String, Option<ClientNetwork>);

/// Counts attempts before their password is looked at, so that attempts made at once count as well as attempts
/// made in turn; success takes back what was counted.
#[derive(Default)]
pub(crate) struct Throttle {
    accounts: Mutex<HashMap<Guessed, Entry>>,
    addresses: Mutex<HashMap<ClientNetwork, Entry>>,
}

impl Throttle {
    /// Counts an attempt, or says how many seconds to wait.
    pub(crate) fn attempt(&self, account: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), u64> {
        let mut addresses = self.addresses.lock();
        let mut accounts = self.accounts.lock();
        let address = address.map(ClientNetwork::from);
        let guessed = (account.to_owned(), address);
        let waits = [address.and_then(|a| wait(&addresses, &a, now)), wait(&accounts, &guessed, now)];
        if let Some(seconds) = waits.into_iter().flatten().max() {
            return Err(seconds);
        }
        if let Some(address) = address {
            count(&mut addresses, address, ADDRESS, now);
        }
        count(&mut accounts, guessed, ACCOUNT, now);
        Ok(())
    }

    /// The attempt had the right password: the account starts afresh there, the address is given one back.
    pub(crate) fn succeeded(&self, account: &str, address: Option<IpAddr>) {
        let address = address.map(ClientNetwork::from);
        self.accounts.lock().remove(&(account.to_owned(), address));
        let mut addresses = self.addresses.lock();
        if let Some(entry) = address.and_then(|address| addresses.get_mut(&address)) {
            entry.failures = entry.failures.saturating_sub(1);
            entry.until = entry.last;
        }
    }
}

fn wait<K: Eq + Hash>(entries: &HashMap<K, Entry>, key: &K, now: Timestamp) -> Option<u64> {
    let missing = entries.get(key)?.until.as_millis().saturating_sub(now.as_millis());
    u64::try_from(missing).ok().filter(|ms| *ms > 0).map(|ms| ms.div_ceil(1000))
}

fn count<K: Eq + Hash + Clone>(entries: &mut HashMap<K, Entry>, key: K, rule: Rule, now: Timestamp) {
    make_room(entries, &key, now);
    let entry = entries.entry(key).or_insert(Entry { failures: 0, last: now, until: now });
    if now.as_millis().saturating_sub(entry.last.as_millis()) > FORGET_MS {
        entry.failures = 0;
    }
    entry.failures = entry.failures.saturating_add(1);
    entry.last = now;
    if let Some(over) = entry.failures.checked_sub(rule.free) {
        let seconds = 1_u64.checked_shl(over).unwrap_or(u64::MAX).min(rule.wait_max_s);
        entry.until = now.plus_millis(i64::try_from(seconds * 1000).unwrap_or(i64::MAX));
    }
}

fn make_room<K: Eq + Hash + Clone>(entries: &mut HashMap<K, Entry>, key: &K, now: Timestamp) {
    if entries.len() < ENTRIES_MAX || entries.contains_key(key) {
        return;
    }
    entries.retain(|_, entry| now.as_millis().saturating_sub(entry.last.as_millis()) <= FORGET_MS);
    if entries.len() < ENTRIES_MAX {
        return;
    }
    // Those that failed least are forgotten first, so that a flood of made-up names does not free the guessed
    // account.
    let mut failures: Vec<u32> = entries.values().map(|entry| entry.failures).collect();
    let (_, median, _) = failures.select_nth_unstable(ENTRIES_MAX / 10);
    let limit = *median;
    let mut excess = ENTRIES_MAX / 10;
    entries.retain(|_, entry| {
        let drop = entry.failures <= limit && excess > 0;
        excess -= usize::from(drop);
        !drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_failure_on_an_account_doubles_the_wait_up_to_a_limit() {
        let throttle = Throttle::default();
        let mut now = START;
        for _ in 0..ACCOUNT.free {
            assert_eq!(throttle.attempt("a", None, now), Ok(()));
        }
        let mut waits = Vec::new();
        while waits.len() < 12 {
            let seconds = throttle.attempt("a", None, now).unwrap_err();
            waits.push(seconds);
            now = now.plus_millis(i64::try_from(seconds).unwrap() * 1000);
            assert_eq!(throttle.attempt("a", None, now), Ok(()), "after the wait one attempt is free");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn whoever_guesses_does_not_shut_the_owner_out() {
        let throttle = Throttle::default();
        for guesser in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
            while throttle.attempt("a", address(guesser), START).is_ok() {}
        }
        assert_eq!(throttle.attempt("a", address("198.51.100.7"), START), Ok(()));
        throttle.succeeded("a", address("198.51.100.7"));
        assert!(throttle.attempt("a", address("192.0.2.1"), START).is_err(), "who guesses still waits");
    }

    #[test]
    fn an_attempt_that_was_refused_does_not_lengthen_the_wait() {
        let throttle = Throttle::default();
        while throttle.attempt("a", None, START).is_ok() {}
        let first = throttle.attempt("a", None, START);
        assert_eq!(throttle.attempt("a", None, START), first);
    }

    #[test]
    fn many_accounts_tried_from_one_network_are_slowed_down_too() {
        let throttle = Throttle::default();
        for n in 0..ADDRESS.free {
            assert_eq!(throttle.attempt(&n.to_string(), address(&format!("2001:db8::{n:x}")), START), Ok(()));
        }
        assert!(throttle.attempt("new", address("2001:db8::ffff:1"), START).is_err());
        assert_eq!(throttle.attempt("new", address("2001:db8:1::1"), START), Ok(()));
    }

    #[test]
    fn success_and_time_forgive() {
        let throttle = Throttle::default();
        for _ in 0..20 {
            throttle.attempt("a", address("192.0.2.1"), START).unwrap();
            throttle.succeeded("a", address("192.0.2.1"));
        }
        while throttle.attempt("b", None, START).is_ok() {}
        let later = START.plus_millis(FORGET_MS + 1);
        for _ in 0..ACCOUNT.free {
            assert_eq!(throttle.attempt("b", None, later), Ok(()));
        }
    }

    #[test]
    fn a_flood_of_names_neither_grows_without_limit_nor_frees_the_guessed_account() {
        let throttle = Throttle::default();
        while throttle.attempt("guessed", None, START).is_ok() {}
        for n in 0..ENTRIES_MAX * 2 {
            throttle.attempt(&format!("made-up-{n}"), None, START).unwrap();
        }
        assert!(throttle.accounts.lock().len() <= ENTRIES_MAX);
        assert!(throttle.attempt("guessed", None, START).is_err());
    }
}
