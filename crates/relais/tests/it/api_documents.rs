//! The API documents that are committed are the ones that the code makes, and what the server sends is what
//! they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use relais::features::{chat, relay};
use relais::http::{asyncapi, openapi};
use serde_json::Value;

fn committed(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api").join(name);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[test]
fn the_committed_openapi_document_is_current() {
    let current = serde_json::to_value(openapi::document()).unwrap();
    assert!(
        committed("openapi.json") == current,
        "docs/api/openapi.json is old: run `make api` and commit it"
    );
}

#[test]
fn the_committed_asyncapi_document_is_current() {
    assert!(
        committed("asyncapi.json") == asyncapi::document(),
        "docs/api/asyncapi.json is old: run `make api` and commit it"
    );
}

#[test]
fn every_channel_of_the_asyncapi_document_is_a_route() {
    let document = asyncapi::document();
    let channels = document["channels"].as_object().unwrap();
    let addresses: BTreeSet<&str> = channels.values().map(|c| c["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, BTreeSet::from(["/api/files/ws", "/ws/chat", "/esp32", "/api/v1/ws"]));
}

#[test]
fn the_asyncapi_document_has_the_events_that_only_the_server_publishes() {
    let document = asyncapi::document();
    let messages = &document["components"]["messages"];
    let named = |message: &str| {
        let names = messages[message]["payload"]["properties"]["type"]["enum"].as_array().unwrap().clone();
        names.into_iter().map(|name| name.as_str().unwrap().to_owned())
    };
    let own = ["authenticated", "error"].map(str::to_owned);
    let chat: BTreeSet<String> = named("chat_event").chain(named("chat_answer")).chain(own).collect();
    assert_eq!(chat, chat::NAMES.iter().map(|name| (*name).to_owned()).collect());
    assert!(relay::NAMES.iter().all(|name| messages[name].is_object()));
}

/// Checks a frame against the schema of its message, and that it has no field the schema does not know.
pub(crate) fn assert_documented(message: &str, frame: &Value) {
    let document = asyncapi::document();
    let mut schema = document["components"]["messages"][message]["payload"].clone();
    assert!(schema.is_object(), "{message} is not documented");
    schema["properties"]["type"] = serde_json::json!({ "const": message });
    schema["additionalProperties"] = false.into();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> = validator.iter_errors(frame).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{message}: {faults:?} in {frame}");
}
