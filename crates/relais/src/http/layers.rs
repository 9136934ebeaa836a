//! What every request passes: origins, measurement, headers.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use crate::{App, AppError};

/// Puts the layers around the routes; the first is the innermost.
pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    let routes = routes.layer(middleware::from_fn_with_state(app.clone(), check_origin));
    let routes = match cors(&app.config().server.allowed_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(middleware::from_fn(measure))
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
        .max_age(std::time::Duration::from_secs(3600));
    if origins.iter().any(|origin| origin == "*") {
        return Some(layer.allow_origin(Any).allow_headers(Any));
    }
    let named: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let headers = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::RANGE,
        header::IF_RANGE,
        header::HeaderName::from_static("x-api-key"),
        header::HeaderName::from_static("last-event-id"),
    ];
    Some(layer.allow_origin(AllowOrigin::list(named)).allow_headers(headers).allow_credentials(true))
}

/// Refuses what a page of a foreign origin makes a browser send: changes, and sockets, which CORS does not
/// cover. Programs other than browsers send no `Origin`.
async fn check_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    if (!reads || upgrades) && !is_known_origin(request.headers(), &app.config().server.allowed_origins) {
        let text = "Origine refusée : ajoutez-la à ALLOWED_ORIGINS (server.allowed_origins) si cette page est la vôtre";
        return AppError::new(StatusCode::FORBIDDEN, "origin_refused", text).into_response();
    }
    next.run(request).await
}

fn is_known_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or("null");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, authority)| authority);
    (own.is_some() && own == host) || allowed.iter().any(|known| known == "*" || known == origin)
}

/// Counts and times requests by route, not by path, so that names of files make no new series.
async fn measure(request: Request, next: Next) -> Response {
    let started = std::time::Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // Clients of the first hour read bytes beyond ASCII as Latin-1 unless they are told. Files are sent as
    // they are.
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
        && !headers.contains_key(header::CONTENT_DISPOSITION)
    {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    }
    let elapsed = started.elapsed();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let status = response.status();
    metrics::histogram!("relais_http_request_seconds", "route" => route.to_owned(), "method" => method_name(&method), "status" => class(status))
        .record(elapsed);
    tracing::debug!(%method, route, status = status.as_u16(), elapsed_us = elapsed.as_micros(), "request");
    response
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
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
