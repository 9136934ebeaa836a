//! The frames of `/ws/chat`: flat JSON objects with a `type`.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{CloseReason, Dialect};
use relais_protocol::event::{Channel, Event};
use relais_protocol::websocket::text_frame_with;
use serde_json::{Value, json};

use super::super::dialects::{SocketDialect, text_frame};
use super::names::former_name;
use crate::AppError;

/// Events as frames ([`write`]), repeated under the names that clients of an earlier chat know. The repetition comes
/// second: a client that resumes after it has received both.
pub(super) fn dialect() -> Arc<dyn Dialect> {
    Arc::new(ChatDialect(SocketDialect::shared("chat-socket", write, left)))
}

struct ChatDialect(Arc<dyn Dialect>);

impl Dialect for ChatDialect {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        self.0.encode(event, out);
        if let Some(former) = former_name(event) {
            text_frame_with(out, |out| write_as(former, event, out));
        }
    }

    fn ping(&self) -> Bytes {
        self.0.ping()
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        self.0.close(reason)
    }

    fn revoked(&self, channel: &Channel) -> Bytes {
        self.0.revoked(channel)
    }
}

fn write(event: &Event, out: &mut Vec<u8>) {
    write_as(&event.name, event, out);
}

/// The data with the name as `type`, and the position in the log as `cursor`. These come last: of duplicate fields
/// clients take the last, and others may publish data with these names.
fn write_as(name: &str, event: &Event, out: &mut Vec<u8>) {
    let fields = event.data.strip_suffix('}').unwrap_or("{");
    out.extend_from_slice(fields.as_bytes());
    if fields != "{" {
        out.push(b',');
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "\"type\":{}", Value::from(name));
    if event.is_durable() {
        let _ = write!(out, ",\"cursor\":\"{}\",\"offset\":{}", event.cursor(), event.offset);
    }
    out.push(b'}');
}

/// The user was removed from a conversation.
fn left(channel: &Channel) -> Bytes {
    let channel = channel.to_string();
    let id = channel.split_once(':').map_or("", |(_, id)| id);
    frame("left_conversation", json!({ "conversation_id": id, "reason": "forbidden" }))
}

/// A frame for one client.
pub(super) fn frame(name: &str, mut fields: Value) -> Bytes {
    fields["type"] = name.into();
    text_frame(&fields)
}

/// The fields of an error; `error` is where clients expect it.
pub(super) fn error_fields(error: &AppError) -> Value {
    json!({ "success": false, "message": error.french(), "code": error.code() })
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::time::Timestamp;

    use super::*;

    fn encoded(seq: u64, data: &str) -> Value {
        let event = Event {
            topic: Topic::new("conversation:1").unwrap(),
            epoch: Epoch(7),
            offset: seq,
            seq,
            name: "new_message".into(),
            data: data.into(),
            at: Timestamp::default(),
        };
        let mut out = Vec::new();
        write(&event, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_is_a_flat_frame_with_its_name_and_place() {
        let place = "0000000000000007-3";
        let expected = json!({ "type": "new_message", "cursor": place, "offset": 3, "conversation_id": "1" });
        assert_eq!(encoded(3, r#"{"conversation_id":"1"}"#), expected);
        assert_eq!(encoded(3, "{}"), json!({ "type": "new_message", "cursor": place, "offset": 3 }));
        assert_eq!(encoded(0, r#"{"a":1}"#), json!({ "type": "new_message", "a": 1 }));
        assert_eq!(encoded(0, r#"{"type":"x"}"#), json!({ "type": "new_message" }));
    }
}
