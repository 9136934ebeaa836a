//! The connections of each client, and which of them can be closed when places are short.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use relais_protocol::network::ClientNetwork;

use super::Shared;
use super::activity::{Activity, NOWHERE, Order};
use super::guests::{Awaited, Guest};

/// A client silent for less than this is not closed to make room: its next bytes may be on their way.
const SILENCE_MIN_MS: u64 = 1_000;
/// The same while new clients cannot even be rejected properly.
const PRESSING_SILENCE_MIN_MS: u64 = 250;

/// The connections of one network.
#[derive(Default)]
struct Entry {
    /// Those that speak HTTP.
    http: Vec<Arc<Activity>>,
    /// Upgraded ones, and requests that come through a proxy.
    others: usize,
    /// The unauthenticated ones among the others, by place number.
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

/// All networks with their connections.
#[derive(Default)]
pub(super) struct Table(HashMap<ClientNetwork, Entry>);

impl Table {
    /// Adds a connection. `max` is the limit of its network: beyond it the longest silent ones are closed.
    ///
    /// # Errors
    /// None of them is silent.
    pub(super) fn add(
        &mut self,
        network: ClientNetwork,
        activity: Arc<Activity>,
        max: usize,
        now_ms: u64,
    ) -> Result<usize, TooMany> {
        let entry = self.0.entry(network).or_default();
        let mut ended = 0;
        if entry.count() >= max {
            ended = end_silent(
                entry.http.iter(),
                entry.guests.values(),
                (max / 8).max(1),
                SILENCE_MIN_MS,
                now_ms,
            );
            // They count until they are closed, but the new connection need not wait for that.
            if ended == 0 {
                return Err(TooMany);
            }
        }
        entry.add(activity);
        Ok(ended)
    }

    pub(super) fn remove(&mut self, network: ClientNetwork, activity: &Activity) {
        if let Some(entry) = self.0.get_mut(&network) {
            entry.remove(activity);
            self.forget_empty(network);
        }
    }

    /// The connection is upgraded and no longer speaks HTTP.
    fn make_live(&mut self, network: ClientNetwork, activity: &Activity) {
        if let Some(entry) = self.0.get_mut(&network)
            && entry.remove(activity)
        {
            entry.others += 1;
        }
    }

    fn add_other(&mut self, network: ClientNetwork, max: usize) -> Result<(), TooMany> {
        let entry = self.0.entry(network).or_default();
        if entry.count() >= max {
            self.forget_empty(network);
            return Err(TooMany);
        }
        entry.others += 1;
        Ok(())
    }

    fn remove_other(&mut self, network: ClientNetwork, number: Option<u64>) {
        if let Some(entry) = self.0.get_mut(&network) {
            entry.others = entry.others.saturating_sub(1);
            if let Some(number) = number {
                entry.guests.remove(&number);
            }
            self.forget_empty(network);
        }
    }

    /// Adds an upgraded connection that is expected to authenticate.
    pub(super) fn add_guest(&mut self, network: ClientNetwork, number: u64, awaited: Awaited) {
        // Unless it has closed meanwhile, as the last of its network.
        if let Some(entry) = self.0.get_mut(&network).filter(|entry| entry.others > 0) {
            entry.guests.insert(number, awaited);
        }
    }

    /// Removes those that have authenticated.
    pub(super) fn forget_known(&mut self) {
        for entry in self.0.values_mut().filter(|entry| !entry.guests.is_empty()) {
            entry.guests.retain(|_, guest| guest.is_awaited());
        }
    }

    fn forget_empty(&mut self, network: ClientNetwork) {
        if self.0.get(&network).is_some_and(|entry| entry.count() == 0) {
            self.0.remove(&network);
        }
    }

    pub(super) fn http(&self) -> impl Iterator<Item = &Arc<Activity>> {
        self.0.values().flat_map(|entry| &entry.http)
    }

    /// Closes connections until `count` are closing, the longest silent ones first. Returns how many were closed by
    /// this call. `pressing`: no connection is accepted before.
    pub(super) fn make_room(&self, count: usize, pressing: bool, now_ms: u64) -> usize {
        let guests = || self.0.values().flat_map(|entry| entry.guests.values());
        let leaving = self.http().filter(|activity| activity.must_leave()).count()
            + guests().filter(|guest| guest.must_leave()).count();
        let silence_ms = if pressing { PRESSING_SILENCE_MIN_MS } else { SILENCE_MIN_MS };
        end_silent(self.http(), guests(), count.saturating_sub(leaving), silence_ms, now_ms)
    }
}

/// A connection that can be closed to make room.
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

/// A network has its maximum number of connections, and none of them can be closed.
#[derive(Debug)]
pub(super) struct TooMany;

/// The place of a connection, freed on drop.
pub(crate) struct Place {
    shared: Arc<Shared>,
    network: ClientNetwork,
    /// `None`: no longer an HTTP connection.
    activity: Option<Arc<Activity>>,
    /// Whether the upgraded connection occupies one of the limited places.
    is_served: bool,
    number: u64,
}

impl Place {
    pub(super) fn new(shared: &Arc<Shared>, network: ClientNetwork, activity: Arc<Activity>) -> Self {
        let number = shared.next_place.fetch_add(1, Relaxed);
        Self { shared: Arc::clone(shared), network, activity: Some(activity), is_served: false, number }
    }

