//! The AsyncAPI document: what goes over the WebSockets and the event streams.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::scripts::Script;

/// The document (AsyncAPI 3.0).
#[must_use]
pub fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Relais: live connections",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every durable event has an `offset` in its topic, without gaps, and a `cursor` that \
                names its place in the whole log. A client keeps the last cursor it saw and names it when it \
                reconnects: it then receives what it missed, in order, each event once, before what is new.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "relay": {
                "address": "/api/files/ws",
                "description": "The relay's WebSocket. Query: `since` (cursor), `societe` (repeatable), `token`. What a \
                    client sends is ignored. The same frames come from the event stream `/api/files/events`.",
                "messages": {
                    "connection": { "$ref": "#/components/messages/connection" },
                    "file_uploaded": { "$ref": "#/components/messages/file_uploaded" },
                    "file_deleted": { "$ref": "#/components/messages/file_deleted" },
                    "sync_completed": { "$ref": "#/components/messages/sync_completed" },
                },
            },
            "chat": {
                "address": "/ws/chat",
                "description": "The chat. The same commands and events go over Socket.IO, at `/socket.io/` in the \
                    namespaces `/` and `/chat`, as events with one argument.",
                "messages": {
                    "chat_command": { "$ref": "#/components/messages/chat_command" },
                    "chat_authenticated": { "$ref": "#/components/messages/chat_authenticated" },
                    "chat_event": { "$ref": "#/components/messages/chat_event" },
                    "chat_answer": { "$ref": "#/components/messages/chat_answer" },
                    "error": { "$ref": "#/components/messages/error" },
                },
            },
            "devices": {
                "address": "/esp32",
                "description": "Devices of modules. Pages hear of them on Socket.IO in the namespace `/`, and over the \
                    hub's own protocol.",
                "messages": {
                    "device_message": { "$ref": "#/components/messages/device_message" },
                    "device_answer": { "$ref": "#/components/messages/device_answer" },
                },
            },
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
        },
        "operations": operations(),
        "components": { "messages": all_messages() },
    })
}

/// Who says what.
fn operations() -> Value {
    json!({
        "commandChat": {
            "action": "receive", "channel": { "$ref": "#/channels/chat" },
            "messages": [{ "$ref": "#/channels/chat/messages/chat_command" }],
        },
        "reportAsDevice": {
            "action": "receive", "channel": { "$ref": "#/channels/devices" },
            "messages": [{ "$ref": "#/channels/devices/messages/device_message" }],
        },
        "commandDevice": {
            "action": "send", "channel": { "$ref": "#/channels/devices" },
            "messages": [{ "$ref": "#/channels/devices/messages/device_answer" }],
        },
        "receiveChatEvents": { "action": "send", "channel": { "$ref": "#/channels/chat" } },
        "receiveRelayEvents": { "action": "send", "channel": { "$ref": "#/channels/relay" } },
        "commandHub": {
            "action": "receive", "channel": { "$ref": "#/channels/hub" },
            "messages": [{ "$ref": "#/channels/hub/messages/command" }],
        },
        "receiveHubEvents": { "action": "send", "channel": { "$ref": "#/channels/hub" } },
    })
}

/// The document as it is sent: making it takes a while, and it stays the same.
static TEXT: LazyLock<Script> = LazyLock::new(|| Script::new(document().to_string(), "application/json"));

/// `GET /asyncapi.json`.
pub(super) async fn send(headers: HeaderMap) -> Response {
    TEXT.send(&headers).await
}

fn all_messages() -> Value {
    let mut all = messages();
    for more in [chat_messages(), device_messages()] {
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
    }
    all
}

