//! The AsyncAPI document of the WebSockets and the event streams.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::scripts::Script;
use crate::asyncapi::merged;
use crate::declared::declared;

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
        "channels": merged(declared().map(|feature| (feature.asyncapi)().channels)),
        "operations": merged(declared().map(|feature| (feature.asyncapi)().operations)),
        "components": { "messages": merged(declared().map(|feature| (feature.asyncapi)().messages)) },
    })
}

/// The document as it is sent: generating it takes a while, and it does not change.
static TEXT: LazyLock<Script> = LazyLock::new(|| Script::new(document().to_string(), "application/json"));

/// `GET /asyncapi.json`.
pub(super) async fn send(headers: HeaderMap) -> Response {
    TEXT.send(&headers).await
}
