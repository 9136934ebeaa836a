//! Presence on request: of users, and the number of members online in a group. A watch ends with the connection.

use std::collections::{HashMap, HashSet};
use std::future::Future;

use parking_lot::Mutex;
use relais_store::{ReadTx, StoreError};
use serde_json::{Value, json};

use super::arrivals::PRESENCE;
use super::blocks::Rifts;
use super::conversations::MEMBERS_MAX;
use super::devices::DeviceId;
use super::people::Me;
use super::refusal::invalid;
use super::service::Chat;
use super::store;
use crate::AppError;
use crate::said::said;

/// Maximum number of users, and of groups, that one device may watch.
const WATCHED_MAX: usize = 200;

/// The event with the number of members online in a group.
const GROUP_PRESENCE: &str = "group_presence";

/// What is watched, by which devices, each with its user.
type Watched = HashMap<String, HashMap<DeviceId, String>>;

#[derive(Default)]
struct Looks {
    people: Watched,
    groups: Watched,
    /// Groups with presence changes since they were last published, with the users who changed.
    changed: Changes,
}

/// Users whose presence changed, by group.
type Changes = HashMap<String, HashSet<String>>;

/// A group with changes to publish.
#[derive(Clone)]
struct Change {
    group: String,
    /// Its watchers.
    watchers: HashSet<String>,
    /// The users whose presence changed.
    movers: HashSet<String>,
}

/// All watches.
#[derive(Default)]
pub(super) struct Watches(Mutex<Looks>);

impl Watches {
    /// Returns whether there was room.
    fn add(
        &self,
        what: impl Fn(&mut Looks) -> &mut Watched,
        key: &str,
        device: DeviceId,
        watcher: &str,
    ) -> bool {
        let mut looks = self.0.lock();
        let watched = what(&mut looks);
        let many = watched.values().filter(|devices| devices.contains_key(&device)).take(WATCHED_MAX).count();
        if many >= WATCHED_MAX {
            return false;
        }
        watched.entry(key.to_owned()).or_default().insert(device, watcher.to_owned());
        true
    }

    fn remove(&self, what: impl Fn(&mut Looks) -> &mut Watched, key: &str, device: DeviceId) {
        let mut looks = self.0.lock();
        let watched = what(&mut looks);
        if let Some(devices) = watched.get_mut(key) {
            devices.remove(&device);
            if devices.is_empty() {
                watched.remove(key);
            }
        }
    }

    /// A device has disconnected.
    pub(super) fn forget(&self, device: DeviceId) {
        let mut looks = self.0.lock();
        let Looks { people, groups, changed } = &mut *looks;
        for watched in [people, &mut *groups] {
            watched.retain(|_, devices| {
                devices.remove(&device);
                !devices.is_empty()
            });
        }
        changed.retain(|group, _| groups.contains_key(group));
    }

