//! Uploads.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use super::super::error::RelayError;
use super::super::model::{Request, Stored};
use super::super::name::SocieteName;
use super::{filename, may_write, permit, precondition, societe};
use crate::AppError;
use crate::auth::Auth;
use crate::auth::http::Caller;
use crate::features::relay::Relay;
use crate::said::said;
use crate::web::Activity;
use crate::web::multipart::{Form, FormFault, Part};

/// This many bytes of a larger upload are checked at once, to reject invalid ones early.
const BEGINNING_BYTES: usize = 64 * 1024;

/// A form has a few small parts beside the file.
const FORM_BYTES_SPARE: usize = 64 * 1024;

/// Upload a file.
#[utoipa::path(post, path = "/api/files/upload/{societe}", tag = "relay",
    params(("societe" = String, Path, description = "Name of the société; created if it is new"),
        ("if-match" = Option<String>, Header, description = "Entity tag that the file must have now"),
        ("if-none-match" = Option<String>, Header, description = "`*`: the file must not exist yet")),
    request_body(content_type = "multipart/form-data", content = String, description = "Field `file`: a JSON text with its file name"),
    responses(
        (status = 200, description = "`{\"message\", \"societe\", \"filename\", \"size\", \"sha256\", \"etag\", \"version\", \"changed\", \"offset\", \"cursor\"}`; stored durably. `changed` is false if the content was stored already: no version, no event"),
        (status = 400, description = "`not_a_json_file`, `empty_file`, `invalid_json` (with `line` and `column`), `invalid_file_name`, `invalid_societe_name`, `invalid_form`, `several_files`"),
        (status = 408, description = "`upload_stalled`"), (status = 409, description = "`name_occupied`"),
        (status = 412, description = "`precondition_failed`"), (status = 413, description = "`file_too_large`"),
        (status = 422, description = "`missing_field`, `schema_violation`"),
        (status = 503, description = "`upload_memory_exhausted`, `folder_not_writable`, `database_unavailable`"),
        (status = 507, description = "`disk_full`, `quota_exceeded`, `too_many_files`")))]
pub(super) async fn upload_file(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path(name): Path<String>,
    request: HttpRequest,
) -> Result<Response, AppError> {
    let name = societe(&name)?;
    may_write(&auth, &caller, &name)?;
    refuse_announced_size(&relay, request.headers())?;
    let precondition = precondition::of_change(request.headers());
    if let Some(activity) = request.extensions().get::<Arc<Activity>>() {
        // Counted in `upload_memory`, which is reserved for those who may upload.
        activity.count_elsewhere();
    }
    let mut form = Form::of(request).map_err(|fault| {
        let text = said!(
            "Champ « file » manquant : un formulaire multipart/form-data est attendu ({})",
            "Missing field \"file\": a multipart/form-data form is expected ({})";
            fault.said()
        );
        AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_field", text)
    })?;
    let (file, bytes, _memory) = read_form(&relay, &mut form).await?;
    let mut request = Request::new(permit(&auth, caller), name.clone(), file);
    request.precondition = precondition;
    let stored = relay.upload(request, bytes).await?;
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

/// A client that announces too large a size is answered before it sends the body.
fn refuse_announced_size(relay: &Relay, headers: &HeaderMap) -> Result<(), AppError> {
    let max = relay.config().file_bytes_max;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max + FORM_BYTES_SPARE as u64) {
        return Err(RelayError::TooLarge { max }.into());
    }
    Ok(())
}

type Upload = (super::super::FileName, Bytes, Option<OwnedSemaphorePermit>);

async fn read_form(relay: &Relay, form: &mut Form) -> Result<Upload, AppError> {
    let (mut found, mut spare, mut stray) = (None, FORM_BYTES_SPARE, None);
    while let Some(part) = form.next_part().await? {
        if part.name.as_deref() != Some("file") {
            stray = stray.or_else(|| stray_file(&part));
            if let (Some(stray), Some(_)) = (&stray, &found) {
                return Err(file_elsewhere(stray));
            }
            spare -= form.skip(spare).await?;
            continue;
        }
        if found.is_some() {
            return Err(several_files());
        }
        if let Some(stray) = &stray {
            return Err(file_elsewhere(stray));
        }
        let Some(name) = part.filename else { return Err(missing_field()) };
        let file = match filename(&name) {
            // The first clients expect an error about the extension, whatever else is wrong.
            Err(_) if !name.to_lowercase().ends_with(".json") => return Err(RelayError::Extension.into()),
            other => other?,
        };
        relay.check_extension(&file)?;
        let (bytes, memory) = read_file(relay, form).await?;
        found = Some((file, bytes, memory));
    }
    found.ok_or_else(missing_field)
}

fn several_files() -> AppError {
    let text = said!(
        "Plusieurs champs « file » : envoyez un fichier par demande. Aucun n'a été enregistré",
        "Several fields \"file\": send one file per request. None was stored"
    );
    AppError::bad_request("several_files", text)
}

/// The unexpected field that contains a file; a file field left empty by the user has no file name.
fn stray_file(part: &Part) -> Option<String> {
    let has_file = part.filename.as_deref().is_some_and(|name| !name.is_empty());
    has_file.then(|| part.name.clone().unwrap_or_default())
}

fn file_elsewhere(field: &str) -> AppError {
    let text = said!(
        "Un autre fichier est dans le champ « {field} » : envoyez un fichier par demande, dans le champ « file ». \
         Aucun n'a été enregistré",
        "Another file is in the field \"{field}\": send one file per request, in the field \"file\". None was stored"
    );
    AppError::bad_request("several_files", text)
}

fn missing_field() -> AppError {
    let text = said!(
        "Champ « file » manquant : envoyez le fichier dans le champ « file » d'un formulaire multipart/form-data, avec \
         son nom",
        "Missing field \"file\": send the file in the field \"file\" of a multipart/form-data form, with its name"
    );
    AppError::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_field", text)
}

impl From<FormFault> for AppError {
    fn from(fault: FormFault) -> Self {
        let text = said!("Formulaire multipart illisible : {}", "The multipart form cannot be read: {}"; fault.said());
        Self::bad_request("invalid_form", text)
    }
}

/// Reads the file's bytes, bounded individually and in sum with all other uploads.
async fn read_file(
    relay: &Relay,
    form: &mut Form,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), AppError> {
    let max = relay.config().file_bytes_max;
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    let mut memory: Option<OwnedSemaphorePermit> = None;
    let mut checked = false;
    while let Some(chunk) = form.chunk().await? {
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len) + chunk.len();
        if so_far as u64 > max {
            return Err(RelayError::TooLarge { max }.into());
        }
        let permit = relay.upload_memory(chunk.len()).ok_or_else(no_memory)?;
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
            relay.check_beginning(rest.as_deref().unwrap_or(&first))?;
        }
    }
    Ok((rest.map_or(first, BytesMut::freeze), memory))
}

fn no_memory() -> AppError {
    let text = said!(
        "Trop d'envois simultanés : réessayez dans un instant (relay.upload_memory_bytes)",
        "Too many uploads at once: try again in a moment (relay.upload_memory_bytes)"
    );
    AppError::new(StatusCode::SERVICE_UNAVAILABLE, "upload_memory_exhausted", text).retry_after(2)
}
