//! The HTTP API of the relay: the seven calls of its first clients, and the additions.

pub(crate) mod changes;
mod download;
mod files;
mod precondition;
mod upload;
mod versions;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::StatusCode;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Relay;
use super::error::RelayError;
use super::name::{FileName, SocieteName};
use crate::auth::{Action, Auth, Permit, Principal};
use crate::{App, AppError};

impl FromRef<App> for Relay {
    fn from_ref(app: &App) -> Self {
        app.service::<Self>().clone()
    }
}

/// What is said of these calls together.
#[derive(OpenApi)]
#[openapi(tags((name = "relay", description = "JSON files per société, and what happens to them")))]
struct Description;

/// The routes.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(files::list_societes))
        .routes(routes!(files::list_files))
        .routes(routes!(changes::list_societe_changes))
        .routes(routes!(changes::list_changes))
        .routes(routes!(download::download_file))
        .routes(routes!(upload::upload_file))
        .routes(routes!(files::sync_societe))
        .routes(routes!(files::delete_file))
        .routes(routes!(versions::list_versions))
        .routes(routes!(versions::restore_version))
        .routes(routes!(files::get_status))
        // Uploads count their bytes themselves, to say which limit was passed.
        .layer(DefaultBodyLimit::disable())
}

fn societe(text: &str) -> Result<SocieteName, RelayError> {
    SocieteName::new(text).map_err(RelayError::SocieteName)
}

fn filename(text: &str) -> Result<FileName, RelayError> {
    FileName::new(text).map_err(RelayError::FileName)
}

/// The name of a file that is only read: an invalid name is a file that does not exist.
fn existing(text: &str) -> Result<FileName, RelayError> {
    FileName::new(text).map_err(|_| RelayError::NoFile)
}

fn may_read(auth: &Auth, principal: &Principal, societe: &SocieteName) -> Result<(), AppError> {
    auth.require(principal, Action::RelayRead(societe.as_str()))
}

fn may_write(auth: &Auth, principal: &Principal, societe: &SocieteName) -> Result<(), AppError> {
    auth.require(principal, Action::RelayWrite(societe.as_str()))
}

/// The caller, checked again in the transaction that stores.
fn permit(auth: &Auth, principal: Principal) -> Permit {
    Permit::new(auth.clone(), principal)
}

impl From<RelayError> for AppError {
    fn from(error: RelayError) -> Self {
        let text = error.said();
        let plain = |status, code| Self::new(status, code, text.clone());
        match error {
            RelayError::SocieteName(_) => plain(StatusCode::BAD_REQUEST, "invalid_societe_name"),
            RelayError::FileName(_) => plain(StatusCode::BAD_REQUEST, "invalid_file_name"),
            RelayError::Extension => plain(StatusCode::BAD_REQUEST, "not_a_json_file"),
            RelayError::Empty => plain(StatusCode::BAD_REQUEST, "empty_file"),
            RelayError::Json(fault) => plain(StatusCode::BAD_REQUEST, "invalid_json")
                .with("line", fault.line)
                .with("column", fault.column),
            RelayError::Schema(violations) => plain(StatusCode::UNPROCESSABLE_ENTITY, "schema_violation")
                .with("errors", serde_json::to_value(violations).unwrap_or_default()),
            RelayError::TooLarge { max } => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, "file_too_large").with("max_bytes", max)
            }
            RelayError::Quota { max, .. } => {
                plain(StatusCode::INSUFFICIENT_STORAGE, "quota_exceeded").with("max_bytes", max)
            }
            RelayError::TooManyFiles { max, .. } => {
                plain(StatusCode::INSUFFICIENT_STORAGE, "too_many_files").with("max_files", max)
            }
            RelayError::NoSociete(_) => plain(StatusCode::NOT_FOUND, "societe_not_found"),
            RelayError::NoFile => plain(StatusCode::NOT_FOUND, "file_not_found"),
            RelayError::NoVersion(_) => plain(StatusCode::NOT_FOUND, "version_not_found"),
            RelayError::Damaged { societe, filename, what } => {
                tracing::error!(%societe, %filename, what, "a stored content is damaged");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "content_damaged")
            }
            RelayError::Precondition { current } => {
                plain(StatusCode::PRECONDITION_FAILED, "precondition_failed").with("current_sha256", current)
            }
            RelayError::CursorExpired(cursor) => {
                plain(StatusCode::GONE, "cursor_expired").with("cursor", cursor.to_string())
            }
            RelayError::Occupied(_) => plain(StatusCode::CONFLICT, "name_occupied"),
            RelayError::DiskFull => plain(StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            RelayError::ReadOnly => {
                plain(StatusCode::SERVICE_UNAVAILABLE, "folder_not_writable").retry_after(30)
            }
            RelayError::Io(error) => Self::internal(error),
            RelayError::Refused(error) => error,
            RelayError::Store(error) => error.into(),
        }
    }
}
