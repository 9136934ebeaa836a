//! The event log as the hub reads it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use relais_protocol::event::{Channel, Event, Topic};

/// The durable log of events, from which a reconnecting client recovers what it missed.
///
/// Every event that was passed to [`Hub::publish`](crate::Hub::publish) can be read here from that moment on, until
/// retention removes it. All results are in ascending order.
pub trait EventLog: Send + Sync + 'static {
    /// At most `limit` events that `channel` covers with `after_seq < seq <= up_to_seq`, the oldest first.
    fn after_cursor<'a>(
        &'a self,
        channel: &'a Channel,
        after_seq: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>>;

    /// At most `limit` events of `topic` with `offset > after_offset` and `seq <= up_to_seq`, the oldest
    /// first.
    fn after_offset<'a>(
        &'a self,
        topic: &'a Topic,
        after_offset: u64,
        up_to_seq: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Arc<Event>>, LogError>>;

    /// Which events are still kept.
    fn bounds(&self) -> BoxFuture<'_, Result<LogBounds, LogError>>;

    /// The offset of the last event of `topic` with `seq <= up_to_seq`, whether or not it is still kept; 0 if
    /// there was none.
    fn position<'a>(&'a self, topic: &'a Topic, up_to_seq: u64) -> BoxFuture<'a, Result<u64, LogError>>;

    /// Returns once every event that was committed before the call, by any server, was passed to
    /// [`Hub::publish`](crate::Hub::publish). A log that only this server writes to has nothing to do.
    fn catch_up(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Which events a log still keeps: all with `first_seq_kept <= seq <= head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The oldest event that is kept; `head + 1` if none is.
    pub first_seq_kept: u64,
    /// The newest event.
    pub head: u64,
}

/// The log could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the event log could not be read: {0}")]
pub struct LogError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
