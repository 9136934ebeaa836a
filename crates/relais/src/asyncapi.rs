//! The words of the AsyncAPI document (AsyncAPI 3.0), to which every dialect adds its part.

use serde_json::{Map, Value, json};

/// The messages of one dialect: objects as the specification names them.
pub struct Part {
    /// Its addresses.
    pub channels: Value,
    /// Senders and receivers of the messages.
    pub operations: Value,
    /// The messages.
    pub messages: Value,
}

/// One object with the entries of all.
pub(crate) fn merged(parts: impl Iterator<Item = Value>) -> Value {
    let entries = parts.filter_map(|part| if let Value::Object(part) = part { Some(part) } else { None });
    Value::Object(entries.flatten().collect::<Map<_, _>>())
}

/// A message whose `type` is its name is identified by that alone.
pub(crate) fn relay_message(summary: &str, required: &[&str], properties: &Value) -> Value {
    json!({ "summary": summary, "payload": { "type": "object", "required": required, "properties": properties } })
}

/// An object with this `type`.
pub(crate) fn object(kind: &str, required: &[&str], properties: &Value) -> Value {
    let mut properties = properties.clone();
    properties["type"] = json!({ "const": kind });
    let required: Vec<&str> = ["type"].iter().chain(required).copied().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A text.
pub(crate) fn text() -> Value {
    json!({ "type": "string" })
}

/// A moment: RFC 3339.
pub(crate) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// How many.
pub(crate) fn count(what: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": what })
}

/// A hash.
pub(crate) fn hash() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the content" })
}

/// An epoch.
pub(crate) fn epoch() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{16}$", "description": "names one life of the log" })
}

/// An offset.
pub(crate) fn offset() -> Value {
    json!({ "type": "integer", "minimum": 0, "description": "place in the topic, from 1 and without gaps" })
}

/// A cursor.
pub(crate) fn cursor() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{16}-[0-9]+$", "description": "place in the whole log; opaque" })
}
