//! The HTTP edge of the chat, under `/api/admin/chat` and `/api/chat` as existing clients know it, and under
//! `/api/v1/chat`, where the list of conversations has groups as well.

mod blocks;
mod conversations;
mod groups;
mod invitations;

use axum::Json;
use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRef, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::conversations::Listing;
use super::model::Kind;
use super::people::Me;
use super::service::Chat;
use crate::auth::Auth;
use crate::auth::http::Caller;
use crate::error::unreadable_query;
use crate::said::said;
use crate::{App, AppError};

/// What is said of these calls together.
#[derive(OpenApi)]
#[openapi(tags((
    name = "chat",
    description = "Conversations, groups and their messages. Every call is at `/api/v1/chat`, where new clients make it and errors are in English, and at `/api/chat` and `/api/admin/chat`; those of groups are at `/chat` too. They differ in `GET conversations` alone."
)))]
struct Description;

/// The routes of the chat. The document has every call once, at one of its addresses, and the description says the others:
/// with all of them it would be four times as long, and clients made of it would have four methods for each call.
pub fn router() -> OpenApiRouter<App> {
    let former = calls().routes(routes!(conversations::list_direct_conversations));
    let undocumented = |calls| OpenApiRouter::from(Router::from(calls));
    OpenApiRouter::with_openapi(Description::openapi())
        .nest("/api/chat", former.clone())
        .nest("/api/admin/chat", undocumented(former))
        .nest("/api/v1/chat", undocumented(calls()).routes(routes!(conversations::list_conversations)))
        .nest("/chat", undocumented(group_calls()))
}

/// The calls that are the same everywhere.
fn calls() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(conversations::show_conversation))
        .routes(routes!(conversations::list_messages, conversations::send_message))
        .routes(routes!(conversations::mark_read))
        .routes(routes!(conversations::edit_message, conversations::delete_message))
        .routes(routes!(conversations::search_messages))
        .routes(routes!(conversations::list_reads))
        .routes(routes!(invitations::search_people))
        .routes(routes!(invitations::list_invitations, invitations::create_invitation))
        .routes(routes!(invitations::cancel_invitation))
        .routes(routes!(invitations::respond))
        .routes(routes!(invitations::send_notification))
        .routes(routes!(blocks::list_blocked))
        .routes(routes!(blocks::block, blocks::unblock))
        // As existing clients make these calls; the description of each says so.
        .route("/conversations/{id}/mark-read", put(conversations::mark_read))
        .route("/messages/{id}", patch(conversations::edit_message))
        .route("/users/search", get(invitations::search_people))
        .route("/invitations/{id}/cancel", cancel())
        .route("/invitations/{id}/respond", post(invitations::respond))
        .merge(group_calls())
}

/// The calls of groups, which existing clients know under `/chat` too.
fn group_calls() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(groups::list_groups, groups::create_group))
        .routes(routes!(groups::rename_group))
        .routes(routes!(groups::list_members))
        .routes(routes!(groups::list_invitations_of_group))
        .routes(routes!(groups::invite_to_group))
        .routes(routes!(groups::leave_group))
        .routes(routes!(groups::remove_member))
        .routes(routes!(groups::list_group_invitations, groups::create_group_invitation))
        // A group is a conversation: what is the same call is described with that.
        .route("/groups/{id}", get(conversations::show_conversation).patch(groups::rename_group))
        .route("/groups/{id}/messages", get(conversations::list_messages).post(conversations::send_message))
        .route("/groups/{id}/mark-read", post(conversations::mark_read).put(conversations::mark_read))
        .route("/groups/invitations/pending", get(groups::list_group_invitations))
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

/// Who takes part and makes this request.
struct Here {
    chat: Chat,
    me: Me,
}

impl FromRef<App> for Chat {
    fn from_ref(app: &App) -> Self {
        app.service::<Self>().clone()
    }
}

impl<S> FromRequestParts<S> for Here
where
    Auth: FromRef<S>,
    Chat: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let Caller(principal) = Caller::from_request_parts(parts, state).await?;
        let chat = Chat::from_ref(state);
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
