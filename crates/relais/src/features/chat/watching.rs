//! Who looks at whom: people, and how many are there in a group. It ends with the connection.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use relais_store::{ReadTx, StoreError};
use serde_json::{Value, json};

use super::arrivals::PRESENCE;
use super::conversations::MEMBERS_MAX;
use super::devices::DeviceId;
use super::people::Me;
use super::refusal::invalid;
use super::service::Chat;
use super::store;
use crate::AppError;

/// People, and groups, that one device looks at, at most.
const WATCHED_MAX: usize = 200;

/// The event that says how many are there in a group.
const GROUP_PRESENCE: &str = "group_presence";

/// What is looked at, and by which devices, each with whose it is.
type Watched = HashMap<String, HashMap<DeviceId, String>>;

#[derive(Default)]
struct Looks {
    people: Watched,
    groups: Watched,
    /// Groups in which somebody came or went since it was last told.
    changed: HashSet<String>,
}

/// Everything that is looked at.
#[derive(Default)]
pub(super) struct Watches(Mutex<Looks>);

impl Watches {
    /// Says whether there was room.
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

    /// A device is gone.
    pub(super) fn forget(&self, device: DeviceId) {
        let mut looks = self.0.lock();
        let Looks { people, groups, changed } = &mut *looks;
        for watched in [people, &mut *groups] {
            watched.retain(|_, devices| {
                devices.remove(&device);
                !devices.is_empty()
            });
        }
        changed.retain(|group| groups.contains_key(group));
    }

    /// Those who look at somebody.
    pub(super) fn of_person(&self, person: &str) -> HashSet<String> {
        self.0
            .lock()
            .people
            .get(person)
            .map(|devices| devices.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The groups that are looked at.
    pub(super) fn groups(&self) -> Vec<String> {
        self.0.lock().groups.keys().cloned().collect()
    }

    /// Somebody came or went in these groups.
    pub(super) fn changed(&self, groups: impl IntoIterator<Item = String>) {
        let mut looks = self.0.lock();
        let Looks { groups: watched, changed, .. } = &mut *looks;
        changed.extend(groups.into_iter().filter(|group| watched.contains_key(group)));
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.0.lock().changed.is_empty()
    }

    /// Hands each group of which there is something to tell to `tell`, with those who look at it. When it fails, what it
    /// was not handed, and what it failed on, is kept for the next time.
    async fn tell_changes<E, F: Future<Output = Result<(), E>>>(
        &self,
        tell: impl Fn(String, HashSet<String>) -> F,
    ) -> Result<(), E> {
        let mut changes = self.take_changes().into_iter();
        while let Some((group, watchers)) = changes.next() {
            if let Err(error) = tell(group.clone(), watchers).await {
                self.changed(std::iter::once(group).chain(changes.map(|(group, _)| group)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// The groups of which there is something to tell, each with those who look at it.
    fn take_changes(&self) -> Vec<(String, HashSet<String>)> {
        let mut looks = self.0.lock();
        let Looks { groups, changed, .. } = &mut *looks;
        let told = changed.drain().filter_map(|group| {
            let watchers = groups.get(&group)?.values().cloned().collect();
            Some((group, watchers))
        });
        told.collect()
    }
}

impl Chat {
    /// From now on this device hears when one of these people comes or goes, and how they are now. People with whom one
    /// shares no conversation are left out; says how many are watched.
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

    /// From now on this device hears how many are there in a conversation, at most every two seconds; says how many
    /// there are now.
    ///
    /// # Errors
    /// 404 if one is not in it, 400 for too many.
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
        let (mut fields, _) = self.group_presence(conversation_id).await?;
        fields["success"] = true.into();
        Ok(fields)
    }

    /// This device no longer looks.
    pub(super) fn unwatch(&self, device: DeviceId, conversation_id: Option<&str>, people: &[String]) {
        if let Some(id) = conversation_id {
            self.0.watches.remove(|looks| &mut looks.groups, id, device);
        }
        for person in people {
            self.0.watches.remove(|looks| &mut looks.people, person, device);
        }
    }

    /// A connection may end while its command is done.
    fn forget_if_gone(&self, me: &Me, device: DeviceId) {
        if !self.0.devices.has(me.id(), device) {
            self.0.watches.forget(device);
        }
    }

    /// How many are there in a conversation, and who is in it.
    async fn group_presence(&self, conversation_id: &str) -> Result<(Value, HashSet<String>), StoreError> {
        let id = conversation_id.to_owned();
        let limit = usize::try_from(MEMBERS_MAX).unwrap_or(usize::MAX);
        let members =
            self.0.store.read(move |tx| store::conversations::member_ids(tx, &id, "", limit)).await?;
        let online = members.iter().filter(|member| self.0.devices.is_online(member)).count();
        let fields = json!({
            "conversation_id": conversation_id, "group_id": conversation_id, "member_count": members.len(),
            "online_count": online,
        });
        Ok((fields, members.into_iter().collect()))
    }

    /// Tells those who look at a group how many are there now, if that changed.
    pub(super) async fn tell_counts(&self) {
        let told = self.0.watches.tell_changes(|group, watchers| self.tell_count(group, watchers)).await;
        if let Err(error) = told {
            tracing::warn!(%error, "how many are there in a group could not be read; trying again");
        }
    }

    async fn tell_count(&self, group: String, watchers: HashSet<String>) -> Result<(), StoreError> {
        let (fields, members) = self.group_presence(&group).await?;
        let data: Arc<str> = fields.to_string().into();
        // Whoever was taken out no longer looks.
        for watcher in watchers.intersection(&members) {
            if let Some(topic) = self.topic_here(watcher) {
                self.publish_latest(topic, GROUP_PRESENCE, Arc::clone(&data), &group);
            }
        }
        Ok(())
    }
}

fn too_many() -> AppError {
    invalid(
        "user_ids",
        format!("Au plus {WATCHED_MAX} personnes et {WATCHED_MAX} groupes regardés à la fois"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::devices::Devices;
    use super::*;

    /// A device that looks at these groups, in each of which somebody came.
    fn looking_at(groups: &[&str]) -> Watches {
        let watches = Watches::default();
        let device = Devices::default().next_id();
        for group in groups {
            assert!(watches.add(|looks| &mut looks.groups, group, device, "lea"));
        }
        watches.changed(groups.iter().map(|group| (*group).to_owned()));
        watches
    }

    #[tokio::test]
    async fn what_could_not_be_told_is_told_the_next_time() {
        let watches = looking_at(&["a", "b", "c"]);
        let handed = Mutex::new(Vec::new());
        let failed = watches
            .tell_changes(|group, watchers| {
                assert_eq!(watchers, HashSet::from(["lea".to_owned()]));
                let mut handed = handed.lock();
                handed.push(group);
                std::future::ready(if handed.len() == 2 { Err("the database is away") } else { Ok(()) })
            })
            .await;
        assert!(failed.is_err());
        let first = handed.lock().remove(0);
        handed.lock().clear();
        let told = watches.tell_changes(|group, _| {
            handed.lock().push(group);
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
