//! What devices answer to commands.

use serde_json::{Map, Value, json};

use super::command::{Answer, Said};
use super::report::is_envelope;
use crate::config::AnswerWords;

/// The longest answer that is kept, in bytes of JSON.
const RESULT_BYTES_MAX: usize = 8 * 1024;

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
    pub(super) fn read(words: &AnswerWords, kind: &str, message: &Map<String, Value>) -> Self {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        let named_after = match kind {
            "command_response" | "command_error" => None,
            "pong" => Some("ping"),
            kind => kind.strip_suffix("_response"),
        };
        let id = text("commandId").or_else(|| text("command_id")).or_else(|| text("id"));
        let name = text("command").or_else(|| named_after.map(str::to_owned));
        let said = if kind == "command_error" { Said::Failed } else { said(words, message) };
        Self { id, name, answer: Answer { said, result: result(message) } }
    }
}

/// An answer that says nothing of it says that there was no mishap.
fn said(words: &AnswerWords, message: &Map<String, Value>) -> Said {
    let done = |done: bool| if done { Said::Done } else { Said::Failed };
    match (message.get("success"), message.get("status")) {
        (Some(Value::Bool(success)), _) | (_, Some(Value::Bool(success))) => done(*success),
        (Some(Value::Number(success)), _) => done(success.as_f64() == Some(1.0)),
        (Some(Value::String(word)), _) | (_, Some(Value::String(word))) => read_word(words, word),
        _ => done(matches!(message.get("error"), None | Some(Value::Null | Value::Bool(false)))),
    }
}

/// Devices write words as they like: `OK`, `In progress`, `in-progress`.
fn read_word(words: &AnswerWords, word: &str) -> Said {
    let plain = |word: &str| word.trim().to_lowercase().replace([' ', '-'], "_");
    let word = plain(word);
    let is_among = |words: &[String]| words.iter().any(|known| plain(known) == word);
    if is_among(&words.done) {
        Said::Done
    } else if is_among(&words.in_progress) {
        Said::InProgress
    } else {
        Said::Failed
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
        Answered::read(&AnswerWords::default(), kind, &serde_json::from_value(message).unwrap())
    }

    #[test]
    fn answers_of_every_firmware_are_understood() {
        use Said::{Done, Failed, InProgress};
        for (kind, message, said) in [
            ("command_response", json!({ "status": "success" }), Done),
            ("command_response", json!({ "status": "SUCCESS" }), Done),
            ("command_response", json!({ "status": "OK" }), Done),
            ("command_response", json!({ "status": " Done" }), Done),
            ("command_response", json!({ "status": true }), Done),
            ("command_response", json!({ "success": 1 }), Done),
            ("command_response", json!({ "success": "true" }), Done),
            ("command_response", json!({ "status": "unknown_command" }), Failed),
            ("command_response", json!({ "success": true }), Done),
            ("command_response", json!({ "success": false, "status": "success" }), Failed),
            ("command_response", json!({ "success": 0 }), Failed),
            ("command_response", json!({ "success": "false" }), Failed),
            ("command_response", json!({}), Done),
            ("command_response", json!({ "error": null }), Done),
            ("command_response", json!({ "error": "stuck" }), Failed),
            ("command_error", json!({ "status": "success" }), Failed),
            ("command_response", json!({ "status": "in_progress" }), InProgress),
            ("command_response", json!({ "status": "In progress" }), InProgress),
        ] {
            assert_eq!(read(kind, message.clone()).answer.said, said, "{kind} {message}");
        }
    }

    #[test]
    fn the_words_are_a_setting() {
        let words = AnswerWords { done: vec!["Fertig".into()], in_progress: vec!["läuft".into()] };
        let said = |status: &str| {
            let message = Map::from_iter([("status".to_owned(), json!(status))]);
            Answered::read(&words, "command_response", &message).answer.said
        };
        assert_eq!(["fertig", "LÄUFT", "success"].map(said), [Said::Done, Said::InProgress, Said::Failed]);
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
        assert!(long.answer.said == Said::Done && long.answer.result["error"].is_string());
    }
}
