//! How events are encoded, and which of them a subscription receives.

use bytes::Bytes;
use relais_protocol::event::{Channel, Event};

use crate::close::CloseReason;

/// Encodes events for one kind of client.
///
/// An event is encoded once per dialect and the bytes are shared by every session that uses it, so nothing in them may
/// depend on the session. Called on the hub's thread: encode, do not block.
pub trait Dialect: Send + Sync + 'static {
    /// The dialect's name. Dialects of the same name encode identically: the hub uses any one of them for all.
    fn name(&self) -> &'static str;

    /// Appends the complete wire bytes of `event`: one or more WebSocket frames, or an SSE block. Appends nothing if
    /// the event is not sent to clients of this dialect.
    fn encode(&self, event: &Event, out: &mut Vec<u8>);

    /// A heartbeat that a live client answers, or that at least keeps intermediaries from closing the connection.
    fn ping(&self) -> Bytes;

    /// Whether clients expect heartbeats and drop the connection without them, so that one is due even while frames are
    /// queued.
    fn heartbeats_are_awaited(&self) -> bool {
        false
    }

    /// The last bytes of the connection; empty if there are none.
    fn close(&self, reason: &CloseReason) -> Bytes;

    /// Notifies a client that it was removed from `channel`; empty if this dialect has no such message.
    fn revoked(&self, channel: &Channel) -> Bytes {
        let _ = channel;
        Bytes::new()
    }

    /// Length of the first frame in `wire`, which starts at a frame boundary. A slow client's queue is truncated there,
    /// so that the close frame is understood. The default reads WebSocket headers; a text dialect that is only used on
    /// queues need not override it.
    fn frame_len(&self, wire: &[u8]) -> usize {
        relais_protocol::websocket::frame_len(wire).unwrap_or(wire.len())
    }
}

/// Which events of a channel a subscription receives. Called on the hub's thread for every event and, on recovery, on
/// the subscriber's task: be quick, do not block. It may consult state that changes, such as what the principal may
/// currently read.
pub trait Filter: Send + Sync + 'static {
    /// Whether the session should receive `event`.
    fn passes(&self, event: &Event) -> bool;
}

impl<F: Fn(&Event) -> bool + Send + Sync + 'static> Filter for F {
    fn passes(&self, event: &Event) -> bool {
        self(event)
    }
}
