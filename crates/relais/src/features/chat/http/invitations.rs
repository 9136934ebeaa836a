//! Invitations, the search for people, and words outside of conversations.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::invitations::Answer;
use super::super::model::{Contact, Invitation};
use super::super::presence::{Notice, RECIPIENT_NAMES};
use super::{Body, Here, ListPart, Wanted, body, done};
use crate::AppError;
use crate::aliases::{Aliased, United};

/// Search people by name or address
///
/// 10 unless `limit` says otherwise, never more than 50. Also at `/api/chat/users/search`.
#[utoipa::path(get, path = "/admins/search", tag = "chat", params(Wanted), responses(
    (status = 200, description = "`data.admins`, also as `data.users`; `data.has_more` if more people have it", body = Vec<Contact>),
    (status = 400, description = "`invalid_value`: no `q`")))]
pub(super) async fn search_people(
    here: Here,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let wanted = Wanted::read(query)?;
    let limit = wanted.limit(10, 50);
    let mut found = here.chat.search_people(&here.me, wanted.words()?, limit + 1).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    Ok(done(&json!({ "admins": found, "users": found, "has_more": has_more })))
}

/// Invitations to talk that wait for one's answer
#[utoipa::path(get, path = "/invitations", tag = "chat", params(ListPart), responses(
    (status = 200, description = "`data.invitations`, the oldest first; `data.next`, `data.total`", body = Vec<Invitation>)))]
pub(super) async fn list_invitations(
    here: Here,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let waiting = here.chat.invitations(&here.me, false, ListPart::read(query, None)?).await?;
    Ok(done(&json!(waiting)))
}

/// Whom to ask.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewInvitation {
    /// Whom, by id or e-mail address; also `toUserId`, `recipient_id`, `recipientId`, `user_id`, `userId`.
    pub(super) to_user_id: String,
    /// A message sent with it.
    #[serde(default)]
    pub(super) message: String,
    /// The group, of an invitation to one; also `groupId`.
    #[serde(default)]
    pub(super) group_id: Option<String>,
}

impl Aliased for NewInvitation {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] =
        &[("to_user_id", RECIPIENT_NAMES), ("group_id", &["groupId"])];
}

/// Ask somebody to talk
#[utoipa::path(post, path = "/invitations", tag = "chat", request_body = NewInvitation, responses(
    (status = 201, description = "`data.invitation_id`, `data.invitation`", body = Invitation),
    (status = 400, description = "`invalid_value`: oneself"), (status = 404, description = "`user_not_found`"),
    (status = 409, description = "`already_in_conversation` with `conversation_id`; `already_invited`, `invited_by_them` with `invitation_id`; `too_many_invitations`")))]
pub(super) async fn create_invitation(
    here: Here,
    given: Body<United<NewInvitation>>,
) -> Result<(StatusCode, Json<Value>), AppError> {
    let United(new) = body(given)?;
    let sent = here.chat.invite(&here.me, &new.to_user_id, &new.message, new.group_id.as_deref()).await?;
    Ok((StatusCode::CREATED, done(&json!({ "invitation_id": sent.id, "invitation": sent }))))
}

/// What to answer.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Reply {
    /// `accept` or `reject`.
    action: String,
}

/// Answer an invitation
///
/// The same answer again changes nothing and is answered the same. Also by POST, and at
/// `/api/chat/group-invitations/{id}/respond`.
#[utoipa::path(put, path = "/invitations/{id}/respond", tag = "chat", params(("id" = String, Path)),
    request_body = Reply, responses(
    (status = 200, description = "`data.conversation_id`, `data.conversation`; null if rejected"),
    (status = 400, description = "`invalid_value`"), (status = 404, description = "`invitation_not_found`"),
    (status = 409, description = "`invitation_settled`, with its `status`, and `conversation_id` if it was accepted")))]
pub(super) async fn respond(
    here: Here,
    Path(id): Path<String>,
    given: Body<Reply>,
) -> Result<Json<Value>, AppError> {
    let answer = Answer::parse(&body(given)?.action)?;
    let conversation = here.chat.respond(&here.me, &id, answer).await?;
    let conversation_id = conversation.as_ref().map(|conversation| conversation.id.clone());
    Ok(done(&json!({ "conversation_id": conversation_id, "conversation": conversation })))
}

/// Take back an invitation that waits
///
/// Again it changes nothing. Also at `/api/chat/group-invitations/{id}`; and at `/api/chat/invitations/{id}/cancel` and
/// `/api/chat/group-invitations/{id}/cancel`, by PUT, POST or DELETE.
#[utoipa::path(delete, path = "/invitations/{id}", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, description = "It is cancelled"), (status = 404, description = "`invitation_not_found`"),
    (status = 409, description = "`invitation_settled`")))]
pub(super) async fn cancel_invitation(here: Here, Path(id): Path<String>) -> Result<Json<Value>, AppError> {
    here.chat.cancel_invitation(&here.me, &id).await?;
    Ok(done(&json!({ "invitation_id": id })))
}

/// Tell somebody something outside of any conversation
#[utoipa::path(post, path = "/notifications/send", tag = "chat", request_body = Notice, responses(
    (status = 200, description = "It is stored, and told as `notification`"),
    (status = 400, description = "`invalid_value`: `title` or `type` of more than 200 bytes, `body` of more than 4,000, `data` of more than 64 KiB"),
    (status = 404, description = "`user_not_found`"),
    (status = 429, description = "`too_many_notifications`: more than 60 in a minute; see Retry-After")))]
pub(super) async fn send_notification(
    here: Here,
    given: Body<United<Notice>>,
) -> Result<Json<Value>, AppError> {
    here.chat.notify(&here.me, body(given)?.0).await?;
    Ok(done(&json!({})))
}
