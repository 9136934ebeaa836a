//! The one channel, its hub and its log.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{EventLog, Hub, HubConfig, LogBounds, LogError, NobodyWatches, Subscription};
use relais_protocol::event::{Channel, Cursor, Epoch, Event, Topic};
use relais_protocol::time::{Clock, SystemClock};

const EPOCH: Epoch = Epoch(1);
const TOPIC: &str = "conversation:all";
/// Events that are kept for clients that come back.
const EVENTS_MAX: usize = 10_000;

/// The one channel.
pub(crate) struct Room {
    pub(crate) hub: Hub,
    topic: Topic,
    name: Arc<str>,
    log: Arc<Log>,
}

/// The last events, the oldest first.
struct Log(Mutex<VecDeque<Arc<Event>>>);

impl Room {
    pub(crate) fn open() -> Self {
        let log = Arc::new(Log(Mutex::default()));
        let config = HubConfig { sessions_per_address_max: 100_000, ..HubConfig::default() };
        let head = Cursor { epoch: EPOCH, seq: 0 };
        let hub = Hub::start(config, head, Arc::clone(&log) as Arc<dyn EventLog>, Arc::new(NobodyWatches));
        let topic = Topic::new(TOPIC).expect("the name is one of a topic");
        Self { hub, topic, name: "message".into(), log }
    }

    /// What every client hears.
    pub(crate) fn subscription(&self) -> Subscription {
        Subscription { channel: Channel::Topic(self.topic.clone()), filter: None }
    }

    /// Says something to all.
    pub(crate) fn say(&self, text: &str) {
        let mut events = self.log.0.lock();
        let seq = events.back().map_or(0, |last| last.seq) + 1;
        let event = Arc::new(Event {
            topic: self.topic.clone(),
            epoch: EPOCH,
            offset: seq,
            seq,
            name: Arc::clone(&self.name),
            data: text.into(),
            at: SystemClock.now(),
        });
        if events.len() == EVENTS_MAX {
            events.pop_front();
        }
        events.push_back(Arc::clone(&event));
        // Under the lock, so that events reach the hub in their order.
        self.hub.publish(event);
    }
}

impl Log {
    fn after(&self, seq: u64, up_to_seq: u64, limit: usize) -> Vec<Arc<Event>> {
        let events = self.0.lock();
        let wanted = events.iter().filter(|event| event.seq > seq && event.seq <= up_to_seq);
        wanted.take(limit).cloned().collect()
    }
}

impl EventLog for Log {
    fn after_cursor<'a>(
        &'a self,
        _: &'a Channel,
        after_seq: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        Box::pin(async move { Ok(self.after(after_seq, up_to_seq, limit)) })
    }

    fn after_offset<'a>(
        &'a self,
        _: &'a Topic,
        after_offset: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>> {
        Box::pin(async move { Ok(self.after(after_offset, up_to_seq, limit)) })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<LogBounds, LogError>> {
        let events = self.0.lock();
        let head = events.back().map_or(0, |last| last.seq);
        let first_seq_kept = events.front().map_or(head + 1, |first| first.seq);
        Box::pin(async move { Ok(LogBounds { first_seq_kept, head }) })
    }

    fn position<'a>(&'a self, _: &'a Topic, up_to_seq: u64) -> BoxFuture<'a, Result<u64, LogError>> {
        // The only topic: its offsets are those of the log.
        let head = self.0.lock().back().map_or(0, |last| last.seq);
        Box::pin(async move { Ok(head.min(up_to_seq)) })
    }
}
