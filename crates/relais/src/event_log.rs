//! The store's event log as the hub reads it.

use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use relais_hub::{EventLog, Hub, LogBounds, LogError};
use relais_protocol::event::{Channel, Cursor, Event, Topic};
use relais_store::{EventSink, Store, StoreError};
use tokio::sync::watch;

use crate::auth::Auth;
use crate::features::chat::{self, Chat};
use crate::features::live::Live;
use crate::features::relay::Relay;
use crate::gateways::end_connections;

/// The most data that somebody may give an event of their own, in bytes.
pub const EVENT_DATA_BYTES_MAX: usize = 64 * 1024;

/// Reads what listeners missed.
pub struct StoredLog(pub Store);

fn fault(error: StoreError) -> LogError {
    LogError(Box::new(error))
}

fn shared(events: Vec<Event>) -> Vec<Arc<Event>> {
    let told = |event: Event| Arc::new(chat::whole(&event).unwrap_or(event));
    events.into_iter().map(told).collect()
}

impl EventLog for StoredLog {
    fn after_cursor<'a>(
        &'a self,
        channel: &'a Channel,
        after_seq: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        async move { self.0.events_after(channel, after_seq, up_to_seq, limit).await.map(shared).map_err(fault) }
            .boxed()
    }

    fn after_offset<'a>(
        &'a self,
        topic: &'a Topic,
        after_offset: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        let found = self.0.events_after_offset(topic, after_offset, up_to_seq, limit);
        found.map(|events| events.map(shared).map_err(fault)).boxed()
    }

    fn bounds(&self) -> BoxFuture<'_, Result<LogBounds, LogError>> {
        let bounds = self.0.log_bounds();
        bounds
            .map(|bounds| {
                let bounds = bounds.map_err(fault)?;
                Ok(LogBounds { first_seq_kept: bounds.first_seq_kept, head: bounds.head.seq })
            })
            .boxed()
    }

    fn position<'a>(&'a self, topic: &'a Topic, up_to_seq: u64) -> BoxFuture<'a, Result<u64, LogError>> {
        async move { self.0.topic_position(topic, up_to_seq).await.map(|place| place.offset).map_err(fault) }
            .boxed()
    }
}

/// Hands committed events to the hub and wakes those who wait for one.
pub struct Publisher {
    /// Where listeners are.
    pub hub: Hub,
    /// Where the log stands.
    pub heads: watch::Sender<Cursor>,
    /// Identity and access, once it is open: connections end before they are told what came after their rights.
    pub auth: Arc<OnceLock<Auth>>,
    /// The relay, once it is open: it has to take in what others committed.
    pub relay: Arc<OnceLock<Relay>>,
    /// The chat, once it is open: it makes connections listen to what their people are let into.
    pub chat: Arc<OnceLock<Chat>>,
    /// The modules, once they are open: who owns them, and that they are gone, is known before it is told.
    pub live: Arc<OnceLock<Live>>,
}

impl EventSink for Publisher {
    fn committed(&self, event: Arc<Event>) {
        if let Some(ended) = self.auth.get().and_then(|auth| auth.observe(&event)) {
            end_connections(&self.hub, &ended);
        }
        if let Some(chat) = self.chat.get() {
            chat.observe(&event);
        }
        if let Some(live) = self.live.get() {
            live.observe(&event);
        }
        self.hub.publish(chat::whole(&event).map_or(event, Arc::new));
    }

    fn has_room(&self) -> bool {
        self.hub.has_room()
    }

    fn together(&self, events: &mut dyn FnMut()) {
        self.hub.publish_together(events);
    }

    fn caught_up(&self, event: &Event) {
        if let Some(relay) = self.relay.get() {
            relay.take_in(event);
        }
    }

    fn amended(&self, seq: u64, data: Arc<str>) {
        self.hub.amend(seq, data);
    }

    fn advanced(&self, seq: u64) {
        self.heads.send_modify(|head| head.seq = seq);
    }
}
