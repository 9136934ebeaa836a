//! The AsyncAPI document of the relay's WebSocket and event stream.

use serde_json::{Value, json};

use crate::asyncapi::{Part, count, cursor, epoch, hash, offset, relay_message, text, time};

/// Its part of the AsyncAPI document.
pub(super) fn part() -> Part {
    Part { channels: channels(), operations: operations(), messages: messages() }
}

fn channels() -> Value {
    json!({
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
    })
}

fn operations() -> Value {
    json!({
        "receiveRelayEvents": { "action": "send", "channel": { "$ref": "#/channels/relay" } },
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
    })
}
