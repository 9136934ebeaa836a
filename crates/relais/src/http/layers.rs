//! What is put around the routes, and which origins a browser may call from.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use super::edge::EdgeLayer;
use crate::App;

/// Puts the layers around the routes; the first is the innermost.
pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    let origins = &app.config().server.allowed_origins;
    let routes = match cors(origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(EdgeLayer::new(origins))
}

/// CORS (WHATWG Fetch) for the configured origins; credentials only for origins that are named.
fn cors(origins: &[String]) -> Option<CorsLayer> {
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
        // Pages have headers for reasons of their own, such as for a tunnel in between: whoever may call may send them.
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(std::time::Duration::from_secs(3600));
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(Any));
    }
    let named: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    Some(layer.allow_origin(AllowOrigin::list(named)).allow_credentials(true))
}

/// Whether a browser may call from the `Origin` of these headers. Other programs send none.
pub(crate) fn is_known_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, authority)| authority);
    (own.is_some() && own == host) || allowed.iter().any(|known| known == "*" || known == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(origin: Option<&str>, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("relais.fr:8000"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        is_known_origin(&headers, &allowed.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn foreign_pages_are_refused_unless_they_are_named() {
        assert!(known(None, &[]));
        assert!(known(Some("http://relais.fr:8000"), &[]));
        assert!(!known(Some("http://relais.fr.evil:8000"), &[]));
        assert!(!known(Some("null"), &[]));
        assert!(!known(Some("http://app.fr"), &[]));
        assert!(known(Some("http://app.fr"), &["http://app.fr"]));
        assert!(known(Some("http://app.fr"), &["*"]));
    }
}
