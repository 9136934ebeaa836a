//! What goes over the WebSocket of devices.

use serde_json::{Value, json};

use crate::asyncapi::{Part, object, text, time};

/// Its part of the AsyncAPI document.
pub(super) fn part() -> Part {
    Part { channels: channels(), operations: operations(), messages: messages() }
}

fn channels() -> Value {
    json!({
        "devices": {
            "address": "/esp32",
            "description": "Devices of modules. Pages hear of them on Socket.IO in the namespace `/`, and over the \
                hub's own protocol.",
            "messages": {
                "device_message": { "$ref": "#/components/messages/device_message" },
                "device_answer": { "$ref": "#/components/messages/device_answer" },
            },
        },
    })
}

fn operations() -> Value {
    json!({
        "reportAsDevice": {
            "action": "receive", "channel": { "$ref": "#/channels/devices" },
            "messages": [{ "$ref": "#/channels/devices/messages/device_message" }],
        },
        "commandDevice": {
            "action": "send", "channel": { "$ref": "#/channels/devices" },
            "messages": [{ "$ref": "#/channels/devices/messages/device_answer" }],
        },
    })
}

fn messages() -> Value {
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
