//! Who has how many connections, and which of them can be ended when places are short.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use super::activity::{Activity, NOWHERE, Order};
use super::guests::{Awaited, Guest};

/// A client that was silent for less is not ended to make room: its next bytes may be on their way.
const SILENCE_MIN_MS: u64 = 1_000;
/// The same while others wait to be let in.
const PRESSING_SILENCE_MIN_MS: u64 = 250;

/// Clients that count together: an IPv4 address, or the 64 bits of an IPv6 address that name its network.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self(Ipv6Addr::from_bits(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// The connections of one origin.
#[derive(Default)]
struct Entry {
    /// Those that speak HTTP.
    http: Vec<Arc<Activity>>,
    /// Those that became something else, and requests that come through a proxy.
    others: usize,
    /// Those among the others that have not said who they are, by the numbers of their places.
    guests: BTreeMap<u64, Awaited>,
}

impl Entry {
    fn count(&self) -> usize {
        self.http.len() + self.others
    }

    fn add(&mut self, activity: Arc<Activity>) {
        activity.index.store(u32::try_from(self.http.len()).unwrap_or(NOWHERE), Relaxed);
        self.http.push(activity);
    }

    fn remove(&mut self, activity: &Activity) -> bool {
        let index = activity.index.swap(NOWHERE, Relaxed) as usize;
        if index >= self.http.len() {
            return false;
        }
        self.http.swap_remove(index);
        if let Some(moved) = self.http.get(index) {
            moved.index.store(u32::try_from(index).unwrap_or(NOWHERE), Relaxed);
        }
        true
    }
}

/// Every origin with its connections.
#[derive(Default)]
pub(super) struct Table(HashMap<Origin, Entry>);

impl Table {
    /// Adds a connection. `max` is how many its origin may have: beyond it the longest silent ones make room.
    ///
    /// # Errors
    /// If none of them is silent.
    pub(super) fn add(
        &mut self,
        origin: Origin,
        activity: Arc<Activity>,
        max: usize,
        now_ms: u64,
    ) -> Result<usize, TooMany> {
        let entry = self.0.entry(origin).or_default();
        let mut ended = 0;
        if entry.count() >= max {
            ended = end_silent(
                entry.http.iter(),
                entry.guests.values(),
                (max / 8).max(1),
                SILENCE_MIN_MS,
                now_ms,
            );
            // They count until they are gone, but the newcomer need not wait for that.
            if ended == 0 {
                return Err(TooMany);
            }
        }
        entry.add(activity);
        Ok(ended)
    }

    pub(super) fn remove(&mut self, origin: Origin, activity: &Activity) {
        if let Some(entry) = self.0.get_mut(&origin) {
            entry.remove(activity);
            self.forget_empty(origin);
        }
    }

    /// The connection speaks HTTP no more.
    fn make_live(&mut self, origin: Origin, activity: &Activity) {
        if let Some(entry) = self.0.get_mut(&origin)
            && entry.remove(activity)
        {
            entry.others += 1;
        }
    }

    fn add_other(&mut self, origin: Origin, max: usize) -> Result<(), TooMany> {
        let entry = self.0.entry(origin).or_default();
        if entry.count() >= max {
            self.forget_empty(origin);
            return Err(TooMany);
        }
        entry.others += 1;
        Ok(())
    }

    fn remove_other(&mut self, origin: Origin, number: Option<u64>) {
        if let Some(entry) = self.0.get_mut(&origin) {
            entry.others = entry.others.saturating_sub(1);
            if let Some(number) = number {
                entry.guests.remove(&number);
            }
            self.forget_empty(origin);
        }
    }

    /// A connection that became something else is expected to say who it is.
    pub(super) fn add_guest(&mut self, origin: Origin, number: u64, awaited: Awaited) {
        // Unless it has gone meanwhile, with the last of its origin.
        if let Some(entry) = self.0.get_mut(&origin).filter(|entry| entry.others > 0) {
            entry.guests.insert(number, awaited);
        }
    }

    /// Whoever has said who they are is no guest any more.
    pub(super) fn forget_known(&mut self) {
        for entry in self.0.values_mut().filter(|entry| !entry.guests.is_empty()) {
            entry.guests.retain(|_, guest| guest.is_awaited());
        }
    }

    fn forget_empty(&mut self, origin: Origin) {
        if self.0.get(&origin).is_some_and(|entry| entry.count() == 0) {
            self.0.remove(&origin);
        }
    }

    pub(super) fn http(&self) -> impl Iterator<Item = &Arc<Activity>> {
        self.0.values().flat_map(|entry| &entry.http)
    }

