//! Presence: who is online, and who is notified of changes.
//!
//! Everyone who shares a conversation of at most [`SMALL_GROUP_MAX`] people with a user is notified of their presence.
//! The presence of others, and the number of members online in a large group, are sent only on request
//! ([`watching`](super::watching)).

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

/// The maximum number of users whose presence is sent to a new connection: it must fit into its queue.
const PRESENT_MAX: usize = 5_000;

impl Chat {
    /// Nobody is online yet: users who were when the server last stopped are recorded as having left then.
    ///
    /// # Errors
    /// A database error.
    pub async fn begin_presence(&self) -> Result<(), AppError> {
        let left = self.0.store.write(store::people::leave_all).await;
        let left: u64 = left.map_err(|error: StoreError| AppError::from(error))?;
        if left > 0 {
            tracing::info!(people = left, "the server had ended while people were connected");
        }
        Ok(())
    }

    /// A device of a user has connected. If it is the first, others are notified; pending messages count as delivered.
    ///
    /// # Errors
    /// A database error; the device is then not registered.
    pub async fn arrive(&self, me: &Me, device: Arc<dyn Device>) -> Result<DeviceId, AppError> {
        let (id, came) = self.0.devices.add(me, device);
        if came {
            self.publish_presence(me).await;
        }
        if let Err(error) = self.note_delivered(me).await {
            self.depart(me, id).await;
            return Err(error);
        }
        Ok(id)
    }

    /// A device has disconnected: its typing and its watches end. If it was the last, others are notified.
    pub async fn depart(&self, me: &Me, device: DeviceId) {
        let gone = self.0.devices.remove(me.id(), device, self.0.clock.now());
        self.0.watches.forget(device);
        self.end_typing_on(device);
        if gone {
            self.publish_presence(me).await;
        }
    }

    /// Sets whether the user is present at a device.
    pub(super) async fn set_present(&self, me: &Me, device: DeviceId, present: bool) {
        if self.0.devices.set_present(me.id(), device, present, self.0.clock.now()) {
            self.publish_presence(me).await;
        }
    }

    /// Stores and publishes a user's presence. The state is read at the moment of each, so that the last one stored and
    /// published is current.
    async fn publish_presence(&self, me: &Me) {
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
            // Checked each time: they may no longer share a conversation.
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

    /// Two users no longer see each other's presence, or do again: after the commit, both are notified of the other's
    /// presence as they see it.
    pub(super) fn publish_to_each_other(
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
        tx.after_events(move || chat.publish_seen(seen, visible));
        Ok(())
    }

    /// Notifies users of another's presence: recipient, subject, and the subject's row if the recipient may see it.
    fn publish_seen(&self, seen: Vec<(String, String, Option<ContactRow>)>, visible: bool) {
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

    /// Sends the presence of all users visible to this one, and who is typing: state that a new or resumed connection
    /// cannot know. One that `comes_back` is also sent who has stopped typing. Users who were never online are omitted;
    /// of more than [`PRESENT_MAX`] users, those who are online come first. `tell` must send after what was published
    /// before.
    ///
    /// # Errors
    /// A database error.
    pub async fn publish_present(
        &self,
        me: &Me,
        comes_back: bool,
        publish: impl Fn(&str, &Value),
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
        for contact in known.shown() {
            publish(PRESENCE, &self.presence_of(&contact.id, contact.last_seen));
        }
        drop(turn);
        self.publish_typing_in(&conversations, me.id(), comes_back, publish);
        Ok(())
    }

    /// A user's presence, as sent to clients.
    pub(super) fn presence_of(&self, person: &str, last_seen: Option<Timestamp>) -> Value {
        let (is_online, left) = self.0.devices.presence(person);
        let last_seen = left.or(last_seen).filter(|_| !is_online);
        json!({ "user_id": person, "is_online": is_online, "last_seen": last_seen })
    }

    /// The topic of a user, if connected.
    pub(super) fn topic_here(&self, person: &str) -> Option<Topic> {
        self.0.devices.topic_of(person)
    }
}

/// The users whose presence is to be sent.
#[derive(Default)]
struct Known {
    here: Vec<ContactRow>,
    away: Vec<ContactRow>,
    /// Users beyond the limit.
    unpublished: u64,
}

impl Known {
    /// Adds a user. `presence` returns whether they are online, and when they left.
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

    /// The users within the limit, those online first. Counts the others.
    fn shown(mut self) -> impl Iterator<Item = ContactRow> {
        let room = PRESENT_MAX - self.here.len();
        let unpublished = self.unpublished + self.away.len().saturating_sub(room) as u64;
        self.away.truncate(room);
        if unpublished > 0 {
            metrics::counter!("relais_chat_presence_unpublished_total").increment(unpublished);
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(
                    unpublished,
                    "somebody sees more than {PRESENT_MAX} people come and go: at the beginning of a connection they \
                     are not told of all of them; further ones are counted in relais_chat_presence_unpublished_total"
                );
            });
        }
        self.here.into_iter().chain(self.away)
    }
}

/// The event with a user's presence.
pub(super) const PRESENCE: &str = "user_presence";
