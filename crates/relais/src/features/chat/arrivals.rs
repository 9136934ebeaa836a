//! Coming and going, and who is told of it.
//!
//! Whoever shares a conversation of at most [`SMALL_GROUP_MAX`] people with somebody sees them come and go. Of others, and
//! of how many are there in a large group, those are told who ask for it ([`watching`](super::watching)).

use std::collections::BTreeSet;
use std::sync::Arc;

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use relais_store::{ReadTx, StoreError};
use serde_json::{Value, json};

use super::conversations::SMALL_GROUP_MAX;
use super::devices::{Device, DeviceId};
use super::people::Me;
use super::service::Chat;
use super::store;
use crate::AppError;

/// People who are told without asking that somebody comes or goes, at most.
const CONTACTS_MAX: usize = 5_000;

impl Chat {
    /// Nobody is here yet: whoever was when the server last ended has left then.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn begin_presence(&self) -> Result<(), AppError> {
        let left = self.0.store.write(store::people::leave_all).await;
        let left: u64 = left.map_err(|error: StoreError| AppError::from(error))?;
        if left > 0 {
            tracing::info!(people = left, "the server had ended while people were connected");
        }
        Ok(())
    }

    /// A device of somebody is here. Others are told if it is the first, and what waited counts as delivered.
    ///
    /// # Errors
    /// What the database reports; the device is then not there.
    pub async fn arrive(&self, me: &Me, device: Arc<dyn Device>) -> Result<DeviceId, AppError> {
        let (id, came) = self.0.devices.add(me, device);
        if came {
            self.tell_presence(me).await;
        }
        if let Err(error) = self.note_delivered(me).await {
            self.depart(me, id).await;
            return Err(error);
        }
        Ok(id)
    }

    /// A device is gone: nobody types on it or looks at anything. Others are told if it was the last.
    pub async fn depart(&self, me: &Me, device: DeviceId) {
        let gone = self.0.devices.remove(me.id(), device, self.0.clock.now());
        self.0.watches.forget(device);
        self.end_typing_on(device);
        if gone {
            self.tell_presence(me).await;
        }
    }

    /// Somebody says whether they are at a device.
    pub(super) async fn set_present(&self, me: &Me, device: DeviceId, present: bool) {
        if self.0.devices.set_present(me.id(), device, present, self.0.clock.now()) {
            self.tell_presence(me).await;
        }
    }

    /// Notes and tells that somebody came or went: whichever is true when it is done, so that the last that is noted
    /// and told holds.
    async fn tell_presence(&self, me: &Me) {
        let (chat, id) = (self.clone(), me.person.id.clone());
        let noted = self.0.store.write(move |tx| {
            let (is_online, left) = chat.0.devices.presence(&id);
            store::people::set_online(tx, &id, is_online, left.unwrap_or_else(|| tx.now()))
        });
        if let Err(error) = noted.await.map_err(|error: StoreError| error) {
            tracing::warn!(%error, "when somebody was last seen could not be stored");
        }
        let (id, watchers, groups) =
            (me.person.id.clone(), self.0.watches.of_person(me.id()), self.0.watches.groups());
        let concerned = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let contacts = store::people::contacts(tx, &id, SMALL_GROUP_MAX, CONTACTS_MAX)?;
            let mut people: BTreeSet<String> = contacts.into_iter().map(|contact| contact.id).collect();
            for watcher in watchers {
                // Asked each time: they may no longer share a conversation.
                if store::people::acquaintance(tx, &id, &watcher)?.is_some() {
                    people.insert(watcher);
                }
            }
            Ok::<_, StoreError>((people, store::people::among(tx, &id, &groups)?))
        });
        let (people, groups) = match concerned.await {
            Ok(concerned) => concerned,
            Err(error) => {
                tracing::warn!(%error, "who should know that somebody came or went could not be read");
                return;
            }
        };
        self.0.watches.changed(groups);
        self.0.wake.notify_one();
        let _turn = self.0.telling_presence.lock();
        let data: Arc<str> = self.presence_of(me.id(), None).to_string().into();
        for topic in people.iter().filter_map(|person| self.0.devices.topic_of(person)) {
            self.publish_latest(topic, PRESENCE, Arc::clone(&data), me.id());
        }
    }

    /// Two people no longer see each other, or do again: both are told how the other is for them.
    pub(super) async fn tell_each_other(&self, one: &str, other: &str, visible: bool) {
        let rows = [(one.to_owned(), other.to_owned()), (other.to_owned(), one.to_owned())];
        let seen = rows.clone();
        let found = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let mut found = Vec::new();
            for (whom, of) in seen {
                found.push(store::people::acquaintance(tx, &whom, &of)?);
            }
            Ok::<_, StoreError>(found)
        });
        let Ok(found) = found.await else { return };
        let _turn = self.0.telling_presence.lock();
        for ((whom, of), row) in rows.into_iter().zip(found) {
            let data = match row {
                Some(row) if visible => self.presence_of(&of, row.last_seen),
                None if !visible => json!({ "user_id": of, "is_online": false, "last_seen": null }),
                _ => continue,
            };
            if let Some(topic) = self.0.devices.topic_of(&whom) {
                self.publish_latest(topic, PRESENCE, data.to_string().into(), &of);
            }
        }
    }

    /// Tells how everybody is whom one sees come and go, and who types: what a connection that has just begun, or begun
    /// again, cannot know. Of those who never were here there is nothing to tell. `tell` must say it after what was published before.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn tell_present(&self, me: &Me, tell: impl Fn(&str, &Value)) -> Result<(), AppError> {
        let (id, typed_in) = (me.person.id.clone(), self.typed_in());
        let contacts = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let contacts = store::people::contacts(tx, &id, SMALL_GROUP_MAX, CONTACTS_MAX)?;
            let typing = store::people::among(tx, &id, &typed_in)?;
            Ok::<_, StoreError>((contacts, typing))
        });
        let (contacts, conversations) = contacts.await?;
        let turn = self.0.telling_presence.lock();
        for contact in contacts {
            let presence = self.presence_of(&contact.id, contact.last_seen);
            if presence["is_online"] == true || !presence["last_seen"].is_null() {
                tell(PRESENCE, &presence);
            }
        }
        drop(turn);
        self.tell_typing_in(&conversations, me.id(), tell);
        Ok(())
    }

    /// How somebody is, as it is told.
    pub(super) fn presence_of(&self, person: &str, last_seen: Option<Timestamp>) -> Value {
        let (is_online, left) = self.0.devices.presence(person);
        let last_seen = left.or(last_seen).filter(|_| !is_online);
        json!({ "user_id": person, "is_online": is_online, "last_seen": last_seen })
    }

    /// The topic of somebody who is connected.
    pub(super) fn topic_here(&self, person: &str) -> Option<Topic> {
        self.0.devices.topic_of(person)
    }
}

/// The event that says whether somebody is there.
pub(super) const PRESENCE: &str = "user_presence";
