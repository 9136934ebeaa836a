//! Lists, status, synchronisation, deletion.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::super::left_out::{LeftOut, Spot};
use super::super::model::{FileMeta, Request};
use super::{existing, may_read, may_write, permit, societe};
use crate::AppError;
use crate::auth::http::Caller;
use crate::auth::{Access, Action, Auth, Principal};
use crate::features::relay::Relay;
use crate::said::said;

/// Maximum size of a manifest, in bytes.
const MANIFEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum number of left-out items named in a reply; all are counted.
const LEFT_OUT_NAMED_MAX: usize = 100;

/// Sociétés that the caller may read.
#[utoipa::path(get, path = "/api/files/societes", tag = "relay",
    responses((status = 200, description = "`{\"societes\": [\"rsp-bgs\", …]}` in order; an empty list if nothing is stored")))]
pub(super) async fn list_societes(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
) -> Result<Json<Value>, AppError> {
    may_list(&auth, &caller)?;
    let readable = auth.readable_societes(&caller);
    let names: Vec<String> = relay
        .societes()
        .iter()
        .filter(|name| readable.contains(name.as_str()))
        .map(ToString::to_string)
        .collect();
    Ok(Json(json!({ "societes": names })))
}

/// Files of a société.
#[utoipa::path(get, path = "/api/files/societe/{societe}/files", tag = "relay",
    params(("societe" = String, Path, description = "Name of the société")),
    responses(
        (status = 200, description = "`{\"societe\", \"files\": [{\"filename\", \"societe\", \"size\" (bytes), \"last_modified\" (RFC 3339), \"type_data\", \"annee\", \"sha256\", \"version\"}], \"cursor\"}`: this list plus the changes since `cursor` is the list at any later time"),
        (status = 404, description = "`societe_not_found`")))]
pub(super) async fn list_files(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path(name): Path<String>,
) -> Result<Json<Value>, AppError> {
    let name = societe(&name)?;
    may_read(&auth, &caller, &name)?;
    // The cursor first: a change in between is then delivered twice, which does no harm.
    let cursor = relay.cursor();
    let files: Vec<Value> = relay.files(&name)?.iter().map(|meta| describe(name.as_str(), meta)).collect();
    Ok(Json(json!({ "societe": name.as_str(), "files": files, "cursor": cursor.to_string() })))
}

fn describe(societe: &str, meta: &FileMeta) -> Value {
    json!({
        "filename": meta.filename.as_str(),
        "societe": societe,
        "size": meta.size,
        "last_modified": meta.modified_at,
        "type_data": meta.filename.type_data(),
        "annee": meta.filename.annee(),
        "sha256": &*meta.sha256,
        "version": meta.version,
    })
}

/// State of the relay.
#[utoipa::path(get, path = "/api/files/status", tag = "relay",
    responses((status = 200, description = "`{\"status\": \"ready\", \"societes_count\", \"total_files\", \"websocket_connections\", \"last_update\", \"cursor\"}`, or `{\"status\": \"no_data\", \"message\"}` while nothing is stored. If something in the folder is not served, also `left_out_count` and `left_out` (`[{\"societe\", \"name\", \"code\", \"reason\"}]`, at most 100); `folder_watch` is `polling` while the folder cannot be watched live")))]
pub(super) async fn get_status(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
) -> Result<Json<Value>, AppError> {
    may_list(&auth, &caller)?;
    let readable = auth.readable_societes(&caller);
    let totals = relay.totals(|name| readable.contains(name.as_str()));
    let mut status = if totals.societes == 0 {
        json!({ "status": "no_data", "message": "Aucune donnée disponible" })
    } else {
        json!({
            "status": "ready",
            "societes_count": totals.societes,
            "total_files": totals.files,
            "websocket_connections": relay.listeners(),
            "last_update": totals.last_update,
            "cursor": relay.cursor().to_string(),
        })
    };
    add_left_out(&mut status, &relay, |spot| match &spot.societe {
        Some(societe) => readable.contains(societe),
        None => readable == Access::All,
    });
    if relay.is_polling() {
        status["folder_watch"] = "polling".into();
    }
    Ok(Json(status))
}

/// Adds what is not served, if anything.
fn add_left_out(reply: &mut Value, relay: &Relay, visible: impl Fn(&Spot) -> bool) {
    let left_out = relay.left_out(visible);
    if !left_out.is_empty() {
        reply["left_out_count"] = left_out.len().into();
        reply["left_out"] = left_out.iter().take(LEFT_OUT_NAMED_MAX).map(LeftOut::to_json).collect();
    }
}

fn may_list(auth: &Auth, caller: &Principal) -> Result<(), AppError> {
    auth.require(caller, Action::RelayList)
}

