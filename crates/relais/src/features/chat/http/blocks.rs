//! Blocked users.

use axum::Json;
use axum::extract::Path;
use serde_json::{Value, json};

use super::super::model::Blocked;
use super::{Here, done};
use crate::AppError;
use crate::auth::http::ClientAddress;

/// Whom one has blocked
#[utoipa::path(get, path = "/blocks", tag = "chat", responses(
    (status = 200, description = "`data.blocked`, in the order of ids", body = Vec<Blocked>)))]
pub(super) async fn list_blocked(here: Here) -> Result<Json<Value>, AppError> {
    let blocked = here.chat.blocked(&here.me).await?;
    Ok(done(&json!({ "blocked": blocked })))
}

/// Block somebody
///
/// They no longer invite, write to, notify or find one, and neither sees the other come, go or type. Invitations between
/// the two that wait are settled. They are not told.
#[utoipa::path(put, path = "/blocks/{user_id}", tag = "chat", params(("user_id" = String, Path)), responses(
    (status = 200, description = "They are blocked, also if they were before"),
    (status = 400, description = "`invalid_value`: oneself"), (status = 404, description = "`user_not_found`"),
    (status = 409, description = "`too_many_blocked`: 1,000 are")))]
pub(super) async fn block(
    here: Here,
    address: ClientAddress,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, AppError> {
    set(&here, address, &user_id, true).await
}

/// Unblock somebody
#[utoipa::path(delete, path = "/blocks/{user_id}", tag = "chat", params(("user_id" = String, Path)), responses(
    (status = 200, description = "They are not blocked, also if they were not before"),
    (status = 404, description = "`user_not_found`")))]
pub(super) async fn unblock(
    here: Here,
    address: ClientAddress,
    Path(user_id): Path<String>,
) -> Result<Json<Value>, AppError> {
    set(&here, address, &user_id, false).await
}

async fn set(
    here: &Here,
    address: ClientAddress,
    user_id: &str,
    blocked: bool,
) -> Result<Json<Value>, AppError> {
    let actor = here.me.actor(address.0);
    here.chat.set_blocked(&here.me, &actor, user_id, blocked).await?;
    Ok(done(&json!({ "user_id": user_id, "blocked": blocked })))
}
