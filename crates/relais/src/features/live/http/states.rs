//! The HTTP edge of states and statistics.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::refusal::no_module;
use super::super::stats::Statistics;
use super::readable;
use crate::auth::http::Caller;
use crate::auth::{Action, Auth};
use crate::features::live::Live;
use crate::said::Said;
use crate::{App, AppError};

/// The routes of states.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_states))
        .routes(routes!(show_state))
        .routes(routes!(show_statistics))
}

/// Since when.
#[derive(Debug, Deserialize)]
struct Since {
    version: Option<u64>,
}

/// Last known states of the modules that one sees
///
/// Whole (`full`), or what changed since a version. A state, and every event about one, has the version of its last
/// change: what is older than what one knows of a module does not count, what is as old does.
#[utoipa::path(get, path = "/api/v1/module-states", tag = "modules", params(
    ("version" = Option<u64>, Query, description = "The version of the last answer; without it, or if it is too old, the answer has every state")), responses(
    (status = 200, description = "`{version, full, removed, cursor, timestamp, states: {moduleId: state}}`"), (status = 400, description = "`invalid_parameter`"),
    (status = 401, description = "`unauthenticated`")))]
async fn list_states(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Response, AppError> {
    let refused =
        |e: QueryRejection| AppError::bad_request("invalid_parameter", Said::in_english(e.body_text()));
    let since = since.map_err(refused)?;
    let visibility = readable(&auth, &principal)?;
    Ok(written(live.snapshot(&visibility, since.0.version, |snapshot| snapshot).fields(&[])))
}

/// Last known state of a module
#[utoipa::path(get, path = "/api/v1/modules/{id}/state", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, description = "`{moduleId, name, type, userId, online, lastSeen, telemetry, version, …}`"),
    (status = 404, description = "`module_not_found`")))]
async fn show_state(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Response, AppError> {
    let state = live.state(&readable(&auth, &principal)?, &id).ok_or_else(no_module)?;
    Ok(written(state.to_string()))
}

/// JSON that is text already.
fn written(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// How the server is, in numbers
#[utoipa::path(get, path = "/api/v1/statistics", tag = "modules", responses(
    (status = 200, body = Statistics), (status = 403, description = "`forbidden`: administrators only")))]
async fn show_statistics(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
) -> Result<Json<Statistics>, AppError> {
    auth.require(&principal, Action::Administer)?;
    live.statistics().await.map(Json)
}
