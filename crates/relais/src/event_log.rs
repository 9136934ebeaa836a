//! The store's event log as the hub reads it.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use relais_hub::{EventLog, Hub, LogBounds, LogError};
use relais_protocol::event::{Channel, Cursor, Event, Topic};
use relais_store::{EventSink, Store, StoreError};
use tokio::sync::watch;

use crate::auth::Auth;
use crate::auth::end_connections;
use crate::feature::{Observer, Observers};
use crate::features;

/// Reads what listeners missed.
pub struct StoredLog(pub Store);

fn fault(error: StoreError) -> LogError {
    LogError(Box::new(error))
}

fn shared(events: Vec<Event>) -> Vec<Arc<Event>> {
    let told = |event: Event| Arc::new(features::expanded(&event).unwrap_or(event));
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

    fn catch_up(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.0.catch_up().map(|caught_up| caught_up.map_err(fault)).boxed()
    }
}

/// Hands committed events to the hub and wakes those who wait for one.
pub struct Publisher {
    /// Where listeners are.
    pub hub: Hub,
    /// Where the log stands.
    pub heads: watch::Sender<Cursor>,
    /// Who follows the log.
    pub observers: Observers,
}

/// Ends connections before they receive events that follow the change of their rights.
pub struct RightsObserver {
    /// Live sessions.
    pub hub: Hub,
    /// Whose rights changed.
    pub auth: Auth,
}

impl Observer for RightsObserver {
    fn committed(&self, event: &Event) {
        if let Some(ended) = self.auth.observe(event) {
            end_connections(&self.hub, &ended);
        }
    }
}

impl EventSink for Publisher {
    fn committed(&self, event: Arc<Event>) {
        self.observers.for_each(|observer| observer.committed(&event));
        self.hub.publish(features::expanded(&event).map_or_else(|| Arc::clone(&event), Arc::new));
        self.observers.for_each(|observer| observer.published(&event));
    }

    fn has_room(&self) -> bool {
        self.hub.has_room()
    }

    fn together(&self, events: &mut dyn FnMut()) {
        self.hub.publish_together(events);
    }

    fn caught_up(&self, event: &Event) {
        self.observers.for_each(|observer| observer.caught_up(event));
    }

    fn amended(&self, seq: u64, data: Arc<str>) {
        self.hub.amend(seq, data);
    }

    fn advanced(&self, seq: u64) {
        self.heads.send_modify(|head| head.seq = seq);
    }
}