    pub(super) fn activity(&self) -> &Arc<Activity> {
        self.activity.as_ref().expect("it speaks HTTP until `into_live`")
    }

    /// The place is passed on to the upgraded connection.
    pub(super) fn into_live(mut self) -> Self {
        if let Some(activity) = self.activity.take() {
            self.is_served = activity.holds_place();
            self.shared.table.lock().make_live(self.network, &activity);
        }
        self
    }

    /// Registers the upgraded connection as unauthenticated.
    pub(crate) fn guest(&self) -> Guest {
        Guest::new(&self.shared, self.network, self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let was_served = match self.activity.take() {
            Some(activity) => {
                self.shared.table.lock().remove(self.network, &activity);
                activity.holds_place()
            }
            None => {
                self.shared.table.lock().remove_other(self.network, Some(self.number));
                self.is_served
            }
        };
        self.shared.closed(was_served);
    }
}

/// The place of a client behind a proxy, for the duration of a request or an upgraded connection.
pub(crate) struct ClientPlace {
    shared: Arc<Shared>,
    network: ClientNetwork,
}

impl ClientPlace {
    /// # Errors
    /// The client has its maximum number.
    pub(super) fn take(shared: &Arc<Shared>, client: IpAddr) -> Result<Option<Arc<Self>>, TooMany> {
        let Some(max) = shared.limits.max_of(client) else { return Ok(None) };
        let network = ClientNetwork::from(client);
        shared.table.lock().add_other(network, max)?;
        Ok(Some(Arc::new(Self { shared: Arc::clone(shared), network })))
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.shared.table.lock().remove_other(self.network, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::Connections;
    use super::*;
    use crate::config::ServerConfig;
    use crate::said::{FrenchAddresses, Language};

    /// Connections opened one second apart.
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
        let connections = Connections::new(&ServerConfig::default(), 10, FrenchAddresses::default());
        let (mut table, activities) = (Table::default(), opened(&connections.0, 4));
        for (place, activity) in activities.iter().enumerate() {
            let network = ClientNetwork::from(IpAddr::from([203, 0, 113, u8::try_from(place).unwrap()]));
            table.add(network, Arc::clone(activity), 1, 4_000).unwrap();
        }
        activities[0].begin(Language::English);
        assert_eq!(table.make_room(1, false, 5_000), 1);
        assert_eq!(leaving(&activities), [false, true, false, false]);
        // One is closing already.
        assert_eq!(table.make_room(2, false, 5_000), 1);
        assert_eq!(leaving(&activities), [false, true, true, false]);
        assert_eq!(table.make_room(9, false, 4_999), 0);
        assert_eq!(table.make_room(9, true, 4_999), 1);
        assert_eq!(leaving(&activities), [false, true, true, true]);
    }

    #[tokio::test]
    async fn an_address_makes_room_for_itself_only() {
        let connections = Connections::new(&ServerConfig::default(), 10, FrenchAddresses::default());
        let (mut table, activities) = (Table::default(), opened(&connections.0, 4));
        let (one, other) = (IpAddr::from([203, 0, 113, 9]), IpAddr::from([203, 0, 113, 10]));
        table.add(other.into(), Arc::clone(&activities[0]), 2, 4_000).unwrap();
        table.add(one.into(), Arc::clone(&activities[1]), 2, 4_000).unwrap();
        table.add(one.into(), Arc::clone(&activities[2]), 2, 4_000).unwrap();
        assert_eq!(table.add(one.into(), Arc::clone(&activities[3]), 2, 5_000).unwrap(), 1);
        assert_eq!(leaving(&activities), [false, true, false, false]);
        let late = Arc::new(Activity::new(&connections.0));
        activities[2].begin(Language::English);
        activities[3].begin(Language::English);
        assert!(table.add(one.into(), late, 2, 5_000).is_err());
        table.remove(one.into(), &activities[1]);
        table.remove(one.into(), &activities[2]);
        assert!(table.add_other(one.into(), 2).is_ok());
        assert!(table.add_other(one.into(), 2).is_err());
    }

    /// A connection that has authenticated, or not.
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
        let connections = Connections::new(&ServerConfig::default(), 10, FrenchAddresses::default());
        let shared = &connections.0;
        let network = ClientNetwork::from(IpAddr::from([203, 0, 113, 9]));
        let become_live = |second: u64| {
            let activity = Arc::clone(&opened(shared, second)[0]);
            shared.swept_ms.store(second * 1_000, Relaxed);
            shared.table.lock().add(network, Arc::clone(&activity), usize::MAX, second * 1_000).unwrap();
            let place = Place::new(shared, network, activity).into_live();
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
}
