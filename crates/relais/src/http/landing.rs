//! `GET /`: what the server is, for programs as JSON and for people as a live page; `GET /modules`: the modules, live.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::AppError;
use crate::said::Said;

/// The page loads nothing from elsewhere and runs nothing but its own script.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

const PAGE: &str = include_str!("landing/index.html");
const SCRIPT: &str = include_str!("landing/page.js");
const FILE_SCRIPT: &str = include_str!("landing/file.js");
const SHARED_SCRIPT: &str = include_str!("landing/shared.js");
const MODULES_PAGE: &str = include_str!("landing/modules.html");
const MODULES_SCRIPT: &str = include_str!("landing/modules.js");
const STYLE: &str = include_str!("landing/page.css");

/// The page for a browser, the description for anything else.
pub(super) async fn show_root(headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response =
        if accepted.contains("text/html") { asset("text/html; charset=utf-8", PAGE) } else { describe() };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn describe() -> Response {
    Json(json!({
        "message": "Web Service Relay",
        "version": env!("CARGO_PKG_VERSION"),
        "features": [
            "Upload et téléchargement de fichiers JSON par société",
            "Notifications en temps réel",
            "Reprise sans perte après une coupure",
            "Versions et restauration",
        ],
        "endpoints": {
            "societes": "/api/files/societes",
            "files": "/api/files/societe/{societe}/files",
            "download": "/api/files/download/{societe}/{filename}",
            "upload": "/api/files/upload/{societe}",
            "sync": "/api/files/sync/{societe}",
            "delete": "/api/files/delete/{societe}/{filename}",
            "status": "/api/files/status",
            "changes": "/api/files/changes",
            "versions": "/api/files/versions/{societe}/{filename}",
            "restore": "/api/files/restore/{societe}/{filename}",
            "websocket": "/api/files/ws",
            "events": "/api/files/events",
            "docs": "/docs",
        },
    }))
    .into_response()
}

/// The modules that the user may see, and for administrators the server's statistics.
pub(super) async fn show_modules() -> Response {
    asset("text/html; charset=utf-8", MODULES_PAGE)
}

/// The scripts and the style of the pages.
pub(super) async fn send_asset(Path(file): Path<String>) -> Response {
    match file.as_str() {
        "page.js" => asset("text/javascript; charset=utf-8", SCRIPT),
        "file.js" => asset("text/javascript; charset=utf-8", FILE_SCRIPT),
        "shared.js" => asset("text/javascript; charset=utf-8", SHARED_SCRIPT),
        "modules.js" => asset("text/javascript; charset=utf-8", MODULES_SCRIPT),
        "page.css" => asset("text/css; charset=utf-8", STYLE),
        _ => AppError::not_found("not_found", Said::in_english("Unknown address")).into_response(),
    }
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
