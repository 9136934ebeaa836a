//! What clients read on WebSockets and on event streams; the hub's own frames.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{CloseReason, Dialect};
use relais_protocol::event::{Channel, Event};
use relais_protocol::websocket::{close_frame, text_frame_with};
use serde_json::{Value, json};

/// One text frame (RFC 6455 section 5.6) with this JSON.
pub(super) fn text_frame(value: &Value) -> Bytes {
    let mut out = Vec::new();
    // Writing to a vector cannot fail.
    text_frame_with(&mut out, |out| drop(serde_json::to_writer(out, value)));
    out.into()
}

/// One block of an event stream (WHATWG HTML, section 9.2). The data has no line breaks: it is our JSON.
pub(super) fn stream_block(id: Option<&str>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 64);
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out
}

/// Encodes an event as JSON.
type Encode = fn(&Event, &mut Vec<u8>);

/// Notifies a client that it was removed from a channel.
type Revoked = fn(&Channel) -> Bytes;

/// A dialect whose events are WebSocket text frames.
pub(super) struct SocketDialect {
    name: &'static str,
    encode: Encode,
    revoked: Revoked,
}

impl SocketDialect {
    pub(super) fn shared(name: &'static str, encode: Encode, revoked: Revoked) -> Arc<dyn Dialect> {
        Arc::new(Self { name, encode, revoked })
    }
}

/// A dialect whose events are blocks of an event stream.
pub(super) struct StreamDialect {
    name: &'static str,
    encode: Encode,
}

impl StreamDialect {
    pub(super) fn shared(name: &'static str, encode: Encode) -> Arc<dyn Dialect> {
        Arc::new(Self { name, encode })
    }
}

/// The hub's own frames on a WebSocket.
pub(super) fn native_socket() -> Arc<dyn Dialect> {
    SocketDialect::shared("native-socket", write_native, unsubscribed)
}

/// The hub's own frames on an event stream.
pub(super) fn native_stream() -> Arc<dyn Dialect> {
    StreamDialect::shared("native-stream", write_native)
}

/// As the relay's WebSocket and the native one say it.
pub(super) fn unsubscribed(channel: &Channel) -> Bytes {
    text_frame(&json!({ "type": "unsubscribed", "channel": channel.to_string(), "reason": "forbidden" }))
}

/// `{"type":"event","topic","name","offset","epoch","cursor","at","data"}`. An ephemeral event has no position in the
/// log: no `offset`, no `epoch` and no `cursor`.
pub(super) fn write_native(event: &Event, out: &mut Vec<u8>) {
    let topic = Value::from(event.topic.as_str());
    let name = Value::from(&*event.name);
    // Writing to a vector cannot fail.
    let _ = write!(out, "{{\"type\":\"event\",\"topic\":{topic},\"name\":{name},");
    if event.is_durable() {
        let (offset, epoch, cursor) = (event.offset, event.epoch, event.cursor());
        let _ = write!(out, "\"offset\":{offset},\"epoch\":\"{epoch}\",\"cursor\":\"{cursor}\",");
    }
    let _ = write!(out, "\"at\":\"{}\",\"data\":{}}}", event.at, event.data);
}

impl Dialect for SocketDialect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        text_frame_with(out, |out| (self.encode)(event, out));
    }

    fn ping(&self) -> Bytes {
        Bytes::from_static(&[0x89, 0])
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        let mut out = Vec::new();
        close_frame(reason.code.number(), &reason.text, &mut out);
        out.into()
    }

    fn revoked(&self, channel: &Channel) -> Bytes {
        (self.revoked)(channel)
    }
}

impl Dialect for StreamDialect {
    fn name(&self) -> &'static str {
        self.name
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        let mut data = Vec::with_capacity(event.data.len() + 200);
        (self.encode)(event, &mut data);
        // An ephemeral event is no position to resume from.
        let cursor = event.is_durable().then(|| event.cursor().to_string());
        out.extend_from_slice(&stream_block(cursor.as_deref(), &event.name, &data));
    }

    fn ping(&self) -> Bytes {
        Bytes::from_static(b": ping\n\n")
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        let data = json!({
            "code": reason.code.number(), "reason": reason.text, "reconnect": reason.code.reconnect(),
        });
        format!("event: close\ndata: {data}\n\n").into()
    }

    fn frame_len(&self, wire: &[u8]) -> usize {
        wire.windows(2).position(|pair| pair == b"\n\n").map_or(wire.len(), |at| at + 2)
    }
}
