//! HTTP answers.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response as HttpResponse;
use relais_hub::{CloseCode, CloseReason};
use relais_protocol::engineio::{CloseReason as EngineReason, Refusal, Response};

use super::farewell::Farewell;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub(super) fn of(response: Response) -> HttpResponse {
    match response {
        Response::Packets(payload) => {
            answer(StatusCode::OK, if payload.binary { BINARY } else { TEXT }, Body::from(payload.body))
        }
        Response::Ok => answer(StatusCode::OK, TEXT, Body::from("ok")),
        Response::Refused(refusal) => refused(refusal),
    }
}

/// The JSON that Engine.IO clients know, with the number of `refusal`.
pub(super) fn refused(refusal: Refusal) -> HttpResponse {
    let status = match refusal {
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    };
    answer(status, JSON, Body::from(refusal.to_json()))
}

/// As [`refused`], with a text of its own.
pub(super) fn refused_because(status: StatusCode, refusal: Refusal, message: &str) -> HttpResponse {
    let json = serde_json::json!({ "code": refusal.code(), "message": message });
    answer(status, JSON, Body::from(json.to_string()))
}

/// To a request of a connection that has ended: the reason, beside the number of an unknown session, which makes
/// clients reconnect.
pub(super) fn ended(farewell: &Farewell) -> HttpResponse {
    let Farewell { code, reason } = farewell;
    let json = serde_json::json!({
        "code": Refusal::UnknownSession.code(), "message": &**reason, "close_code": code,
    });
    answer(StatusCode::BAD_REQUEST, JSON, Body::from(json.to_string()))
}

fn answer(status: StatusCode, kind: HeaderValue, body: Body) -> HttpResponse {
    let mut response = HttpResponse::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The WebSocket close code for the protocol's reason.
pub(super) fn reason(reason: EngineReason) -> CloseReason {
    let code = match reason {
        EngineReason::Client | EngineReason::Server => CloseCode::Normal,
        EngineReason::PingTimeout => CloseCode::ServiceRestart,
        EngineReason::ConcurrentRequests | EngineReason::Protocol => CloseCode::Protocol,
        EngineReason::TooLarge => CloseCode::TooBig,
        EngineReason::SlowClient => CloseCode::SlowConsumer,
    };
    CloseReason::new(code, reason.to_string())
}
