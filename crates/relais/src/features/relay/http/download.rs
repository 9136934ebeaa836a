//! Downloads: conditional, ranges, compressed.

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::super::content::COMPRESS_BYTES_MIN;
use super::super::{Coding, FileName};
use super::precondition::{Verdict, etag, last_modified, of_read, range_applies};
use super::{existing, may_read};
use crate::AppError;
use crate::auth::Auth;
use crate::auth::http::Caller;
use crate::features::relay::Relay;
use crate::said::said;
use relais_protocol::time::SharedClock;

/// Capacity for all headers of a download, so that the map is allocated once.
const HEADERS: usize = 12;

/// The query of a download.
#[derive(Debug, serde::Deserialize)]
pub(super) struct DownloadQuery {
    version: Option<u64>,
}

/// The content to be sent.
struct Selected<'a> {
    filename: &'a FileName,
    sha256: std::sync::Arc<str>,
    /// The second, since 1970, in which the current content was stored.
    modified_s: Option<i64>,
    /// The date to send.
    date_s: Option<i64>,
    content: Bytes,
}

/// Download a file.
#[utoipa::path(get, path = "/api/files/download/{societe}/{filename}", tag = "relay",
    params(("societe" = String, Path), ("filename" = String, Path),
        ("version" = Option<u64>, Query, description = "A version that is kept, instead of the present content"),
        ("if-match" = Option<String>, Header, description = "Entity tag that the file must have"),
        ("if-unmodified-since" = Option<String>, Header, description = "The file must not be newer; without `If-Match`"),
        ("if-none-match" = Option<String>, Header, description = "Entity tag that the client has"),
        ("if-modified-since" = Option<String>, Header, description = "Date of the client's copy; without `If-None-Match`"),
        ("if-range" = Option<String>, Header, description = "Entity tag or date of the copy that the part is for; another one gets the whole"),
        ("range" = Option<String>, Header, description = "One range of bytes of the plain content"),
        ("accept-encoding" = Option<String>, Header, description = "gzip, br or zstd")),
    responses(
        (status = 200, description = "The content, `application/json; charset=utf-8`, with `ETag` (its SHA-256), `Last-Modified` and `Content-Disposition`", content_type = "application/json"),
        (status = 206, description = "The part"), (status = 304, description = "The client has it"),
        (status = 404, description = "`file_not_found`, `version_not_found`"),
        (status = 412, description = "`precondition_failed`, with the `current_sha256`"),
        (status = 416, description = "`range_not_satisfiable`")))]
pub(super) async fn download_file(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    State(clock): State<SharedClock>,
    Caller(caller): Caller,
    Path((name, file)): Path<(String, String)>,
    Query(query): Query<DownloadQuery>,
    request: Request,
) -> Result<Response, AppError> {
    let file = existing(&file)?;
    let name = super::SocieteName::new(&name).map_err(|_| super::RelayError::NoFile)?;
    may_read(&auth, &caller, &name)?;
    let selected = match query.version {
        None => {
            let (meta, content) = relay.content(&name, &file).await?;
            let (sha256, modified_s) = (meta.sha256.clone(), meta.modified_at.as_secs());
            let date_s = Some(last_modified(modified_s, clock.now().as_secs()));
            Selected { filename: &file, sha256, modified_s: Some(modified_s), date_s, content }
        }
        Some(version) => {
            let (sha256, content) = relay.version(&name, &file, version).await?;
            Selected { filename: &file, sha256, modified_s: None, date_s: None, content }
        }
    };
    respond(&relay, request.headers(), selected, clock.now().as_secs()).await
}