fn device_messages() -> Value {
    let who = || json!({ "moduleId": text(), "password": text() });
    json!({
        "device_message": {
            "summary": "What a device says. Fields beside these are values of the module.",
            "payload": { "oneOf": [
                object("module_identify", &["moduleId", "password"], &who()),
                object("telemetry", &[], &who()),
                object("heartbeat", &[], &who()),
                object("status_update", &[], &who()),
                object("command_response", &["command"], &json!({
                    "id": text(), "command": text(), "status": text(), "success": { "type": "boolean" }, "position": {},
                })),
                object("command_error", &[], &json!({ "id": text(), "command": text() })),
                object("status_response", &[], &who()),
                object("reset_response", &[], &who()),
                object("ping", &[], &json!({})),
                object("pong", &[], &json!({})),
            ] },
        },
        "device_answer": {
            "summary": "What a device hears: that it is in, or why not, and commands.",
            "payload": { "oneOf": [
                object("connected", &["status", "initialState"], &json!({
                    "status": { "const": "authenticated" }, "moduleId": text(), "timestamp": time(),
                    "initialState": { "type": "object", "properties": { "uptime": {}, "position": {} } },
                })),
                object("auth_success", &["moduleId"], &json!({ "moduleId": text(), "timestamp": time() })),
                object("auth_error", &["message"], &json!({ "message": text() })),
                object("command", &["id", "data"], &json!({
                    "id": text(), "timestamp": time(),
                    "data": { "type": "object", "required": ["command"], "properties": { "command": text() } },
                })),
                object("error", &["code", "message"], &json!({ "code": text(), "message": text() })),
                object("pong", &[], &json!({ "timestamp": time() })),
            ] },
        },
    })
}

