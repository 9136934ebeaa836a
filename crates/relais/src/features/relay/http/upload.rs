//! Uploads.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Path, State};
use axum::http::{HeaderMap, HeaderValue, Request as HttpRequest, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::super::error::RelayError;
use super::super::model::{Request, Stored};
use super::super::name::SocieteName;
use super::{filename, may_write, permit, precondition, societe};
use crate::auth::http::Caller;
use crate::{App, AppError};

/// The first so many bytes of a larger upload are checked at once, to refuse a flood early.
const BEGINNING_BYTES: usize = 64 * 1024;

/// A form has a few small parts beside the file.
const FORM_BYTES_SPARE: u64 = 64 * 1024;

/// Upload a file.
#[utoipa::path(post, path = "/api/files/upload/{societe}", tag = "relay",
    params(("societe" = String, Path, description = "Name of the société; created if it is new"),
        ("if-match" = Option<String>, Header, description = "Entity tag that the file must have now"),
        ("if-none-match" = Option<String>, Header, description = "`*`: the file must not exist yet")),
    request_body(content_type = "multipart/form-data", content = String, description = "Field `file`: a JSON text with its file name"),
    responses(
        (status = 200, description = "`{\"message\", \"societe\", \"filename\", \"size\", \"sha256\", \"etag\", \"version\", \"changed\", \"offset\", \"cursor\"}`; stored durably. `changed` is false if the content was stored already: no version, no event"),
        (status = 400, description = "`not_a_json_file`, `empty_file`, `invalid_json` (with `line` and `column`), `invalid_file_name`, `invalid_societe_name`, `invalid_form`"),
        (status = 408, description = "`upload_stalled`"), (status = 409, description = "`name_occupied`"),
        (status = 412, description = "`precondition_failed`"), (status = 413, description = "`file_too_large`"),
        (status = 422, description = "`missing_field`, `schema_violation`"),
        (status = 503, description = "`upload_memory_exhausted`, `folder_not_writable`, `database_unavailable`"),
        (status = 507, description = "`disk_full`, `quota_exceeded`, `too_many_files`")))]
pub(super) async fn upload_file(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(name): Path<String>,
    request: HttpRequest<Body>,
) -> Result<Response, AppError> {
    let name = societe(&name)?;
    may_write(&app, &caller, &name)?;
    refuse_announced_size(&app, request.headers())?;
    let precondition = precondition::of_change(request.headers());
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| {
        AppError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "missing_field",
            format!("Champ « file » manquant : un formulaire multipart/form-data est attendu ({e})"),
        )
    })?;
    let (file, bytes, _memory) = read_form(&app, &mut form).await?;
    let mut request = Request::new(permit(&app, caller), name.clone(), file);
    request.precondition = precondition;
    let stored = app.relay().upload(request, bytes).await?;
    Ok(reply(&name, &stored, "Fichier uploadé avec succès"))
}

#[derive(serde::Serialize)]
struct Reply<'a> {
    message: &'a str,
    societe: &'a str,
    filename: &'a str,
    size: u64,
    sha256: &'a str,
    etag: &'a str,
    version: u64,
    changed: bool,
    offset: Option<u64>,
    cursor: String,
}

/// The reply to an upload or a restore.
pub(super) fn reply(societe: &SocieteName, stored: &Stored, message: &str) -> Response {
    let etag = precondition::etag(&stored.meta.sha256, super::super::Coding::Identity);
    let body = Reply {
        message,
        societe: societe.as_str(),
        filename: stored.meta.filename.as_str(),
        size: stored.meta.size,
        sha256: &stored.meta.sha256,
        etag: &etag,
        version: stored.meta.version,
        changed: stored.changed,
        offset: stored.offset,
        cursor: stored.cursor.to_string(),
    };
    let mut response = Json(body).into_response();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// A client that says beforehand that it will send too much is answered before it does.
fn refuse_announced_size(app: &App, headers: &HeaderMap) -> Result<(), AppError> {
    let max = app.relay().config().file_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max + FORM_BYTES_SPARE) {
        return Err(RelayError::TooLarge { max }.into());
    }
    Ok(())
}

type Upload = (super::super::FileName, Bytes, Option<OwnedSemaphorePermit>);

async fn read_form(app: &App, form: &mut Multipart) -> Result<Upload, AppError> {
    let stall = Duration::from_secs(app.config().server.body_stall_timeout_s);
    loop {
        let field = within(stall, form.next_field()).await?;
        let Some(field) = field else { return Err(missing_field()) };
        if field.name() != Some("file") {
            continue;
        }
        let Some(name) = field.file_name().map(str::to_owned) else { return Err(missing_field()) };
        let file = match filename(&name) {
            // The ending is what the first clients expect to hear of, whatever else is wrong.
            Err(_) if !name.to_lowercase().ends_with(".json") => return Err(RelayError::Extension.into()),
            other => other?,
        };
        app.relay().check_extension(&file)?;
        let (bytes, memory) = read_file(app, field, stall).await?;
        return Ok((file, bytes, memory));
    }
}

fn missing_field() -> AppError {
    let text = "Champ « file » manquant : envoyez le fichier dans le champ « file » d'un formulaire multipart/form-data, avec son nom";
    AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_field", text)
}

async fn within<T>(
    stall: Duration,
    step: impl Future<Output = Result<T, MultipartError>>,
) -> Result<T, AppError> {
    match tokio::time::timeout(stall, step).await {
        Ok(result) => result.map_err(|error| form_fault(&error)),
        Err(_) => Err(AppError::new(
            StatusCode::REQUEST_TIMEOUT,
            "upload_stalled",
            format!("L'envoi s'est interrompu plus de {} s : recommencez", stall.as_secs()),
        )
        .with_header(header::CONNECTION, "close")),
    }
}

fn form_fault(error: &MultipartError) -> AppError {
    let text = format!("Formulaire multipart illisible : {}", error.body_text());
    AppError::bad_request("invalid_form", text)
}

/// Reads the file's bytes, bounded one by one and in sum with all other uploads.
async fn read_file(
    app: &App,
    mut field: Field<'_>,
    stall: Duration,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), AppError> {
    let max = app.relay().config().file_bytes_max;
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    let mut memory: Option<OwnedSemaphorePermit> = None;
    let mut checked = false;
    while let Some(chunk) = within(stall, field.chunk()).await? {
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len) + chunk.len();
        if so_far as u64 > max {
            return Err(RelayError::TooLarge { max }.into());
        }
        let permit = app.upload_memory(chunk.len()).ok_or_else(no_memory)?;
        match &mut memory {
            Some(held) => held.merge(permit),
            None => memory = Some(permit),
        }
        // Most files arrive in one piece, which is then not copied.
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&chunk),
            None if first.is_empty() => first = chunk,
            None => {
                let mut both = BytesMut::with_capacity(so_far.max(16 * 1024) * 2);
                both.extend_from_slice(&first);
                both.extend_from_slice(&chunk);
                rest = Some(both);
            }
        }
        if !checked && so_far >= BEGINNING_BYTES {
            checked = true;
            app.relay().check_beginning(rest.as_deref().unwrap_or(&first))?;
        }
    }
    Ok((rest.map_or(first, BytesMut::freeze), memory))
}

fn no_memory() -> AppError {
    let text = "Trop d'envois simultanés : réessayez dans un instant (relay.upload_memory_bytes)";
    AppError::new(StatusCode::SERVICE_UNAVAILABLE, "upload_memory_exhausted", text).retry_after(2)
}
