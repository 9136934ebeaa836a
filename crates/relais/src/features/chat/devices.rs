//! Presence: the live connections of all users, whichever protocol they use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use relais_protocol::event::{Cursor, Topic};
use relais_protocol::time::Timestamp;

use super::people::Me;

/// Maximum number of users remembered after they left; for others the database has the time when they were last seen.
const LEFT_MAX: usize = 50_000;

/// One live connection of a user. Calls must not block.
pub trait Device: Send + Sync + 'static {
    /// Subscribes to a conversation, including its events after `since`.
    fn join(&self, conversation: Topic, since: Cursor);
}

/// Identifies a device for the lifetime of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId(u64);

struct Entry {
    id: DeviceId,
    device: Arc<dyn Device>,
    /// Whether the user is present at it, as reported by its program.
    present: bool,
}

struct Online {
    topic: Topic,
    devices: Vec<Entry>,
}

impl Online {
    fn is_present(&self) -> bool {
        self.devices.iter().any(|entry| entry.present)
    }
}

/// The devices of all users connected here.
#[derive(Default)]
pub struct Devices {
    people: Mutex<HashMap<String, Online>>,
    /// When users who have left since the start were last online.
    left: Mutex<HashMap<String, Timestamp>>,
    next: AtomicU64,
}

impl Devices {
    /// Adds a device. Returns whether its user was offline before.
    pub(super) fn add(&self, me: &Me, device: Arc<dyn Device>) -> (DeviceId, bool) {
        let id = self.next_id();
        let mut people = self.people.lock();
        let online = people
            .entry(me.person.id.clone())
            .or_insert_with(|| Online { topic: me.topic.clone(), devices: Vec::new() });
        let came = !online.is_present();
        online.devices.push(Entry { id, device, present: true });
        self.note(&me.person.id, None);
        (id, came)
    }

    /// A new device id.
    pub(super) fn next_id(&self) -> DeviceId {
        DeviceId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Removes a device. Returns whether its user is offline now.
    pub(super) fn remove(&self, person: &str, id: DeviceId, now: Timestamp) -> bool {
        let mut people = self.people.lock();
        let Some(online) = people.get_mut(person) else { return false };
        let before = online.is_present();
        online.devices.retain(|entry| entry.id != id);
        let after = online.is_present();
        if online.devices.is_empty() {
            people.remove(person);
        }
        if before && !after {
            self.note(person, Some(now));
        }
        before && !after
    }

    /// Records that a user has left, or is online. Called with `people` locked, so that the two agree.
    fn note(&self, person: &str, gone: Option<Timestamp>) {
        let mut left = self.left.lock();
        match gone {
            Some(at) => {
                if left.len() >= LEFT_MAX {
                    left.clear();
                }
                left.insert(person.to_owned(), at);
            }
            None => {
                left.remove(person);
            }
        }
    }

    /// Sets whether the user is present at a device. Returns whether that changes the user's presence.
    pub(super) fn set_present(&self, person: &str, id: DeviceId, present: bool, now: Timestamp) -> bool {
        let mut people = self.people.lock();
        let Some(online) = people.get_mut(person) else { return false };
        let before = online.is_present();
        online.devices.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.present = present);
        let after = online.is_present();
        if before != after {
            self.note(person, (!after).then_some(now));
        }
        before != after
    }

    /// Whether a user is present at one of their devices.
    pub(super) fn is_online(&self, person: &str) -> bool {
        self.people.lock().get(person).is_some_and(Online::is_present)
    }

    /// Whether a user is online, and if not, when they left, if that was since the start.
    pub(super) fn presence(&self, person: &str) -> (bool, Option<Timestamp>) {
        let people = self.people.lock();
        match people.get(person).is_some_and(Online::is_present) {
            true => (true, None),
            false => (false, self.left.lock().get(person).copied()),
        }
    }

    /// Whether any user is connected.
    pub(super) fn is_anybody_here(&self) -> bool {
        !self.people.lock().is_empty()
    }

    /// Whether this device is connected.
    pub(super) fn has(&self, person: &str, id: DeviceId) -> bool {
        self.people.lock().get(person).is_some_and(|online| online.devices.iter().any(|entry| entry.id == id))
    }

    /// Whether any of these users has a connected device, present or not.
    pub(super) fn any_connected<'a>(&self, mut people: impl Iterator<Item = &'a str>) -> bool {
        let connected = self.people.lock();
        people.any(|person| connected.contains_key(person))
    }

    /// The topic of a user, if connected.
    pub(super) fn topic_of(&self, person: &str) -> Option<Topic> {
        self.people.lock().get(person).map(|online| online.topic.clone())
    }

    /// Subscribes every device of the owner of `topic` to a conversation.
    pub(super) fn join(&self, topic: &Topic, conversation: &Topic, since: Cursor) {
        let devices: Vec<Arc<dyn Device>> = {
            let people = self.people.lock();
            let owner = people.get(topic.key()).filter(|online| online.topic == *topic);
            owner
                .map(|online| online.devices.iter().map(|entry| Arc::clone(&entry.device)).collect())
                .unwrap_or_default()
        };
        for device in devices {
            device.join(conversation.clone(), since);
        }
    }
}
