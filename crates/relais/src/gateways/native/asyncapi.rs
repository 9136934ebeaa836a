//! The AsyncAPI document of the hub's own protocol.

use serde_json::{Value, json};

use crate::asyncapi::{Part, count, cursor, epoch, object, offset, relay_message, text, time};

/// Its part of the AsyncAPI document.
pub(super) fn part() -> Part {
    Part { channels: channels(), operations: operations(), messages: messages() }
}

fn channels() -> Value {
    json!({
        "hub": {
            "address": "/api/v1/ws",
            "description": "The hub's own protocol. The same events come from the event stream `/api/v1/events` and \
                from long polling, `/api/v1/poll`.",
            "messages": {
                "command": { "$ref": "#/components/messages/command" },
                "connected": { "$ref": "#/components/messages/connected" },
                "authenticated": { "$ref": "#/components/messages/authenticated" },
                "subscribed": { "$ref": "#/components/messages/subscribed" },
                "unsubscribed": { "$ref": "#/components/messages/unsubscribed" },
                "presence": { "$ref": "#/components/messages/presence" },
                "pong": { "$ref": "#/components/messages/pong" },
                "event": { "$ref": "#/components/messages/event" },
                "error": { "$ref": "#/components/messages/error" },
            },
        },
    })
}

fn operations() -> Value {
    json!({
        "commandHub": {
            "action": "receive", "channel": { "$ref": "#/channels/hub" },
            "messages": [{ "$ref": "#/channels/hub/messages/command" }],
        },
        "receiveHubEvents": { "action": "send", "channel": { "$ref": "#/channels/hub" } },
    })
}

fn messages() -> Value {
    json!({
        "command": { "summary": "What a client says; `id` is given back in the reply.", "payload": { "oneOf": [
            object("authenticate", &["token"], &json!({ "id": {}, "token": text() })),
            object("subscribe", &["channel"], &json!({
                "id": {}, "channel": text(), "since": cursor(),
                "position": { "type": "object", "required": ["epoch", "offset"],
                    "properties": { "epoch": epoch(), "offset": offset() } },
            })),
            object("unsubscribe", &["channel"], &json!({ "id": {}, "channel": text() })),
            object("presence", &["channel"], &json!({ "id": {}, "channel": text() })),
            object("ping", &[], &json!({ "id": {} })),
        ] } },
        "connected": relay_message("First, always.", &["timestamp"], &json!({ "timestamp": time() })),
        "authenticated": relay_message("The token is good.", &["principal"], &json!({ "principal": text(), "id": {} })),
        "subscribed": relay_message("Replayed events follow, then new ones.",
            &["channel", "epoch", "cursor", "recovered", "replayed"], &json!({
                "channel": text(), "epoch": epoch(), "cursor": cursor(), "offset": offset(), "id": {},
                "recovered": { "type": "boolean" }, "replayed": count("events"),
            })),
        "unsubscribed": relay_message("No more events of this channel.", &["channel"],
            &json!({ "channel": text(), "reason": text(), "id": {} })),
        "presence": relay_message("Who listens.", &["channel", "members"], &json!({
            "channel": text(), "id": {},
            "members": { "type": "array", "items": { "type": "object",
                "properties": { "principal": text(), "sessions": count("live sessions") } } },
        })),
        "pong": relay_message("Answers `ping`.", &[], &json!({ "id": {} })),
        "event": relay_message("Something happened.",
            &["topic", "name", "offset", "epoch", "cursor", "at", "data"], &json!({
                "topic": text(), "name": text(), "offset": offset(), "epoch": epoch(), "cursor": cursor(),
                "at": time(), "data": { "type": "object" },
            })),
        "error": relay_message("A command was refused; the connection stays.", &["code", "message"],
            &json!({ "code": text(), "message": text(), "id": {} })),
    })
}
