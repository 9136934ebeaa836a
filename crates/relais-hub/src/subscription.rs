//! Subscriptions: channel, start, and outcome.

use std::sync::Arc;

use relais_protocol::event::{Channel, Cursor, Epoch, Position};

use crate::dialect::Filter;

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// With the next event.
    Now,
    /// After the last event the client has seen.
    Cursor(Cursor),
    /// After the last event of this topic that the client has seen; for a single topic only.
    Position(Position),
}

/// A subscription to one channel.
#[derive(Clone)]
pub struct Subscription {
    /// The channel.
    pub channel: Channel,
    /// Which of its events; all if absent.
    pub filter: Option<Arc<dyn Filter>>,
}

/// The outcome of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The life of the log.
    pub epoch: Epoch,
    /// The topic's offset at the join, for a subscription to a single topic.
    pub offset: Option<u64>,
    /// The place in the whole log at the join: live events are after it, replayed ones up to it.
    pub cursor: Cursor,
    /// Whether everything after the client's position was replayed. Always true from [`StartPosition::Now`]; if false, nothing
    /// was replayed and the client needs a fresh snapshot.
    pub recovered: bool,
    /// How many events were replayed.
    pub replayed: usize,
}
