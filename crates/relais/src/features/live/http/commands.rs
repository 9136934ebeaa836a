//! The HTTP edge of commands.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::command::{Command, CommandState, NewCommand};
use super::super::modules::Visibility;
use super::super::refusal::invalid;
use super::Viewer;
use crate::auth::http::Caller;
use crate::error::unreadable_query;
use crate::features::live::Live;
use crate::said::Said;
use crate::web::paging::{Page, listed};
use crate::{App, AppError};

/// The routes of commands.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_commands, give_command))
        .routes(routes!(show_command, cancel_command))
}

/// Which commands.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct InState {
    /// Those in this state only.
    state: Option<CommandState>,
}

/// Give a command
///
/// It is stored, then told to the device if that is there, else once it comes back. With the header `Idempotency-Key`, or
/// a `client_id`, the same call again gives the same command.
#[utoipa::path(post, path = "/api/v1/modules/{id}/commands", tag = "modules", request_body = NewCommand,
    params(("id" = String, Path),
        ("idempotency-key" = Option<String>, Header, description = "What the caller calls this command; at most 100 bytes")),
    responses(
    (status = 202, body = Command), (status = 400, description = "`invalid_value`"),
    (status = 404, description = "`module_not_found`"),
    (status = 409, description = "`too_many_commands`, `idempotency_key_in_use`"),
    (status = 429, description = "`too_many_commands`")))]
async fn give_command(
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path(id): Path<String>,
    headers: HeaderMap,
    given: Result<Json<NewCommand>, JsonRejection>,
) -> Result<(StatusCode, Json<Command>), AppError> {
    let Json(mut new) = given?;
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    if let (Some(client_id), Some(key)) = (&new.client_id, &key)
        && client_id != key
    {
        let message = "\"client_id\" and the header Idempotency-Key call the command differently";
        return Err(invalid("client_id", Said::in_english(message)));
    }
    new.client_id = new.client_id.or(key);
    Ok((StatusCode::ACCEPTED, Json(live.command(&visibility, &actor, &id, new).await?)))
}

/// List the commands of a module
///
/// The newest first.
#[utoipa::path(get, path = "/api/v1/modules/{id}/commands", tag = "modules",
    params(("id" = String, Path), InState, Page), responses(
    (status = 200, description = "`commands`, and `cursor` if there are more", body = Vec<Command>),
    (status = 404, description = "`module_not_found`")))]
async fn list_commands(
    State(live): State<Live>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    state: Result<Query<InState>, QueryRejection>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let state = state.map_err(|rejection| unreadable_query(&rejection))?;
    let ((before, limit), visibility) = (Page::read(page)?, Visibility::of(&principal)?);
    let commands = live.commands().list(&visibility, &id, state.0.state, &before, limit + 1).await?;
    Ok(listed("commands", commands, limit, |command| &command.id))
}

/// Show a command
#[utoipa::path(get, path = "/api/v1/modules/{id}/commands/{command}", tag = "modules",
    params(("id" = String, Path), ("command" = String, Path)), responses(
    (status = 200, body = Command), (status = 404, description = "`module_not_found`, `command_not_found`")))]
async fn show_command(
    State(live): State<Live>,
    Caller(principal): Caller,
    Path((id, command)): Path<(String, String)>,
) -> Result<Json<Command>, AppError> {
    live.commands().find(&Visibility::of(&principal)?, &id, &command).await.map(Json)
}

/// Take a command back
///
/// One that its device was not told; or one that it would be told again: it is not. It has failed then, with the error
/// `cancelled`.
#[utoipa::path(delete, path = "/api/v1/modules/{id}/commands/{command}", tag = "modules",
    params(("id" = String, Path), ("command" = String, Path)), responses(
    (status = 200, body = Command), (status = 404, description = "`module_not_found`, `command_not_found`"),
    (status = 409, description = "`command_not_cancellable`")))]
async fn cancel_command(
    State(live): State<Live>,
    Viewer { visibility, actor }: Viewer,
    Path((id, command)): Path<(String, String)>,
) -> Result<Json<Command>, AppError> {
    live.commands().cancel(&visibility, &actor, &id, &command).await.map(Json)
}