fn messages() -> Value {
    json!({
        "connection": relay_message("First, always. `recovered` is there if `since` was given: false means that the \
            list of files has to be read again.", &["message", "timestamp", "epoch", "cursor"], &json!({
                "message": text(), "timestamp": time(), "epoch": epoch(), "cursor": cursor(),
                "recovered": { "type": "boolean" },
            })),
        "file_uploaded": relay_message("A file has a new content.",
            &["societe", "filename", "size", "sha256", "version", "origin", "timestamp", "offset", "epoch", "cursor"],
            &json!({
                "societe": text(), "filename": text(), "size": count("bytes"), "sha256": hash(),
                "version": count("counts the contents of this file, from 1"),
                "origin": { "enum": ["upload", "folder", "restore"] },
                "timestamp": time(), "offset": offset(), "epoch": epoch(), "cursor": cursor(),
            })),
        "file_deleted": relay_message("A file is gone; its versions are kept.",
            &["societe", "filename", "timestamp", "offset", "epoch", "cursor"], &json!({
                "societe": text(), "filename": text(),
                "timestamp": time(), "offset": offset(), "epoch": epoch(), "cursor": cursor(),
            })),
        "sync_completed": relay_message("A client says that it has sent everything.",
            &["societe", "files_count", "timestamp", "offset", "epoch", "cursor"], &json!({
                "societe": text(), "files_count": count("files of the société"),
                "timestamp": time(), "offset": offset(), "epoch": epoch(), "cursor": cursor(),
            })),
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

/// What goes over the chat's socket.
fn chat_messages() -> Value {
    let id = || json!({ "type": "string", "description": "opaque" });
    let in_conversation = |fields: Value| {
        let mut properties = json!({ "id": {}, "conversation_id": id() });
        if let (Some(all), Value::Object(fields)) = (properties.as_object_mut(), fields) {
            all.extend(fields);
        }
        properties
    };
    json!({
        "chat_command": { "summary": "What a client says; `id` is given back in the answer.", "payload": { "oneOf": [
            object("authenticate", &["token"], &json!({
                "token": text(), "since": cursor(), "include_own": { "type": "boolean" },
            })),
            object("send_message", &["conversation_id", "message"], &in_conversation(json!({
                "message": { "oneOf": [text(), { "type": "object", "required": ["content"], "properties": {
                    "content": text(), "client_id": text(), "mentions": { "type": "array", "items": id() },
                    "attachments": { "type": "array", "items": text() } } }] },
                "client_id": text(),
            }))),
            object("mark_read", &["conversation_id"], &in_conversation(json!({ "up_to": count("number of a message") }))),
            object("edit_message", &["message_id", "content"], &json!({
                "id": {}, "message_id": id(), "content": text(),
                "mentions": { "type": "array", "items": id(), "description": "absent: as before" },
            })),
            object("delete_message", &["message_id"], &json!({ "id": {}, "message_id": id() })),
            object("typing", &["conversation_id"], &in_conversation(json!({ "is_typing": { "type": "boolean" } }))),
            object("group_typing", &["group_id"], &json!({ "group_id": id(), "is_typing": { "type": "boolean" } })),
            object("user_presence", &["is_online"], &json!({ "is_online": { "type": "boolean" } })),
            object("watch_presence", &[], &json!({ "id": {}, "conversation_id": id(), "group_id": id(),
                "user_ids": { "type": "array", "items": id() } })),
            object("unwatch_presence", &[], &json!({ "id": {}, "conversation_id": id(), "group_id": id(),
                "user_ids": { "type": "array", "items": id() } })),
            object("block_user", &["user_id"], &json!({ "id": {}, "user_id": id() })),
            object("unblock_user", &["user_id"], &json!({ "id": {}, "user_id": id() })),
            object("join_conversation", &["conversation_id"], &in_conversation(json!({}))),
            object("leave_conversation", &["conversation_id"], &in_conversation(json!({}))),
            object("join_group", &["group_id"], &json!({ "id": {}, "group_id": id() })),
            object("leave_group", &["group_id"], &json!({ "id": {}, "group_id": id() })),
            object("ping", &[], &json!({ "id": {} })),
        ] } },
        "chat_authenticated": relay_message("The token is good. `recovered` is there if `since` was given.",
            &["success", "user_id", "cursor"], &json!({
                "type": { "const": "authenticated" }, "success": { "const": true }, "user_id": id(),
                "cursor": cursor(), "recovered": { "type": ["boolean", "null"] },
            })),
        "chat_event": relay_message("Something happened; `by` did it. `cursor` and `offset` are there if it is stored. \
            What happens in a group comes once more under its `group` name.",
            &["type"], &json!({
                "type": { "enum": [
                    "new_message", "message_edited", "message_deleted", "messages_read", "messages_delivered",
                    "user_typing", "user_presence", "new_invitation", "invitation_sent", "invitation_accepted",
                    "invitation_rejected", "invitation_answered", "invitation_cancelled", "conversation_joined",
                    "conversation_left", "member_joined", "member_removed", "owner_changed", "conversation_renamed",
                    "conversation_begun", "notification", "group_presence", "user_blocked", "user_unblocked",
                    "new_group_message", "group_messages_read", "group_user_typing", "group_invitation",
                    "group_invitation_accepted", "group_member_joined", "group_member_left", "group_created",
                ] },
                "cursor": cursor(), "offset": offset(), "by": id(), "conversation_id": id(), "group_id": id(),
            })),
        "chat_answer": relay_message("What a command led to.", &["type", "success"], &json!({
            "type": { "enum": ["message_sent", "marked_read", "message_edited", "message_deleted", "joined_conversation",
                "left_conversation", "joined_group", "left_group", "watching_presence", "unwatched_presence",
                "user_blocked", "user_unblocked", "pong", "done"] },
            "success": { "type": "boolean" }, "id": {}, "conversation_id": id(),
        })),
    })
}

/// A message whose `type` is its name is told apart by it alone.
fn relay_message(summary: &str, required: &[&str], properties: &Value) -> Value {
    json!({ "summary": summary, "payload": { "type": "object", "required": required, "properties": properties } })
}

fn object(kind: &str, required: &[&str], properties: &Value) -> Value {
    let mut properties = properties.clone();
    properties["type"] = json!({ "const": kind });
    let required: Vec<&str> = ["type"].iter().chain(required).copied().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count(what: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": what })
}

fn hash() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the content" })
}

fn epoch() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{16}$", "description": "names one life of the log" })
}

fn offset() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "place in the topic, from 1 and without gaps" })
}

fn cursor() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{16}-[0-9]+$", "description": "place in the whole log; opaque" })
}