async fn respond(
    relay: &Relay,
    headers: &HeaderMap,
    selected: Selected<'_>,
    now_s: i64,
) -> Result<Response, AppError> {
    let coding = negotiate(headers, selected.content.len());
    match of_read(headers, &selected.sha256, selected.modified_s) {
        Verdict::Send => {}
        Verdict::NotModified => {
            return Ok(with_headers(StatusCode::NOT_MODIFIED, &selected, coding, Body::empty()));
        }
        Verdict::Failed => {
            let current = Some(selected.sha256.to_string());
            return Err(super::RelayError::Precondition { current }.into());
        }
    }
    if let Some(range) = range(headers, selected.content.len())
        && range_applies(headers, &selected.sha256, selected.modified_s, now_s)
    {
        return part(&selected, &range);
    }
    let content = relay.encoded(&selected.sha256, selected.content.clone(), coding).await?;
    let length = content.len();
    let mut response = with_headers(StatusCode::OK, &selected, coding, Body::from(content));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

fn with_headers(status: StatusCode, selected: &Selected<'_>, coding: Coding, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(etag(&selected.sha256, coding)) {
        headers.insert(header::ETAG, tag);
    }
    if let Some(date) = selected.date_s.and_then(http_date) {
        headers.insert(header::LAST_MODIFIED, date);
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if status == StatusCode::NOT_MODIFIED {
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(disposition) = disposition(selected.filename) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    if coding != Coding::Identity {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    }
    response
}

/// RFC 9110 section 5.6.7.
fn http_date(seconds: i64) -> Option<HeaderValue> {
    let moment = jiff::Timestamp::from_second(seconds).ok()?;
    HeaderValue::try_from(
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()?,
    )
    .ok()
}

/// RFC 6266, with RFC 8187 for names beyond ASCII.
fn disposition(filename: &FileName) -> Option<HeaderValue> {
    let name = filename.as_str();
    if name.is_ascii() {
        return HeaderValue::try_from(["attachment; filename=\"", name, "\""].concat()).ok();
    }
    let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    HeaderValue::try_from(format!("attachment; filename*=UTF-8''{encoded}")).ok()
}

/// The best coding that both sides know (RFC 9110 section 12.5.3).
fn negotiate(headers: &HeaderMap, size: usize) -> Coding {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let Some(accepted) = accepted.filter(|_| size >= COMPRESS_BYTES_MIN) else { return Coding::Identity };
    let quality = |token: &str| {
        accepted.split(',').find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let known = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(token));
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            known.then(|| weight.unwrap_or(0.0))
        })
    };
    let wanted = [Coding::Zstd, Coding::Brotli, Coding::Gzip].map(|coding| (coding, quality(coding.token())));
    let best = wanted.into_iter().filter_map(|(coding, q)| Some((coding, q?))).filter(|(_, q)| *q > 0.0);
    best.fold((Coding::Identity, 0.0), |best, next| if next.1 > best.1 { next } else { best }).0
}

/// The requested range, if it applies: start, and exclusive end.
enum Range {
    Bytes(usize, usize),
    Unsatisfiable,
}

/// One range of bytes (RFC 9110 section 14); several, or another unit, are answered with the whole content.
fn range(headers: &HeaderMap, size: usize) -> Option<Range> {
    let text = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (from, to) = text.split_once('-').filter(|_| !text.contains(','))?;
    let (start, end) = match (from.trim(), to.trim()) {
        ("", suffix) => (size.saturating_sub(suffix.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, to) => {
            let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
            if from > to {
                // Not a range at all (section 14.1.2), so it is ignored.
                return None;
            }
            (from, to.saturating_add(1).min(size))
        }
    };
    Some(if start < end { Range::Bytes(start, end) } else { Range::Unsatisfiable })
}

fn part(selected: &Selected<'_>, range: &Range) -> Result<Response, AppError> {
    let size = selected.content.len();
    let &Range::Bytes(start, end) = range else {
        let text = said!(
            "La plage demandée est hors du fichier, qui a {size} octets",
            "The requested range is beyond the file, which has {size} bytes"
        );
        return Err(AppError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", text)
            .with_header(header::CONTENT_RANGE, &format!("bytes */{size}")));
    };
    let content = selected.content.slice(start..end);
    let body = Body::from(content);
    let mut response = with_headers(StatusCode::PARTIAL_CONTENT, selected, Coding::Identity, body);
    let covered = format!("bytes {start}-{}/{size}", end - 1);
    if let Ok(covered) = HeaderValue::try_from(covered) {
        response.headers_mut().insert(header::CONTENT_RANGE, covered);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, (end - start).into());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(accepted: &'static str, size: usize) -> Coding {
        negotiate(
            &HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]),
            size,
        )
    }

    #[test]
    fn the_best_common_coding_is_chosen() {
        assert_eq!(coding("gzip, deflate, br", 5000), Coding::Brotli);
        assert_eq!(coding("gzip;q=1.0, br;q=0.5", 5000), Coding::Gzip);
        assert_eq!(coding("gzip;q=0, zstd", 5000), Coding::Zstd);
        assert_eq!(coding("deflate, identity", 5000), Coding::Identity);
        assert_eq!(coding("gzip", 100), Coding::Identity);
    }

    #[test]
    fn a_name_beyond_ascii_is_encoded() {
        let name = FileName::new("été.json").unwrap();
        assert_eq!(disposition(&name).unwrap(), "attachment; filename*=UTF-8''%C3%A9t%C3%A9%2Ejson");
    }
}
