//! How events become bytes, and which of them a subscription wants.

use bytes::Bytes;
use relais_protocol::event::{Channel, Event};

use crate::close::CloseReason;

/// How events become bytes for one kind of client.
///
/// An event is encoded once per dialect and the bytes are shared by every session that speaks it, so nothing
/// in them may depend on the session. Called on the hub's thread: encode, do not block.
pub trait Dialect: Send + Sync + 'static {
    /// The dialect's name. Dialects of the same name encode alike: the hub uses any one of them for all.
    fn name(&self) -> &'static str;

    /// Appends the complete wire bytes of `event`: one or more WebSocket frames, or an SSE block. Appends
    /// nothing if clients of this dialect do not hear of it.
    fn encode(&self, event: &Event, out: &mut Vec<u8>);

    /// A heartbeat that makes a living client answer, or at least keeps intermediaries from giving up.
    fn ping(&self) -> Bytes;

    /// Whether clients wait for heartbeats and give the connection up without them, so that one is due even
    /// while frames wait to be read.
    fn heartbeats_are_awaited(&self) -> bool {
        false
    }

    /// The last bytes of the connection; empty if there is nothing to say.
    fn close(&self, reason: &CloseReason) -> Bytes;

    /// Tells a client that it was taken out of `channel`; empty if this dialect has no such message.
    fn revoked(&self, channel: &Channel) -> Bytes {
        let _ = channel;
        Bytes::new()
    }

    /// Length of the first frame in `wire`, which starts at a frame. A slow client's queue is cut there, so
    /// that the close frame is understood. The default reads WebSocket headers; a text dialect that is only
    /// used on queues need not care.
    fn frame_len(&self, wire: &[u8]) -> usize {
        relais_protocol::websocket::frame_len(wire).unwrap_or(wire.len())
    }
}

/// Which events of a channel a subscription wants. Called on the hub's thread for every event and, on
/// recovery, on the subscriber's task: be quick, do not block. It may consult state that changes, such as
/// what the principal may read right now.
pub trait Filter: Send + Sync + 'static {
    /// Whether the session should receive `event`.
    fn passes(&self, event: &Event) -> bool;
}

impl<F: Fn(&Event) -> bool + Send + Sync + 'static> Filter for F {
    fn passes(&self, event: &Event) -> bool {
        self(event)
    }
}