/// Synchronise a société.
///
/// Without a body, looks at the folder again and sends listeners `sync_completed`. With a manifest, a JSON
/// object of file names and SHA-256 hashes, answers what the client has to fetch, send and delete; nothing is
/// changed and nobody is notified.
#[utoipa::path(post, path = "/api/files/sync/{societe}", tag = "relay",
    params(("societe" = String, Path, description = "Name of the société")),
    request_body(content = Option<BTreeMap<String, String>>, description = "Optional manifest `{\"<filename>\": \"<sha256>\"}`"),
    responses(
        (status = 200, description = "`{\"message\", \"societe\", \"files_count\", \"cursor\"}`; with a manifest also `fetch` (`[{\"filename\", \"sha256\", \"size\"}]`), `send`, `delete` (names), `refused` (`[{\"filename\", \"code\", \"detail\"}]`, names that no file can have) and `unchanged` (count)"),
        (status = 400, description = "`invalid_manifest`"), (status = 404, description = "`societe_not_found`")))]
pub(super) async fn sync_societe(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path(name): Path<String>,
    body: axum::body::Body,
) -> Result<Json<Value>, AppError> {
    let name = societe(&name)?;
    // First of all: no body is read from a caller without read access.
    may_read(&auth, &caller, &name)?;
    let body = axum::body::to_bytes(body, MANIFEST_BYTES_MAX)
        .await
        .map_err(|_| manifest_fault("trop long ou interrompu"))?;
    if let Some(manifest) = manifest(&body)? {
        return compare(&relay, name, manifest).await;
    }
    may_write(&auth, &caller, &name)?;
    let (count, announced) = relay.sync(permit(&auth, caller), &name).await?;
    let mut reply = json!({
        "message": format!("Synchronisation terminée pour {name}"),
        "societe": name.as_str(),
        "files_count": count,
        "offset": announced.offset,
        "cursor": announced.cursor.to_string(),
    });
    add_left_out(&mut reply, &relay, |spot| spot.societe.as_deref() == Some(name.as_str()));
    Ok(Json(reply))
}

/// A body that is an object is a manifest; old clients send none, or something that is not JSON.
fn manifest(body: &Bytes) -> Result<Option<BTreeMap<String, String>>, AppError> {
    if body.first() != Some(&b'{') {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|e| manifest_fault(&e.to_string()))
}

fn manifest_fault(what: &str) -> AppError {
    let text = said!(
        "Manifeste invalide ({what}) : un objet {{\"<fichier>\": \"<sha256>\"}} est attendu",
        "Invalid manifest ({what}): an object {{\"<file>\": \"<sha256>\"}} is expected"
    );
    AppError::bad_request("invalid_manifest", text)
}

async fn compare(
    relay: &Relay,
    name: super::SocieteName,
    manifest: BTreeMap<String, String>,
) -> Result<Json<Value>, AppError> {
    let result = relay.compare(&name, manifest).await?;
    let fetch: Vec<Value> = result
        .fetch
        .iter()
        .map(|meta| json!({ "filename": meta.filename.as_str(), "sha256": &*meta.sha256, "size": meta.size }))
        .collect();
    let refused: Vec<Value> = result
        .refused
        .into_iter()
        .map(|(filename, error)| {
            let error = AppError::from(error);
            json!({ "filename": filename, "code": error.code(), "detail": error.french() })
        })
        .collect();
    Ok(Json(json!({
        "message": format!("Synchronisation terminée pour {name}"),
        "societe": name.as_str(),
        "files_count": result.files_count,
        "fetch": fetch,
        "send": result.send,
        "delete": result.delete,
        "refused": refused,
        "unchanged": result.unchanged,
        "cursor": result.cursor.map(|cursor| cursor.to_string()),
    })))
}

/// Delete a file. Its versions are kept and can be restored.
#[utoipa::path(delete, path = "/api/files/delete/{societe}/{filename}", tag = "relay",
    params(("societe" = String, Path), ("filename" = String, Path),
        ("if-match" = Option<String>, Header, description = "Entity tag that the file must have now")),
    responses(
        (status = 200, description = "`{\"message\", \"offset\", \"cursor\"}`"),
        (status = 404, description = "`file_not_found`"), (status = 412, description = "`precondition_failed`")))]
pub(super) async fn delete_file(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path((name, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, AppError> {
    let name = societe(&name)?;
    may_write(&auth, &caller, &name)?;
    let mut request = Request::new(permit(&auth, caller), name, existing(&file)?);
    request.precondition = super::precondition::of_change(&headers);
    let announced = relay.delete(request).await?;
    Ok(Json(json!({
        "message": "Fichier supprimé avec succès",
        "offset": announced.offset,
        "cursor": announced.cursor.to_string(),
    })))
}
