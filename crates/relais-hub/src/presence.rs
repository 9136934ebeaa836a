//! Channel presence.

use std::sync::Arc;

use relais_protocol::event::Channel;

/// One principal in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The principal.
    pub principal: Arc<str>,
    /// Its number of sessions.
    pub sessions: usize,
}

/// Is notified when a principal's first session enters a channel and when its last one leaves.
///
/// Called on the hub's thread in the order of the changes: do not block. It may publish ephemeral events; a durable one
/// must come from the store.
pub trait PresenceWatcher: Send + Sync + 'static {
    /// The first session of `principal` is in `channel`.
    fn entered(&self, channel: &Channel, principal: &Arc<str>);
    /// The last session of `principal` has left `channel`.
    fn left(&self, channel: &Channel, principal: &Arc<str>);
}

/// For servers without a feature that shows presence.
#[derive(Clone, Copy, Debug, Default)]
pub struct NobodyWatches;

impl PresenceWatcher for NobodyWatches {
    fn entered(&self, _channel: &Channel, _principal: &Arc<str>) {}
    fn left(&self, _channel: &Channel, _principal: &Arc<str>) {}
}
