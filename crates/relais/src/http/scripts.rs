//! `/js`: the scripts that pages of other applications load from here.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::App;
use crate::config::LiveConfig;

const RECONNECTION_MANAGER: &str = include_str!("../../../../web/realtime/browser/reconnection-manager.js");

/// The routes of scripts, with the settings of this server in them.
pub(super) fn router(config: &LiveConfig) -> Router<App> {
    let script = Script::new(format!("{}{RECONNECTION_MANAGER}", defaults(config)));
    let send = async move |headers: HeaderMap| script.send(&headers);
    Router::new().route("/js/reconnection-manager.js", get(send))
}

/// What the script does where a page says nothing else, under the names that it has there.
fn defaults(config: &LiveConfig) -> String {
    let reconnect = config.reconnect;
    let defaults = json!({
        "maxReconnectAttempts": reconnect.max_attempts,
        "reconnectDelay": reconnect.delay_ms,
        "maxReconnectDelay": reconnect.max_delay_ms,
        "enableStats": config.stats,
    });
    format!("window.RELAIS_RECONNECT = {defaults};\n")
}

/// A text and its entity tag.
#[derive(Clone)]
struct Script {
    text: Bytes,
    tag: String,
}

impl Script {
    fn new(text: String) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
        Self { text: text.into(), tag }
    }

    /// The text, or only that it is still the same (RFC 9110, 13.1.2). Browsers ask each time: the settings may have
    /// changed.
    fn send(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|tags| tags.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let same = known.any(|tag| tag == self.tag || tag == "*");
        let named = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            // Pages of an application that lives on another origin may load it.
            (
                header::HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("cross-origin"),
            ),
        ];
        let tag = [(header::ETAG, self.tag.clone())];
        if same {
            (StatusCode::NOT_MODIFIED, named, tag).into_response()
        } else {
            (named, tag, self.text.clone()).into_response()
        }
    }
}