    /// Ends connections until `count` of them are about to, those first that have been silent longest. Says how many.
    /// `pressing`: nobody is let in before.
    pub(super) fn make_room(&self, count: usize, pressing: bool, now_ms: u64) -> usize {
        let guests = || self.0.values().flat_map(|entry| entry.guests.values());
        let leaving = self.http().filter(|activity| activity.must_leave()).count()
            + guests().filter(|guest| guest.must_leave()).count();
        let silence_ms = if pressing { PRESSING_SILENCE_MIN_MS } else { SILENCE_MIN_MS };
        end_silent(self.http(), guests(), count.saturating_sub(leaving), silence_ms, now_ms)
    }
}

/// A connection that can be ended to make room.
enum Silent<'a> {
    Http(&'a Activity),
    Guest(&'a Awaited),
}

fn end_silent<'a>(
    http: impl Iterator<Item = &'a Arc<Activity>>,
    guests: impl Iterator<Item = &'a Awaited>,
    count: usize,
    silence_ms: u64,
    now_ms: u64,
) -> usize {
    let http = http
        .filter(|activity| !activity.must_leave())
        .map(|activity| (activity.silent_ms(now_ms), Silent::Http(activity)));
    let guests = guests
        .filter(|guest| guest.is_awaited() && !guest.must_leave())
        .map(|guest| (guest.silent_ms(now_ms), Silent::Guest(guest)));
    let mut silent: Vec<_> = http.chain(guests).filter(|(silent_ms, _)| *silent_ms >= silence_ms).collect();
    let count = count.min(silent.len());
    if count < silent.len() && count > 0 {
        silent.select_nth_unstable_by_key(count - 1, |(silent_ms, _)| std::cmp::Reverse(*silent_ms));
    }
    for (_, connection) in &silent[..count] {
        match connection {
            Silent::Http(activity) => activity.order(Order::MakeRoom),
            Silent::Guest(guest) => guest.leave(),
        }
    }
    count
}

/// An origin has as many connections as it may, and none of them can be ended.
#[derive(Debug)]
pub(super) struct TooMany;

/// The place of a connection. It is free when this is dropped.
pub(crate) struct Place {
    shared: Arc<Shared>,
    origin: Origin,
    /// None: it is no HTTP connection any more.
    activity: Option<Arc<Activity>>,
    /// Whether what it became counts among those that may be served.
    is_served: bool,
    number: u64,
}

impl Place {
    pub(super) fn new(shared: &Arc<Shared>, origin: Origin, activity: Arc<Activity>) -> Self {
        let number = shared.next_place.fetch_add(1, Relaxed);
        Self { shared: Arc::clone(shared), origin, activity: Some(activity), is_served: false, number }
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        self.activity.as_ref().expect("it speaks HTTP until `into_live`")
    }

    /// The place goes on with what the connection became.
    pub(super) fn into_live(mut self) -> Self {
        if let Some(activity) = self.activity.take() {
            self.is_served = activity.holds_place();
            self.shared.table.lock().make_live(self.origin, &activity);
        }
        self
    }