    /// The watchers of a user.
    pub(super) fn of_person(&self, person: &str) -> HashSet<String> {
        self.0
            .lock()
            .people
            .get(person)
            .map(|devices| devices.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The watched groups.
    pub(super) fn groups(&self) -> Vec<String> {
        self.0.lock().groups.keys().cloned().collect()
    }

    /// The presence of a member of these groups changed.
    pub(super) fn changed(&self, groups: impl IntoIterator<Item = String>, mover: &str) {
        let mut looks = self.0.lock();
        let Looks { groups: watched, changed, .. } = &mut *looks;
        for group in groups.into_iter().filter(|group| watched.contains_key(group)) {
            changed.entry(group).or_default().insert(mover.to_owned());
        }
    }

    /// Keeps changes that could not be published for the next time.
    fn put_back(&self, changes: impl IntoIterator<Item = Change>) {
        let mut looks = self.0.lock();
        for Change { group, movers, .. } in changes {
            looks.changed.entry(group).or_default().extend(movers);
        }
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.0.lock().changed.is_empty()
    }

    /// Passes each group with changes to `tell`. If it fails, that group and the remaining ones are kept for the next
    /// time.
    async fn publish_changes<E, F: Future<Output = Result<(), E>>>(
        &self,
        publish: impl Fn(Change) -> F,
    ) -> Result<(), E> {
        let mut changes = self.take_changes().into_iter();
        while let Some(change) = changes.next() {
            if let Err(error) = publish(change.clone()).await {
                self.put_back(std::iter::once(change).chain(changes));
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_changes(&self) -> Vec<Change> {
        let mut looks = self.0.lock();
        let Looks { groups, changed, .. } = &mut *looks;
        let told = changed.drain().filter_map(|(group, movers)| {
            let watchers = groups.get(&group)?.values().cloned().collect();
            Some(Change { group, watchers, movers })
        });
        told.collect()
    }
}

impl Chat {
    /// Subscribes this device to the presence of these users, and sends the current one. Users who share no
    /// conversation with the watcher are left out; returns how many are watched.
    ///
    /// # Errors
    /// 400 for too many.
    pub(super) async fn watch_people(
        &self,
        me: &Me,
        device: DeviceId,
        people: &[String],
    ) -> Result<Value, AppError> {
        if people.len() > WATCHED_MAX {
            return Err(too_many());
        }
        let (id, wanted) = (me.person.id.clone(), people.to_vec());
        let known = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let mut found = store::people::acquaintances(tx, &id, wanted.iter().map(String::as_str))?;
            Ok::<_, StoreError>(wanted.iter().filter_map(|person| found.remove(person)).collect::<Vec<_>>())
        });
        let known = known.await?;
        for person in &known {
            if !self.0.watches.add(|looks| &mut looks.people, &person.id, device, me.id()) {
                return Err(too_many());
            }
        }
        self.forget_if_gone(me, device);
        let _turn = self.0.telling_presence.lock();
        for person in &known {
            let data = self.presence_of(&person.id, person.last_seen).to_string();
            self.publish_latest(me.topic.clone(), PRESENCE, data.into(), &person.id);
        }
        let watched: Vec<&str> = known.iter().map(|person| &*person.id).collect();
        Ok(json!({ "success": true, "user_ids": watched }))
    }

    /// Subscribes this device to the number of members online in a conversation, sent at most every two seconds;
    /// returns the current number.
    ///
    /// # Errors
    /// 404 if the user is not a member, 400 for too many.
    pub(super) async fn watch_group(
        &self,
        me: &Me,
        device: DeviceId,
        conversation_id: &str,
    ) -> Result<Value, AppError> {
        self.require_member(me, conversation_id).await?;
        if !self.0.watches.add(|looks| &mut looks.groups, conversation_id, device, me.id()) {
            return Err(too_many());
        }
        self.forget_if_gone(me, device);
        let mut fields = self.attendance(conversation_id).await?.fields(me.id());
        fields["success"] = true.into();
        Ok(fields)
    }

    /// Ends the watches of this device.
    pub(super) fn unwatch(&self, device: DeviceId, conversation_id: Option<&str>, people: &[String]) {
        if let Some(id) = conversation_id {
            self.0.watches.remove(|looks| &mut looks.groups, id, device);
        }
        for person in people {
            self.0.watches.remove(|looks| &mut looks.people, person, device);
        }
    }

    /// A connection may end while its command is executed.
    fn forget_if_gone(&self, me: &Me, device: DeviceId) {
        if !self.0.devices.has(me.id(), device) {
            self.0.watches.forget(device);
        }
    }

    /// The members of a conversation, and who of them is online.
    async fn attendance(&self, conversation_id: &str) -> Result<Attendance, StoreError> {
        let id = conversation_id.to_owned();
        let limit = usize::try_from(MEMBERS_MAX).unwrap_or(usize::MAX);
        let known = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let members = store::conversations::member_ids(tx, &id, "", limit)?;
            Ok::<_, StoreError>((members, Rifts::among(tx, &id)?))
        });
        let (members, rifts) = known.await?;
        let online = members.iter().filter(|member| self.0.devices.is_online(member)).cloned().collect();
        let members = members.into_iter().collect();
        Ok(Attendance { conversation_id: conversation_id.to_owned(), members, online, rifts })
    }

    /// Publishes the number of members online to the watchers of a group, if it changed.
    pub(super) async fn publish_counts(&self) {
        let told = self.0.watches.publish_changes(|change| self.publish_count(change)).await;
        if let Err(error) = told {
            tracing::warn!(%error, "how many are there in a group could not be read; trying again");
        }
    }

    async fn publish_count(&self, change: Change) -> Result<(), StoreError> {
        let attendance = self.attendance(&change.group).await?;
        // A former member no longer watches.
        for watcher in change.watchers.intersection(&attendance.members) {
            // Being notified at all would reveal the presence of members whom they do not see, whatever the number.
            let unseen = |apart: &HashSet<String>| change.movers.is_subset(apart);
            if attendance.rifts.of(watcher).is_some_and(unseen) {
                continue;
            }
            if let Some(topic) = self.topic_here(watcher) {
                let data = attendance.fields(watcher).to_string();
                self.publish_latest(topic, GROUP_PRESENCE, data.into(), &change.group);
            }
        }
        Ok(())
    }
}

/// The members of a conversation, and who of them is online.
struct Attendance {
    conversation_id: String,
    members: HashSet<String>,
    online: HashSet<String>,
    rifts: Rifts,
}

impl Attendance {
    /// The number online as a member sees it: those whom they have blocked, or who have blocked them, count as offline.
    fn fields(&self, viewer: &str) -> Value {
        let unseen = self.rifts.of(viewer).map_or(0, |apart| self.online.intersection(apart).count());
        json!({
            "conversation_id": self.conversation_id, "group_id": self.conversation_id,
            "member_count": self.members.len(), "online_count": self.online.len() - unseen,
        })
    }
}

fn too_many() -> AppError {
    let message = said!(
        "Au plus {WATCHED_MAX} personnes et {WATCHED_MAX} groupes regardés à la fois",
        "At most {WATCHED_MAX} people and {WATCHED_MAX} groups can be watched at once"
    );
    invalid("user_ids", message)
}

#[cfg(test)]
mod tests {
    use super::super::devices::Devices;
    use super::*;

