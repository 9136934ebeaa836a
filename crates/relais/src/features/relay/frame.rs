//! The relay's messages on the wire: the same JSON on the WebSocket, the event stream and the change feed.

use std::fmt::Write as _;

use relais_protocol::event::{Cursor, Event};
use relais_protocol::time::Timestamp;
use serde_json::{Value, json};

/// The text of the first frame, for people.
pub const WELCOME: &str = "Connecté au WebSocket Relay";

/// Appends an event as the JSON object that the relay's clients read:
/// `{"type","societe",…,"timestamp","offset","epoch","cursor"}`.
pub fn write_event(event: &Event, out: &mut Vec<u8>) {
    let mut tail = String::with_capacity(128);
    let cursor = event.cursor();
    // Writing to a string cannot fail.
    let _ = write!(
        tail,
        ",\"timestamp\":\"{}\",\"offset\":{},\"epoch\":\"{}\",\"cursor\":\"{cursor}\"}}",
        event.at, event.offset, event.epoch
    );
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.name.as_bytes());
    out.extend_from_slice(b"\"");
    let fields = event.data.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("");
    if !fields.is_empty() {
        out.push(b',');
        out.extend_from_slice(fields.as_bytes());
    }
    out.extend_from_slice(tail.as_bytes());
}

/// The same as a value.
#[must_use]
pub fn event_value(event: &Event) -> Value {
    let mut text = Vec::with_capacity(event.data.len() + 200);
    write_event(event, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The first frame of a connection. `recovered` is present if the client gave a position to resume from.
#[must_use]
pub fn connection(at: Timestamp, cursor: Cursor, recovered: Option<bool>) -> Value {
    let mut frame = json!({
        "type": "connection",
        "message": WELCOME,
        "timestamp": at,
        "epoch": cursor.epoch.to_string(),
        "cursor": cursor.to_string(),
    });
    if let Some(recovered) = recovered {
        frame["recovered"] = recovered.into();
    }
    frame
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};

    use super::*;

    #[test]
    fn an_event_carries_its_data_and_its_place() {
        let event = Event {
            topic: Topic::new("societe:rsp-bgs").unwrap(),
            epoch: Epoch(1),
            offset: 7,
            seq: 9,
            name: "file_deleted".into(),
            data: r#"{"societe":"rsp-bgs","filename":"a.json"}"#.into(),
            at: Timestamp::from_millis(1_702_981_800_000),
        };
        let expected = json!({
            "type": "file_deleted", "societe": "rsp-bgs", "filename": "a.json",
            "timestamp": "2023-12-19T10:30:00.000Z", "offset": 7, "epoch": "0000000000000001",
            "cursor": "0000000000000001-9",
        });
        assert_eq!(event_value(&event), expected);
    }
}