    /// What the connection became, for as long as nobody knows whose it is.
    pub(crate) fn guest(&self) -> Guest {
        Guest::new(&self.shared, self.origin, self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let was_served = match self.activity.take() {
            Some(activity) => {
                self.shared.table.lock().remove(self.origin, &activity);
                activity.holds_place()
            }
            None => {
                self.shared.table.lock().remove_other(self.origin, Some(self.number));
                self.is_served
            }
        };
        self.shared.closed(was_served);
    }
}

/// The place of a client that comes through a proxy, for the time of a request or of what it became.
pub(crate) struct ClientPlace {
    shared: Arc<Shared>,
    origin: Origin,
}

impl ClientPlace {
    /// # Errors
    /// If the client has as many as it may.
    pub(super) fn take(shared: &Arc<Shared>, client: IpAddr) -> Result<Option<Arc<Self>>, TooMany> {
        let Some(max) = shared.limits.max_of(client) else { return Ok(None) };
        let origin = Origin::from(client);
        shared.table.lock().add_other(origin, max)?;
        Ok(Some(Arc::new(Self { shared: Arc::clone(shared), origin })))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.shared.table.lock().remove_other(self.origin, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::Connections;
    use super::*;
    use crate::config::ServerConfig;

    /// Connections that were opened a second after each other.
    fn opened(shared: &Arc<Shared>, count: u64) -> Vec<Arc<Activity>> {
        let open = |second: u64| {
            shared.swept_ms.store(second * 1_000, Relaxed);
            Arc::new(Activity::new(shared))
        };
        (1..=count).map(open).collect()
    }

    fn leaving(activities: &[Arc<Activity>]) -> Vec<bool> {
        activities.iter().map(|activity| activity.must_leave()).collect()
    }

    #[tokio::test]
    async fn those_that_were_silent_longest_make_room() {
        let connections = Connections::new(&ServerConfig::default(), 10);
        let (mut table, activities) = (Table::default(), opened(&connections.0, 4));
        for (place, activity) in activities.iter().enumerate() {
            let origin = Origin::from(IpAddr::from([203, 0, 113, u8::try_from(place).unwrap()]));
            table.add(origin, Arc::clone(activity), 1, 4_000).unwrap();
        }
        activities[0].begin();
        assert_eq!(table.make_room(1, false, 5_000), 1);
        assert_eq!(leaving(&activities), [false, true, false, false]);
        // One is leaving already.
        assert_eq!(table.make_room(2, false, 5_000), 1);
        assert_eq!(leaving(&activities), [false, true, true, false]);
        assert_eq!(table.make_room(9, false, 4_999), 0);
        assert_eq!(table.make_room(9, true, 4_999), 1);
        assert_eq!(leaving(&activities), [false, true, true, true]);
    }

    #[tokio::test]
    async fn an_address_makes_room_for_itself_only() {
        let connections = Connections::new(&ServerConfig::default(), 10);
        let (mut table, activities) = (Table::default(), opened(&connections.0, 4));
        let (one, other) = (IpAddr::from([203, 0, 113, 9]), IpAddr::from([203, 0, 113, 10]));
        table.add(other.into(), Arc::clone(&activities[0]), 2, 4_000).unwrap();
        table.add(one.into(), Arc::clone(&activities[1]), 2, 4_000).unwrap();
        table.add(one.into(), Arc::clone(&activities[2]), 2, 4_000).unwrap();
        assert_eq!(table.add(one.into(), Arc::clone(&activities[3]), 2, 5_000).unwrap(), 1);
        assert_eq!(leaving(&activities), [false, true, false, false]);
        let late = Arc::new(Activity::new(&connections.0));
        activities[2].begin();
        activities[3].begin();
        assert!(table.add(one.into(), late, 2, 5_000).is_err());
        table.remove(one.into(), &activities[1]);
        table.remove(one.into(), &activities[2]);
        assert!(table.add_other(one.into(), 2).is_ok());
        assert!(table.add_other(one.into(), 2).is_err());
    }

    /// Somebody who has said who they are, or not.
    struct Someone {
        is_known: Arc<AtomicBool>,
        has_left: Arc<AtomicBool>,
    }

    impl super::super::Unnamed for Someone {
        fn is_awaited(&self) -> bool {
            !self.is_known.load(Relaxed)
        }

        fn leave(&self) {
            self.has_left.store(true, Relaxed);
        }
    }

    #[tokio::test]
    async fn until_it_is_known_whose_it_is_a_socket_makes_room_by_its_age() {
        let connections = Connections::new(&ServerConfig::default(), 10);
        let shared = &connections.0;
        let origin = Origin::from(IpAddr::from([203, 0, 113, 9]));
        let become_live = |second: u64| {
            let activity = Arc::clone(&opened(shared, second)[0]);
            shared.swept_ms.store(second * 1_000, Relaxed);
            shared.table.lock().add(origin, Arc::clone(&activity), usize::MAX, second * 1_000).unwrap();
            let place = Place::new(shared, origin, activity).into_live();
            let (is_known, has_left) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
            let who = Someone { is_known: Arc::clone(&is_known), has_left: Arc::clone(&has_left) };
            place.guest().await_name(who);
            (place, is_known, has_left)
        };
        let all = [1, 2, 3, 4].map(become_live);
        let left = || all.each_ref().map(|(_, _, has_left)| has_left.load(Relaxed));
        all[0].1.store(true, Relaxed);
        assert_eq!(shared.table.lock().make_room(1, false, 4_500), 1);
        assert_eq!(left(), [false, true, false, false]);
        assert_eq!(shared.table.lock().make_room(9, false, 4_500), 1, "the last came just now");
        assert_eq!(left(), [false, true, true, false]);
        let [_, _, third, fourth] = all;
        drop(third);
        fourth.1.store(true, Relaxed);
        assert_eq!(shared.table.lock().make_room(9, false, 9_000), 0);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let origin = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert!(origin("2001:db8::1") == origin("2001:db8::ffff:1"));
        assert!(origin("2001:db8::1") != origin("2001:db8:0:1::1"));
        assert!(origin("::ffff:203.0.113.9") == origin("203.0.113.9"));
        assert!(origin("203.0.113.9") != origin("203.0.113.10"));
    }
}
