//! The HTTP edge of the chat, under `/api/admin/chat` and `/api/chat` as existing clients know it, and under
//! `/api/v1/chat`, where the list of conversations has groups as well.

mod blocks;
mod conversations;
mod groups;
mod invitations;

use axum::Json;
use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::routing::{MethodRouter, delete, get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi};

use super::conversations::Listing;
use super::model::Kind;
use super::people::Me;
use super::service::Chat;
use crate::auth::http::Caller;
use crate::error::unreadable_query;
use crate::said::said;
use crate::{App, AppError};

/// The routes of the chat.
pub fn router() -> Router<App> {
    let former = calls().route("/conversations", get(conversations::list_direct_conversations));
    let current = calls().route("/conversations", get(conversations::list_conversations));
    Router::new()
        .nest("/api/admin/chat", former.clone())
        .nest("/api/chat", former)
        .nest("/api/v1/chat", current)
        .nest("/chat", group_calls())
}

/// The calls that are the same everywhere.
fn calls() -> Router<App> {
    Router::new()
        .route("/conversations/{id}", get(conversations::show_conversation))
        .route(
            "/conversations/{id}/messages",
            get(conversations::list_messages).post(conversations::send_message),
        )
        .route("/conversations/{id}/mark-read", post(conversations::mark_read).put(conversations::mark_read))
        .route(
            "/messages/{id}",
            put(conversations::edit_message)
                .patch(conversations::edit_message)
                .delete(conversations::delete_message),
        )
        .route("/search", get(conversations::search_messages))
        .route("/admins/search", get(invitations::search_people))
        .route("/users/search", get(invitations::search_people))
        .route("/invitations", get(invitations::list_invitations).post(invitations::create_invitation))
        .route("/invitations/{id}", delete(invitations::cancel_invitation))
        .route("/invitations/{id}/cancel", cancel())
        .route("/invitations/{id}/respond", put(invitations::respond).post(invitations::respond))
        .route("/blocks", get(blocks::list_blocked))
        .route("/blocks/{user_id}", put(blocks::block).delete(blocks::unblock))
        .route("/messages/{id}/reads", get(conversations::list_reads))
        .route("/notifications/send", post(invitations::send_notification))
        .merge(group_calls())
}

/// The calls of groups, which existing clients know under `/chat` too.
fn group_calls() -> Router<App> {
    Router::new()
        .route("/groups", get(groups::list_groups).post(groups::create_group))
        .route(
            "/groups/{id}",
            get(conversations::show_conversation).put(groups::rename_group).patch(groups::rename_group),
        )
        .route("/groups/{id}/messages", get(conversations::list_messages).post(conversations::send_message))
        .route("/groups/{id}/mark-read", post(conversations::mark_read).put(conversations::mark_read))
        .route("/groups/invitations/pending", get(groups::list_group_invitations))
        .route("/groups/{id}/members", get(groups::list_members))
        .route("/groups/{id}/pending-invitations", get(groups::list_invitations_of_group))
        .route("/groups/{id}/invite", post(groups::invite_to_group))
        .route("/groups/{id}/leave", post(groups::leave_group))
        .route("/groups/{id}/members/{user_id}", delete(groups::remove_member))
        .route(
            "/group-invitations",
            get(groups::list_group_invitations).post(groups::create_group_invitation),
        )
        .route("/group-invitations/pending", get(groups::list_group_invitations))
        .route("/group-invitations/{id}", delete(invitations::cancel_invitation))
        .route("/group-invitations/{id}/cancel", cancel())
        .route("/group-invitations/{id}/respond", put(invitations::respond).post(invitations::respond))
}

/// Cancels an invitation as existing clients request it.
fn cancel() -> MethodRouter<App> {
    let by_delete = delete(invitations::cancel_invitation);
    by_delete.put(invitations::cancel_invitation).post(invitations::cancel_invitation)
}

/// The API description of the chat. Everything is under `/api/admin/chat` and `/api/v1/chat` as well.
#[derive(OpenApi)]
#[openapi(paths(
    conversations::list_direct_conversations,
    conversations::list_conversations,
    conversations::show_conversation,
    conversations::list_messages,
    conversations::send_message,
    conversations::mark_read,
    conversations::edit_message,
    conversations::delete_message,
    conversations::search_messages,
    invitations::search_people,
    invitations::list_invitations,
    invitations::create_invitation,
    invitations::cancel_invitation,
    invitations::respond,
    invitations::send_notification,
    blocks::list_blocked,
    blocks::block,
    blocks::unblock,
    conversations::list_reads,
    groups::list_groups,
    groups::create_group,
    groups::rename_group,
    groups::invite_to_group,
    groups::list_members,
    groups::list_invitations_of_group,
    groups::leave_group,
    groups::remove_member,
    groups::list_group_invitations,
    groups::create_group_invitation
))]
pub struct ChatApi;

/// The participant who makes this request.
struct Here {
    chat: Chat,
    me: Me,
}

impl FromRequestParts<App> for Here {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, AppError> {
        let Caller(principal) = Caller::from_request_parts(parts, app).await?;
        let chat = app.service::<Chat>().clone();
        let me = chat.enter(&principal).await?;
        Ok(Self { chat, me })
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, AppError> {
    Ok(body.map(|Json(value)| value)?)
}

/// `{"success":true,"data":…}`.
fn done(data: &Value) -> Json<Value> {
    Json(json!({ "success": true, "data": data }))
}

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListPart {
    /// Entries at most: 500 unless fewer are asked for.
    limit: Option<usize>,
    /// The `next` of an earlier answer.
    after: Option<String>,
}

impl ListPart {
    fn read(query: Result<Query<Self>, QueryRejection>, kind: Option<Kind>) -> Result<Listing, AppError> {
        let Query(Self { limit, after }) = query.map_err(|rejection| unreadable_query(&rejection))?;
        Ok(Listing { kind, after: after.filter(|after| !after.is_empty()), limit })
    }
}

/// Which part of what there is.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Entries at most.
    limit: Option<usize>,
    /// Messages with a smaller number; of a search, the `cursor` of an earlier answer.
    before: Option<u64>,
    /// Messages with a greater number.
    after: Option<u64>,
    /// What to look for.
    q: Option<String>,
}

impl Wanted {
    fn read(query: Result<Query<Self>, QueryRejection>) -> Result<Self, AppError> {
        let Query(mut wanted) = query.map_err(|rejection| unreadable_query(&rejection))?;
        // No message has a greater number, and no column takes one.
        let clamped = |number: u64| number.min(i64::MAX.unsigned_abs());
        (wanted.before, wanted.after) = (wanted.before.map(clamped), wanted.after.map(clamped));
        Ok(wanted)
    }

    fn limit(&self, usual: usize, max: usize) -> usize {
        self.limit.unwrap_or(usual).clamp(1, max)
    }

    fn words(&self) -> Result<&str, AppError> {
        let words = self.q.as_deref().map(str::trim).filter(|words| !words.is_empty());
        words.ok_or_else(|| {
            super::refusal::invalid("q", said!("Paramètre « q » requis", "Parameter \"q\" required"))
        })
    }
}

/// Which part of a list, by ids.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PartById {
    /// Entries at most.
    limit: Option<usize>,
    /// Those after this id: the last of the part before.
    after: Option<String>,
}

impl PartById {
    fn read(query: Result<Query<Self>, QueryRejection>) -> Result<Self, AppError> {
        let Query(part) = query.map_err(|rejection| unreadable_query(&rejection))?;
        Ok(part)
    }
}
