//! An event log in memory.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{EventLog, Hub, LogBounds, LogError};
use relais_protocol::event::{Channel, Cursor, Epoch, Event, Topic};

/// A log in memory that forgets, fails and stalls on request. Empty until something is appended.
#[derive(Default)]
pub struct MemoryLog {
    /// Everything ever appended, in order.
    pub events: Mutex<Vec<Arc<Event>>>,
    first_seq_kept: Mutex<u64>,
    is_broken: Mutex<bool>,
    /// While it is held, reads block.
    pub held: tokio::sync::Mutex<()>,
    /// What another server committed, and the hub that has not been notified yet.
    elsewhere: Mutex<Vec<(Arc<Event>, Hub)>>,
}

impl MemoryLog {
    /// Commits an event: assigns its positions in the log and in its topic.
    pub fn append(&self, event: Event) -> Arc<Event> {
        let mut events = self.events.lock();
        let offset = 1 + events.iter().rev().find(|e| e.topic == event.topic).map_or(0, |e| e.offset);
        let event = Arc::new(Event { seq: events.len() as u64 + 1, offset, ..event });
        events.push(Arc::clone(&event));
        event
    }

    /// Another server commits an event: `hub` receives it when it catches up.
    pub fn append_elsewhere(&self, event: Event, hub: &Hub) {
        let event = self.append(event);
        self.elsewhere.lock().push((event, hub.clone()));
    }

    /// The position of the last event.
    #[must_use]
    pub fn head(&self, epoch: Epoch) -> Cursor {
        Cursor { epoch, seq: self.events.lock().len() as u64 }
    }

    /// Drops everything before `seq`.
    pub fn forget_before(&self, seq: u64) {
        *self.first_seq_kept.lock() = seq;
    }

    /// From now on, reads fail.
    pub fn break_down(&self) {
        *self.is_broken.lock() = true;
    }

    async fn read(&self, wanted: impl Fn(&Event) -> bool, limit: usize) -> Result<Vec<Arc<Event>>, LogError> {
        let _read = self.held.lock().await;
        if *self.is_broken.lock() {
            return Err(LogError("the disk is gone".into()));
        }
        let first = *self.first_seq_kept.lock();
        let events = self.events.lock();
        Ok(events.iter().filter(|event| event.seq >= first && wanted(event)).take(limit).cloned().collect())
    }
}

impl EventLog for MemoryLog {
    fn after_cursor<'a>(
        &'a self,
        channel: &'a Channel,
        after_seq: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        let wanted = move |e: &Event| channel.covers(&e.topic) && e.seq > after_seq && e.seq <= up_to_seq;
        async move {
            // Yields to other tasks, as a database does.
            tokio::task::yield_now().await;
            self.read(wanted, limit).await
        }
        .boxed()
    }

    fn after_offset<'a>(
        &'a self,
        topic: &'a Topic,
        after_offset: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        let wanted = move |e: &Event| e.topic == *topic && e.offset > after_offset && e.seq <= up_to_seq;
        self.read(wanted, limit).boxed()
    }

    fn bounds(&self) -> BoxFuture<'_, Result<LogBounds, LogError>> {
        let (first_seq_kept, head) = (*self.first_seq_kept.lock(), self.events.lock().len() as u64);
        async move { Ok(LogBounds { first_seq_kept, head }) }.boxed()
    }

    fn position<'a>(&'a self, topic: &'a Topic, up_to_seq: u64) -> BoxFuture<'a, Result<u64, LogError>> {
        let events = self.events.lock();
        let last = events.iter().rev().find(|e| e.topic == *topic && e.seq <= up_to_seq);
        let offset = last.map_or(0, |event| event.offset);
        async move { Ok(offset) }.boxed()
    }

    fn catch_up(&self) -> BoxFuture<'_, Result<(), LogError>> {
        async move {
            tokio::task::yield_now().await;
            for (event, hub) in self.elsewhere.lock().drain(..) {
                hub.publish(event);
            }
            Ok(())
        }
        .boxed()
    }
}
