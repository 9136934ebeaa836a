//! What devices answer to commands.

use serde_json::{Map, Value, json};

use super::command::Answer;
use super::report::is_envelope;

/// The longest answer that is kept, in bytes of JSON.
const RESULT_BYTES_MAX: usize = 8 * 1024;
/// Words of devices for what is done.
const DONE: &[&str] = &["success", "ok"];

/// An answer, and what it says it is to.
pub(super) struct Answered {
    /// The command's id.
    pub(super) id: Option<String>,
    /// The command's name.
    pub(super) name: Option<String>,
    pub(super) answer: Answer,
}

impl Answered {
    /// Reads a message of a device: a `command_response`, a `command_error`, or one that answers the command it is
    /// named after, such as `reset_response` and `pong`.
    pub(super) fn read(kind: &str, message: &Map<String, Value>) -> Self {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let named_after = match kind {
            "command_response" | "command_error" => None,
            "pong" => Some("ping"),
            kind => kind.strip_suffix("_response"),
        };
        let id = text("commandId").or_else(|| text("command_id")).or_else(|| text("id"));
        let name = text("command").or_else(|| named_after.map(str::to_owned));
        let done = kind != "command_error" && is_done(message);
        Self { id, name, answer: Answer { done, result: result(message) } }
    }
}

/// An answer that says nothing of it says that there was no mishap.
fn is_done(message: &Map<String, Value>) -> bool {
    match (message.get("success"), message.get("status")) {
        (Some(Value::Bool(success)), _) => *success,
        (_, Some(Value::String(status))) => DONE.contains(&status.as_str()),
        _ => !message.contains_key("error"),
    }
}

fn result(message: &Map<String, Value>) -> Value {
    let is_address = |name: &str| matches!(name, "id" | "commandId" | "command_id" | "command" | "timestamp");
    let said = message.iter().filter(|(name, _)| !is_envelope(name) && !is_address(name));
    let kept = Value::Object(said.map(|(name, value)| (name.clone(), value.clone())).collect());
    let fits = serde_json::to_string(&kept).is_ok_and(|json| json.len() <= RESULT_BYTES_MAX);
    if fits { kept } else { json!({ "error": "this answer is too long to be kept" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, message: Value) -> Answered {
        Answered::read(kind, &serde_json::from_value(message).unwrap())
    }

    #[test]
    fn answers_of_every_firmware_are_understood() {
        for (kind, message, done) in [
            ("command_response", json!({ "status": "success" }), true),
            ("command_response", json!({ "status": "unknown_command" }), false),
            ("command_response", json!({ "success": true }), true),
            ("command_response", json!({ "success": false, "status": "success" }), false),
            ("command_response", json!({}), true),
            ("command_response", json!({ "error": "stuck" }), false),
            ("command_error", json!({ "status": "success" }), false),
        ] {
            assert_eq!(read(kind, message.clone()).answer.done, done, "{kind} {message}");
        }
    }

    #[test]
    fn an_answer_says_which_command_it_is_to() {
        for (kind, message, id, name) in [
            ("command_response", json!({ "command": "ring" }), None, Some("ring")),
            ("command_response", json!({ "id": "a", "command": "ring" }), Some("a"), Some("ring")),
            ("command_error", json!({ "commandId": "a", "id": "b" }), Some("a"), None),
            ("reset_response", json!({}), None, Some("reset")),
            ("pong", json!({ "id": 5 }), None, Some("ping")),
        ] {
            let read = read(kind, message);
            assert_eq!((read.id.as_deref(), read.name.as_deref()), (id, name));
        }
    }

    #[test]
    fn what_proves_the_device_is_not_kept_and_neither_is_what_is_too_long() {
        let said = json!({ "type": "x", "moduleId": "m", "password": "p", "id": "a", "command": "c", "position": "B" });
        assert_eq!(read("command_response", said).answer.result, json!({ "position": "B" }));
        let long = read("command_response", json!({ "status": "success", "log": "x".repeat(9_000) }));
        assert!(long.answer.done && long.answer.result["error"].is_string());
    }
}
