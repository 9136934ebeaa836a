//! Event streams (WHATWG HTML, section 9.2): where a client stood, and what it is sent.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use relais_hub::QueueBody;
use relais_protocol::event::Cursor;

use crate::AppError;
use crate::said::said;

/// The place that a browser's `EventSource` sends back by itself.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, AppError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = said!(
            "En-tête Last-Event-ID invalide : {text:?} n'est pas un curseur de ce serveur",
            "Invalid header Last-Event-ID: {text:?} is not a cursor of this server"
        );
        AppError::bad_request("invalid_parameter", message)
    })
}

/// A response that goes on as long as the session.
pub(super) fn stream_response(body: QueueBody) -> Response {
    let chunks = body.map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
