//! Typing indicators. They end with a message, with the connection, when the user leaves the conversation, and after a
//! few seconds without renewal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use relais_store::StoreError;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::devices::DeviceId;
use super::people::Me;
use super::service::Chat;
use super::store;

/// How long a typing notification is valid, in milliseconds.
pub(super) const TYPING_MS: i64 = 10_000;
/// Maximum number of users typing at once; further ones are not published.
const TYPING_MAX: usize = 10_000;
/// Minimum number of recent typing indicators remembered after they ended, to notify clients that come back.
const ENDED_MAX: usize = 10_000;
/// The maximum number of these sent to one connection.
const ENDED_TOLD_MAX: usize = 500;
/// How often typing indicators are checked for expiry.
const STEP: Duration = Duration::from_millis(250);
/// The number of steps after which the counts of groups are published.
const STEPS_OF_COUNTS: u32 = 8;
/// How often the time is stored while users are connected: the precision of "last seen" after the server was killed.
const ALIVE: Duration = Duration::from_secs(10);

const USER_TYPING: &str = "user_typing";

/// A user typing in a conversation.
struct Typist {
    conversation: Topic,
    device: DeviceId,
    /// On the steady clock.
    until: Timestamp,
    username: String,
    /// Whether the conversation is a group.
    in_group: bool,
}

/// Users typing, by conversation and user, and those who recently stopped.
#[derive(Default)]
pub(super) struct Typing(Mutex<Typists>);

#[derive(Default)]
struct Typists {
    now: HashMap<(String, String), Typist>,
    lately: Ended,
}

/// Users who stopped typing, by conversation: the last [`ENDED_MAX`] and up to as many before them.
#[derive(Default)]
struct Ended {
    last: HashMap<String, Vec<(String, Typist)>>,
    before: HashMap<String, Vec<(String, Typist)>>,
    /// Number of entries in `last`.
    count: usize,
}

impl Ended {
    fn add(&mut self, (conversation, person): (String, String), typist: Typist) {
        if self.count >= ENDED_MAX {
            self.before = std::mem::take(&mut self.last);
            self.count = 0;
        }
        let ended = self.last.entry(conversation).or_default();
        if !ended.iter().any(|(known, _)| *known == person) {
            ended.push((person, typist));
            self.count += 1;
        }
    }

    fn of(&self, conversation: &str) -> impl Iterator<Item = &(String, Typist)> {
        [&self.last, &self.before].into_iter().filter_map(move |ended| ended.get(conversation)).flatten()
    }
}

impl Typing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().now.is_empty()
    }
}

impl Typist {
    fn data(&self, person: &str, is_typing: bool) -> Value {
        let id = self.conversation.key();
        let mut data = json!({ "by": person, "conversation_id": id });
        if self.in_group {
            data["group_id"] = id.into();
        }
        data["user_id"] = person.into();
        data["username"] = self.username.as_str().into();
        data["is_typing"] = is_typing.into();
        data
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

impl Chat {
    /// Sets whether a user is typing in a conversation that they are a member of.
    pub(super) fn set_typing(
        &self,
        me: &Me,
        device: DeviceId,
        conversation: Topic,
        is_typing: bool,
        in_group: bool,
    ) {
        let key = (conversation.key().to_owned(), me.id().to_owned());
        let until = self.0.clock.steady().plus_millis(TYPING_MS);
        let username = me.person.display_name();
        let typist = Typist { conversation, device, until, username, in_group };
        let mut typing = self.0.typing.0.lock();
        if is_typing && typing.now.len() >= TYPING_MAX && !typing.now.contains_key(&key) {
            metrics::counter!("relais_chat_typing_unpublished_total").increment(1);
            return;
        }
        self.publish_typing(&typist, me.id(), is_typing);
        if is_typing {
            typing.now.insert(key, typist);
        } else if let Some(typist) = typing.now.remove(&key) {
            typing.lately.add(key, typist);
        }
        drop(typing);
        self.0.wake.notify_one();
    }

    /// Published under the lock, so that the last published state is current.
    fn publish_typing(&self, typist: &Typist, person: &str, is_typing: bool) {
        let data: Arc<str> = typist.data(person, is_typing).to_string().into();
        self.publish_latest(typist.conversation.clone(), USER_TYPING, data, person);
    }

    /// The user has sent a message, or left the conversation.
    pub(super) fn end_typing(&self, conversation_id: &str, person: &str) {
        self.end_typing_of(|(conversation, who), _| *conversation == conversation_id && *who == person);
    }

    /// A device has disconnected.
    pub(super) fn end_typing_on(&self, device: DeviceId) {
        self.end_typing_of(|_, typist| typist.device == device);
    }

    fn end_typing_of(&self, is_over: impl Fn(&(String, String), &Typist) -> bool) {
        let mut typing = self.0.typing.0.lock();
        let Typists { now, lately } = &mut *typing;
        for (key, typist) in now.extract_if(|key, typist| is_over(key, typist)) {
            self.publish_typing(&typist, &key.1, false);
            lately.add(key, typist);
        }
    }

    /// Sends who is typing in these conversations, except the user themselves; before that, to a client that comes
    /// back, who has stopped.
    pub(super) fn publish_typing_in(
        &self,
        conversations: &HashSet<String>,
        me: &str,
        comes_back: bool,
        publish: impl Fn(&str, &Value),
    ) {
        let typing = self.0.typing.0.lock();
        if comes_back {
            let ended = conversations.iter().flat_map(|id| typing.lately.of(id));
            let ended = ended.filter(|(person, _)| person != me).take(ENDED_TOLD_MAX);
            ended.for_each(|(person, typist)| publish(USER_TYPING, &typist.data(person, false)));
        }
        let now = typing.now.iter().filter(|((id, person), _)| person != me && conversations.contains(id));
        now.for_each(|((_, person), typist)| publish(USER_TYPING, &typist.data(person, true)));
    }
}

/// The periodic task, until `stop`: expires typing indicators, publishes the counts of groups to their watchers, and
/// stores the time at which the server is alive.
pub async fn publish_changes(chat: Chat, stop: CancellationToken) {
    let changes = async {
        loop {
            chat.0.wake.notified().await;
            let mut steps = 0u32;
            while !chat.0.typing.is_empty() || chat.0.watches.has_changes() {
                tokio::time::sleep(STEP).await;
                steps = steps.wrapping_add(1);
                let now = chat.0.clock.steady();
                chat.end_typing_of(|_, typist| typist.is_over(now));
                if steps.is_multiple_of(STEPS_OF_COUNTS) {
                    chat.publish_counts().await;
                }
            }
        }
    };
    let alive = async {
        let mut ticks = tokio::time::interval(ALIVE);
        loop {
            ticks.tick().await;
            if !chat.0.devices.is_anybody_here() {
                continue;
            }
            let noted: Result<(), StoreError> = chat.0.store.write_rows(store::people::note_alive).await;
            if let Err(error) = noted {
                tracing::warn!(%error, "that the server runs could not be noted");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = changes => {}
        () = alive => {}
    }
}
