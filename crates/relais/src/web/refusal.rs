//! Responses to clients that took too long, or for which there is no place.

use axum::http::{StatusCode, header};

use crate::AppError;
use crate::said::{Language, Said, said};

pub(super) fn head_stalled(seconds: u64) -> AppError {
    let text = said!(
        "L'en-tête de la demande n'est pas arrivé en {seconds} s (server.header_timeout_s)",
        "The head of the request did not arrive within {seconds} s (server.header_timeout_s)"
    );
    closing(StatusCode::REQUEST_TIMEOUT, "head_stalled", text)
}

pub(super) fn body_stalled(seconds: u64) -> AppError {
    let text = said!(
        "L'envoi s'est interrompu, ou n'avance presque plus, depuis {seconds} s : recommencez",
        "The body has stopped, or hardly advances any more, for {seconds} s: send it again"
    );
    closing(StatusCode::REQUEST_TIMEOUT, "upload_stalled", text)
}

pub(super) fn no_body_memory() -> AppError {
    let text = said!(
        "Trop de demandes volumineuses à la fois : réessayez dans un instant (server.body_memory_bytes)",
        "Too many large requests at once: try again in a moment (server.body_memory_bytes)"
    );
    closing(StatusCode::SERVICE_UNAVAILABLE, "body_memory_exhausted", text).retry_after(2)
}

pub(super) fn server_full() -> AppError {
    let text = said!(
        "Le serveur a toutes ses connexions : réessayez dans un instant (server.connections_max)",
        "The server has all its connections: try again in a moment (server.connections_max)"
    );
    closing(StatusCode::SERVICE_UNAVAILABLE, "server_full", text).retry_after(2)
}

pub(super) fn too_many_from_address(max: usize) -> AppError {
    let text = said!(
        "Cette adresse a déjà {max} connexions, le maximum (server.connections_per_address_max). Derrière un \
         proxy, nommez-le dans server.trusted_proxies",
        "This address already has {max} connections, the maximum (server.connections_per_address_max). If this is a \
         proxy, name it in server.trusted_proxies"
    );
    closing(StatusCode::TOO_MANY_REQUESTS, "too_many_from_address", text).retry_after(5)
}

fn closing(status: StatusCode, code: &'static str, text: Said) -> AppError {
    AppError::new(status, code, text).with_header(header::CONNECTION, "close")
}

/// The whole response as bytes, for a connection that is no longer handled by the HTTP server.
pub(super) fn raw(error: &AppError, language: Language) -> Vec<u8> {
    let (status, body) = (error.status(), error.to_json(language));
    let reason = status.canonical_reason().unwrap_or_default();
    let retry = body["retry_after"].as_u64().map(|seconds| format!("retry-after: {seconds}\r\n"));
    let body = body.to_string();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n{}content-length: {}\r\n\r\n{body}",
        status.as_u16(),
        retry.unwrap_or_default(),
        body.len(),
    )
    .into_bytes()
}