    /// A device that watches these groups, in each of which a presence changed.
    fn looking_at(groups: &[&str]) -> Watches {
        let watches = Watches::default();
        let device = Devices::default().next_id();
        for group in groups {
            assert!(watches.add(|looks| &mut looks.groups, group, device, "lea"));
        }
        watches.changed(groups.iter().map(|group| (*group).to_owned()), "paul");
        watches
    }

    #[tokio::test]
    async fn what_could_not_be_told_is_told_the_next_time() {
        let watches = looking_at(&["a", "b", "c"]);
        let handed = Mutex::new(Vec::new());
        let failed = watches
            .publish_changes(|change| {
                assert_eq!(change.watchers, HashSet::from(["lea".to_owned()]));
                let mut handed = handed.lock();
                handed.push(change.group);
                std::future::ready(if handed.len() == 2 { Err("the database is away") } else { Ok(()) })
            })
            .await;
        assert!(failed.is_err());
        let first = handed.lock().remove(0);
        handed.lock().clear();
        let told = watches.publish_changes(|change| {
            assert_eq!(change.movers, HashSet::from(["paul".to_owned()]));
            handed.lock().push(change.group);
            std::future::ready(Ok::<_, ()>(()))
        });
        told.await.unwrap();
        let mut all = handed.into_inner();
        all.push(first);
        all.sort();
        assert_eq!(all, ["a", "b", "c"], "each once");
        assert!(!watches.has_changes());
    }
}
