//! The body of a POST, bounded by its announced and its actual size; in time by the edge.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use super::Settings;

/// Whether a body has the binary form of version 3.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"))
}

/// Why there is no body.
pub(super) enum BodyError {
    /// Larger than a payload may be.
    TooLarge,
    /// It did not arrive.
    Lost,
}

/// Reads a body.
pub(super) async fn read_body(request: Request, settings: &Settings) -> Result<Bytes, BodyError> {
    let bytes_max = settings.payload.bytes as usize;
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    if announced > bytes_max {
        return Err(BodyError::TooLarge);
    }
    let mut body: Body = request.into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Lost)?.into_data() else { continue };
        if whole.len() + data.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
