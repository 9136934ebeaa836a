//! The chat and its shared state.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::Hub;
use relais_protocol::event::{Event, Topic};
use relais_protocol::time::SharedClock;
use relais_store::{Lane, Store};
use tokio::sync::Notify;

use super::devices::Devices;
use super::model::Person;
use super::posting::{self, Posted};
use super::refusal::no_conversation;
use super::sending::Sent;
use super::typing::Typing;
use super::watching::Watches;
use crate::AppError;
use crate::config::ChatConfig;
use crate::features::accounts::Accounts;
use crate::token_bucket::{PER_MINUTE, TokenBuckets, per_minute};

/// Maximum number of cached names; beyond it the cache is cleared.
const NAMES_MAX: usize = 50_000;

/// Conversations, messages and invitations. Cheap to clone.
#[derive(Clone)]
pub struct Chat(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    /// Messages being written to the database.
    pub(super) posts: Lane<Posted, Sent, AppError>,
    /// Wakes the indexing task.
    pub(super) unindexed: Notify,
    /// Held while messages are indexed.
    pub(super) indexing: tokio::sync::Mutex<()>,
    pub(super) accounts: Accounts,
    pub(super) hub: Hub,
    pub(super) clock: SharedClock,
    pub(super) config: ChatConfig,
    pub(super) devices: Devices,
    pub(super) watches: Watches,
    pub(super) typing: Typing,
    /// Wakes the periodic task when there is work.
    pub(super) wake: Notify,
    pub(super) people: Names,
    /// Of notifications that people send.
    pub(super) notices: TokenBuckets<String>,
    /// Held while it is looked who is there and told.
    pub(super) telling_presence: Mutex<()>,
}

/// An admitted user, already stored in this form.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) person: Person,
    pub(super) principal: Arc<str>,
}

/// Admitted users, by id.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Known>>);

impl Names {
    pub(super) fn get(&self, id: &str) -> Option<Known> {
        self.0.lock().get(id).cloned()
    }

    pub(super) fn put(&self, known: Known) {
        let mut names = self.0.lock();
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(known.person.id.clone(), known);
    }
}

impl Chat {
    /// Creates the chat on this store and hub.
    #[must_use]
    pub fn new(store: Store, accounts: Accounts, hub: Hub, clock: SharedClock, config: ChatConfig) -> Self {
        let (devices, people, telling_presence) = (Devices::default(), Names::default(), Mutex::default());
        let notices = TokenBuckets::new(per_minute(PER_MINUTE));
        Self(Arc::new(Inner {
            posts: store.lane(posting::post),
            unindexed: Notify::new(),
            indexing: tokio::sync::Mutex::new(()),
            store,
            accounts,
            hub,
            clock,
            config,
            devices,
            watches: Watches::default(),
            typing: Typing::default(),
            wake: Notify::new(),
            people,
            notices,
            telling_presence,
        }))
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &ChatConfig {
        &self.0.config
    }

    /// Publishes an ephemeral event to connected clients, coalesced to the latest per topic, name and key.
    pub(super) fn publish_latest(&self, topic: Topic, name: &str, data: Arc<str>, key: &str) {
        let event = Event {
            topic,
            epoch: self.0.hub.head().epoch,
            offset: 0,
            seq: 0,
            name: name.into(),
            data,
            at: self.0.clock.now(),
        };
        self.0.hub.publish_latest(Arc::new(event), key.into());
    }
}

/// The topic of a conversation. An id that is not valid in a topic name is an unknown conversation.
pub(super) fn topic(conversation_id: &str) -> Result<Topic, AppError> {
    Topic::new(&format!("{TOPIC_FAMILY}:{conversation_id}")).map_err(|_| no_conversation())
}

/// The topic family of conversations.
pub const TOPIC_FAMILY: &str = "conversation";
