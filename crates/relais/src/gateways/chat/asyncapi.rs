//! The AsyncAPI document of the chat's sockets.

use serde_json::{Value, json};

use crate::asyncapi::{Part, count, cursor, object, offset, relay_message, text};

/// Its part of the AsyncAPI document.
pub(super) fn part() -> Part {
    Part { channels: channels(), operations: operations(), messages: messages() }
}

fn channels() -> Value {
    json!({
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
    })
}

fn operations() -> Value {
    json!({
        "commandChat": {
            "action": "receive", "channel": { "$ref": "#/channels/chat" },
            "messages": [{ "$ref": "#/channels/chat/messages/chat_command" }],
        },
        "receiveChatEvents": { "action": "send", "channel": { "$ref": "#/channels/chat" } },
    })
}

fn messages() -> Value {
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
