//! The scripts that pages of other applications load from here: `/js` has the server's own, `/socket.io` the client
//! library, where every Socket.IO server has it. [`Script`] sends every constant text.

use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::App;
use crate::config::LiveConfig;

const RECONNECTION_MANAGER: &str = include_str!("../../../../web/realtime/browser/reconnection-manager.js");

/// A build of the client library, or the map of one.
macro_rules! build {
    ($name:literal) => {
        (
            concat!("/socket.io/", $name),
            include_bytes!(concat!("../../../../web/vendor/socket.io-client/", $name)).as_slice(),
        )
    };
}

/// The official builds of `socket.io-client`, unchanged, under the names that the official server gives them.
const SOCKETIO_CLIENT: &[(&str, &[u8])] = &[
    build!("socket.io.js"),
    build!("socket.io.js.map"),
    build!("socket.io.min.js"),
    build!("socket.io.min.js.map"),
    build!("socket.io.esm.min.js"),
    build!("socket.io.esm.min.js.map"),
    build!("socket.io.msgpack.min.js"),
    build!("socket.io.msgpack.min.js.map"),
];
const SOCKETIO_LICENSE: &str = include_str!("../../../../web/vendor/socket.io-client/LICENSE");

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The routes of scripts, with the settings of this server in them.
pub(super) fn router(config: &LiveConfig) -> Router<App> {
    let manager = format!("{}{RECONNECTION_MANAGER}", defaults(config));
    let mut routes =
        Router::new().route("/js/reconnection-manager.js", Script::new(manager, JAVASCRIPT).serve()).route(
            "/socket.io/LICENSE",
            Script::new(SOCKETIO_LICENSE.as_bytes(), "text/plain; charset=utf-8").serve(),
        );
    for (path, bytes) in SOCKETIO_CLIENT {
        let kind = if path.ends_with(".map") { "application/json" } else { JAVASCRIPT };
        routes = routes.route(path, Script::new(*bytes, kind).serve());
    }
    routes
}

/// The script's default settings, under their names in the script.
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

/// A text and its entity tag. Cheap to clone.
#[derive(Clone)]
pub(super) struct Script {
    text: Bytes,
    kind: &'static str,
    tag: Arc<str>,
    /// Compressed on the first request for it.
    gzip: Arc<OnceCell<Bytes>>,
}

impl Script {
    pub(super) fn new(text: impl Into<Bytes>, kind: &'static str) -> Self {
        let text = text.into();
        let tag = hex::encode(&Sha256::digest(&text)[..16]).into();
        Self { text, kind, tag, gzip: Arc::default() }
    }

    fn serve(self) -> axum::routing::MethodRouter<App> {
        get(async move |headers: HeaderMap| self.send(&headers).await)
    }

    /// The text, or that it is unchanged (RFC 9110, 13.1.2). Browsers revalidate each time: the settings, or the
    /// version, may have changed.
    pub(super) async fn send(&self, headers: &HeaderMap) -> Response {
        let compressed = accepts_gzip(headers);
        let tag = if compressed { format!("\"{}-gzip\"", self.tag) } else { format!("\"{}\"", self.tag) };
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|tags| tags.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let same = known.any(|known| known == tag || known == "*");
        let named = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            // Pages of an application on another origin may load it.
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                HeaderValue::from_static("cross-origin"),
            ),
        ];
        let tag = [(header::ETAG, tag)];
        match (same, compressed) {
            (true, _) => (StatusCode::NOT_MODIFIED, named, tag).into_response(),
            (false, true) => {
                (named, tag, [(header::CONTENT_ENCODING, "gzip")], self.compressed().await).into_response()
            }
            (false, false) => (named, tag, self.text.clone()).into_response(),
        }
    }

    /// Once, and off the request tasks: it takes long.
    async fn compressed(&self) -> Bytes {
        let compress = async || {
            let text = self.text.clone();
            tokio::task::spawn_blocking(move || gzip(&text)).await.unwrap_or_default()
        };
        self.gzip.get_or_init(compress).await.clone()
    }
}

fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing into memory does not fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

/// Whether the client takes gzip (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        is_gzip && weight.is_ok_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_whether_it_takes_gzip() {
        for (value, expected) in
            [("gzip, br", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
