//! The layers around the routes.

use axum::Router;
use axum::http::{HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::edge::EdgeLayer;
use crate::App;
use crate::config::Origin;

/// Puts the layers around the routes; the first is the innermost.
pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    let origins = &app.config().server.allowed_origins;
    let routes = match cors(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(EdgeLayer::new(app))
}

/// CORS (WHATWG Fetch) for the configured origins; credentials only for origins that are named. A page may send whatever
/// headers it has reasons for: they are allowed as the preflight names them, which the edge bounds. Naming them is
/// needed also for `*`, which would leave out `Authorization`.
fn cors(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .expose_headers([
            header::ETAG,
            header::CONTENT_RANGE,
            header::RETRY_AFTER,
            header::CONTENT_DISPOSITION,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(std::time::Duration::from_secs(3600));
    if origins.iter().any(Origin::is_any) {
        return Some(layer.allow_origin(Any));
    }
    let named: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok()).collect();
    Some(layer.allow_origin(AllowOrigin::list(named)).allow_credentials(true))
}
