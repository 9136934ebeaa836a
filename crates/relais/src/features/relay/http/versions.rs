//! Earlier versions.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::super::model::Request;
use super::{existing, may_read, may_write, permit, precondition, societe, upload};
use crate::AppError;
use crate::auth::Auth;
use crate::auth::http::Caller;
use crate::features::relay::Relay;

/// Versions of a file that are kept, also of a deleted one.
#[utoipa::path(get, path = "/api/files/versions/{societe}/{filename}", tag = "relay",
    params(("societe" = String, Path), ("filename" = String, Path)),
    responses(
        (status = 200, description = "`{\"societe\", \"filename\", \"versions\": [{\"version\", \"size\", \"sha256\", \"created_at\", \"created_by\", \"origin\", \"current\"}]}`, newest first"),
        (status = 404, description = "`file_not_found`")))]
pub(super) async fn list_versions(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path((name, file)): Path<(String, String)>,
) -> Result<Json<Value>, AppError> {
    let (name, file) = (societe(&name)?, existing(&file)?);
    may_read(&auth, &caller, &name)?;
    let versions: Vec<Value> = relay
        .versions(&name, &file)
        .await?
        .into_iter()
        .map(|version| {
            json!({
                "version": version.version,
                "size": version.size,
                "sha256": version.sha256,
                "created_at": version.created_at,
                "created_by": version.created_by,
                "origin": version.origin,
                "current": version.current,
            })
        })
        .collect();
    Ok(Json(json!({ "societe": name.as_str(), "filename": file.as_str(), "versions": versions })))
}

/// Which version to restore.
#[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreBody {
    /// A version that is kept.
    version: u64,
}

/// Put an earlier version back. It becomes a new version and is announced as an upload.
#[utoipa::path(post, path = "/api/files/restore/{societe}/{filename}", tag = "relay",
    params(("societe" = String, Path), ("filename" = String, Path)), request_body = RestoreBody,
    responses((status = 200, description = "As for an upload"), (status = 404, description = "`version_not_found`")))]
pub(super) async fn restore_version(
    State(auth): State<Auth>,
    State(relay): State<Relay>,
    Caller(caller): Caller,
    Path((name, file)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Json<RestoreBody>, JsonRejection>,
) -> Result<Response, AppError> {
    let (name, file) = (societe(&name)?, existing(&file)?);
    may_write(&auth, &caller, &name)?;
    // Only a caller with write access gets errors about the body.
    let Json(body) = body?;
    let mut request = Request::new(permit(&auth, caller), name.clone(), file);
    request.precondition = precondition::of_change(&headers);
    let stored = relay.restore(request, body.version).await?;
    Ok(upload::reply(&name, &stored, "Version restaurée avec succès"))
}
