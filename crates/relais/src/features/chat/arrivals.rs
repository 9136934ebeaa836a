//! Coming and going, and who is told of it.
//!
//! Whoever shares a conversation of at most [`SMALL_GROUP_MAX`] people with somebody sees them come and go. Of others, and
//! of how many are there in a large group, those are told who ask for it ([`watching`](super::watching)).

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Once};

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use relais_store::{ReadTx, StoreError, WriteTx};
use serde_json::{Value, json};

use super::conversations::SMALL_GROUP_MAX;
use super::devices::{Device, DeviceId};
use super::people::Me;
use super::service::Chat;
use super::store;
use super::store::people::ContactRow;
use crate::AppError;

/// People of whom a connection is told at its beginning how they are, at most: what is told must fit into its queue.
const PRESENT_MAX: usize = 5_000;

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
        let chat = self.clone();
        let concerned = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let mut people = BTreeSet::new();
            store::people::each_contact(tx, &id, SMALL_GROUP_MAX, |contact| {
                if chat.topic_here(&contact.id).is_some() {
                    people.insert(contact.id);
                }
                true
            })?;
            // Asked each time: they may no longer share a conversation.
            let others = watchers.iter().map(String::as_str).filter(|watcher| !people.contains(*watcher));
            let others = store::people::acquaintances(tx, &id, others)?;
            people.extend(others.into_keys());
            Ok::<_, StoreError>((people, store::people::among(tx, &id, groups)?))
        });
        let (people, groups) = match concerned.await {
            Ok(concerned) => concerned,
            Err(error) => {
                tracing::warn!(%error, "who should know that somebody came or went could not be read");
                return;
            }
        };
        self.0.watches.changed(groups, me.id());
        self.0.wake.notify_one();
        let _turn = self.0.telling_presence.lock();
        let data: Arc<str> = self.presence_of(me.id(), None).to_string().into();
        for topic in people.iter().filter_map(|person| self.0.devices.topic_of(person)) {
            self.publish_latest(topic, PRESENCE, Arc::clone(&data), me.id());
        }
    }

    /// Two people no longer see each other, or do again: once that is committed, both are told how the other is for them.
    pub(super) fn tell_each_other(
        &self,
        tx: &mut WriteTx<'_>,
        one: &str,
        other: &str,
        visible: bool,
    ) -> Result<(), StoreError> {
        let mut seen = Vec::new();
        for (whom, of) in [(one, other), (other, one)] {
            seen.push((whom.to_owned(), of.to_owned(), store::people::acquaintance(tx, whom, of)?));
        }
        let chat = self.clone();
        tx.after_events(move || chat.tell_seen(seen, visible));
        Ok(())
    }

    /// Tells people how another is: whom, of whom, and who that is if they see them.
    fn tell_seen(&self, seen: Vec<(String, String, Option<ContactRow>)>, visible: bool) {
        let _turn = self.0.telling_presence.lock();
        for (whom, of, row) in seen {
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
    /// again, cannot know. One that `comes_back` to what it knew before is also told who types no more. Of those who never were here there is nothing to tell; of more than [`PRESENT_MAX`] people, of
    /// those who are here first. `tell` must say it after what was published before.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn tell_present(
        &self,
        me: &Me,
        comes_back: bool,
        tell: impl Fn(&str, &Value),
    ) -> Result<(), AppError> {
        let (id, chat) = (me.person.id.clone(), self.clone());
        let known = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let mut known = Known::default();
            store::people::each_contact(tx, &id, SMALL_GROUP_MAX, |contact| {
                known.add(contact, |person| chat.0.devices.presence(person));
                true
            })?;
            let conversations: HashSet<String> = store::conversations::ids_of(tx, &id)?.into_iter().collect();
            Ok::<_, StoreError>((known, conversations))
        });
        let (known, conversations) = known.await?;
        let turn = self.0.telling_presence.lock();
        for contact in known.told() {
            tell(PRESENCE, &self.presence_of(&contact.id, contact.last_seen));
        }
        drop(turn);
        self.tell_typing_in(&conversations, me.id(), comes_back, tell);
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

/// Those of whom there is something to tell.
#[derive(Default)]
struct Known {
    here: Vec<ContactRow>,
    away: Vec<ContactRow>,
    /// More of whom there is no room to tell.
    unpublished: u64,
}

impl Known {
    /// Adds somebody. `presence` says whether they are here, and when they left.
    fn add(&mut self, contact: ContactRow, presence: impl Fn(&str) -> (bool, Option<Timestamp>)) {
        let (is_here, left) = presence(&contact.id);
        let list = match is_here {
            true => &mut self.here,
            false if contact.last_seen.or(left).is_some() => &mut self.away,
            false => return,
        };
        match list.len() < PRESENT_MAX {
            true => list.push(contact),
            false => self.unpublished += 1,
        }
    }

    /// Those who are told of, the ones who are here first. Counts the others.
    fn told(mut self) -> impl Iterator<Item = ContactRow> {
        let room = PRESENT_MAX - self.here.len();
        let unpublished = self.unpublished + self.away.len().saturating_sub(room) as u64;
        self.away.truncate(room);
        if unpublished > 0 {
            metrics::counter!("relais_chat_presence_untold_total").increment(unpublished);
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(
                    unpublished,
                    "somebody sees more than {PRESENT_MAX} people come and go: at the beginning of a connection they \
                     are not told of all of them; further ones are counted in relais_chat_presence_untold_total"
                );
            });
        }
        self.here.into_iter().chain(self.away)
    }
}

/// The event that says whether somebody is there.
pub(super) const PRESENCE: &str = "user_presence";
