//! Conversations and their messages.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::conversations::Overview;
use super::super::messages::Part;
use super::super::model::{Conversation, Kind, Message, Read};
use super::super::sending::NewMessage;
use super::{Body, Here, ListPart, PartById, Wanted, body, done};
use crate::AppError;
use crate::aliases::{Aliased, United};
use crate::said::{Said, said};

/// Messages of a page: the default, and the maximum.
const PAGE: usize = 50;
const PAGE_MAX: usize = 100;

/// One's conversations, groups among them, and the invitations that one has sent
///
/// With the events after `cursor`, the answer stays true: of each page with those after its own. `next` is where the
/// next page begins; `total` and `unread_total` count what is on all of them. A conversation that becomes active between
/// two pages is on neither, and the events after the first page's cursor tell of it.
#[utoipa::path(get, path = "/conversations", tag = "chat", params(ListPart), responses(
    (status = 200, description = "`data.conversations`, `data.cursor`, `data.next`, `data.total`, `data.unread_total`", body = Vec<Conversation>),
    (status = 400, description = "`invalid_value`: `after` is not the `next` of an answer")))]
pub(super) async fn list_conversations(
    here: Here,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let overview = here.chat.overview(&here.me, ListPart::read(query, None)?).await?;
    Ok(done(&listed("conversations", &overview)))
}

/// A page of conversations, under the name known to clients.
pub(super) fn listed(name: &str, overview: &Overview) -> Value {
    json!({
        name: overview.conversations, "cursor": overview.cursor.to_string(), "next": overview.next,
        "total": overview.total, "unread_total": overview.unread_total,
    })
}

/// One's conversations with one other person, and the invitations that one has sent
///
/// Every entry has a `participant`, which existing clients read. Groups are at `/api/chat/groups`, and everything
/// together at `/api/v1/chat/conversations`.
#[utoipa::path(get, path = "/conversations", tag = "chat", params(ListPart), responses(
    (status = 200, description = "As `/api/v1/chat/conversations`", body = Vec<Conversation>),
    (status = 400, description = "`invalid_value`: `after` is not the `next` of an answer")))]
pub(super) async fn list_direct_conversations(
    here: Here,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let overview = here.chat.overview(&here.me, ListPart::read(query, Some(Kind::Direct))?).await?;
    Ok(done(&listed("conversations", &overview)))
}

/// One conversation, or group
///
/// Also at `/api/chat/groups/{id}`.
#[utoipa::path(get, path = "/conversations/{id}", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, description = "`data.conversation`", body = Conversation),
    (status = 404, description = "`conversation_not_found`: there is none, or one is not in it")))]
pub(super) async fn show_conversation(here: Here, Path(id): Path<String>) -> Result<Json<Value>, AppError> {
    let conversation = here.chat.conversation(&here.me, &id).await?;
    Ok(done(&json!({ "conversation": conversation, "group": conversation })))
}

/// Messages, the oldest first
///
/// The last ones, or those `before` or `after` a number. 50 unless `limit` says otherwise, never more than 100. Who
/// fetches messages of others has received them: `delivered_at` is set, and their senders hear `messages_delivered`. Also
/// at `/api/chat/groups/{id}/messages`.
#[utoipa::path(get, path = "/conversations/{id}/messages", tag = "chat",
    params(("id" = String, Path), Wanted), responses(
    (status = 200, description = "`data.messages`", body = Vec<Message>),
    (status = 404, description = "`conversation_not_found`")))]
pub(super) async fn list_messages(
    here: Here,
    Path(id): Path<String>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let wanted = Wanted::read(query)?;
    let part = match (wanted.before, wanted.after) {
        (Some(before), _) => Part::Before(before),
        (None, Some(after)) => Part::After(after),
        (None, None) => Part::Last,
    };
    let messages = here.chat.messages(&here.me, &id, part, wanted.limit(PAGE, PAGE_MAX)).await?;
    Ok(done(&json!({ "messages": messages })))
}

/// Send a message
///
/// With a `client_id`, sending it again makes no second one: the answer is then the first, with `duplicate`. Also at
/// `/api/chat/groups/{id}/messages`.
#[utoipa::path(post, path = "/conversations/{id}/messages", tag = "chat",
    params(("id" = String, Path)), request_body = NewMessage, responses(
    (status = 201, description = "`data.message`, `data.offset`", body = Message),
    (status = 200, description = "It had been sent before"),
    (status = 400, description = "`invalid_value`"), (status = 404, description = "`conversation_not_found`"),
    (status = 409, description = "`client_id_in_use`, with the `message_id` of the other message")))]
pub(super) async fn send_message(
    here: Here,
    Path(id): Path<String>,
    given: Body<United<NewMessage>>,
) -> Result<(StatusCode, Json<Value>), AppError> {
    let sent = here.chat.send(&here.me, &id, body(given)?.0).await?;
    let status = if sent.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let data = json!({
        "message": sent.message, "duplicate": sent.duplicate, "offset": sent.position.map(|position| position.offset),
    });
    Ok((status, done(&data)))
}

/// Up to where one has read.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct UpTo {
    /// The number of the last message that one has read; absent: all. Also `upTo`.
    up_to: Option<u64>,
}

impl Aliased for UpTo {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("up_to", &["upTo"])];
}

/// Mark messages as read
///
/// Also by PUT, and at `/api/chat/groups/{id}/mark-read`.
#[utoipa::path(post, path = "/conversations/{id}/mark-read", tag = "chat",
    params(("id" = String, Path)), request_body = UpTo, responses(
    (status = 200, description = "`data.marked_read`: how many were unread"),
    (status = 404, description = "`conversation_not_found`")))]
pub(super) async fn mark_read(
    here: Here,
    Path(id): Path<String>,
    given: axum::body::Bytes,
) -> Result<Json<Value>, AppError> {
    let up_to = if given.iter().all(u8::is_ascii_whitespace) {
        UpTo::default()
    } else {
        let United(up_to) = serde_json::from_slice(&given).map_err(|error| {
            let why = Said::carried_in(&error.to_string());
            super::super::refusal::invalid(
                "up_to",
                said!("Corps de requête invalide : {}", "Invalid request body: {}"; why),
            )
        })?;
        up_to
    };
    let marked = here.chat.mark_read(&here.me, &id, up_to.up_to).await?;
    Ok(done(&json!({ "marked_read": marked })))
}

/// Another text for a message.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Edit {
    /// The text.
    content: String,
    /// Members that it mentions, 1,000 at most; absent or null: those that it mentioned before.
    mentions: Option<Vec<String>>,
}

/// Who has read a message
///
/// In the order of their ids, the sender aside; 100 unless `limit` says otherwise, never more than 500. A message itself
/// shows the first ten.
#[utoipa::path(get, path = "/messages/{id}/reads", tag = "chat",
    params(("id" = String, Path), PartById), responses(
    (status = 200, description = "`data.reads`; `data.count`: how many there are in all", body = Vec<Read>),
    (status = 404, description = "`message_not_found`")))]
pub(super) async fn list_reads(
    here: Here,
    Path(id): Path<String>,
    query: Result<Query<PartById>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let part = PartById::read(query)?;
    let limit = part.limit.unwrap_or(100).clamp(1, 500);
    let (reads, count) =
        here.chat.reads(&here.me, &id, part.after.as_deref().unwrap_or_default(), limit).await?;
    Ok(done(&json!({ "reads": reads, "count": count })))
}

/// Edit one's own message
///
/// Also by PATCH.
#[utoipa::path(put, path = "/messages/{id}", tag = "chat", params(("id" = String, Path)),
    request_body = Edit, responses(
    (status = 200, description = "`data.message`", body = Message),
    (status = 403, description = "`forbidden`: somebody else wrote it"),
    (status = 404, description = "`message_not_found`")))]
pub(super) async fn edit_message(
    here: Here,
    Path(id): Path<String>,
    given: Body<Edit>,
) -> Result<Json<Value>, AppError> {
    let edit = body(given)?;
    let message = here.chat.edit(&here.me, &id, &edit.content, edit.mentions).await?;
    Ok(done(&json!({ "message": message })))
}

/// Delete a message; a tombstone without content stays
#[utoipa::path(delete, path = "/messages/{id}", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, description = "`data.message`", body = Message),
    (status = 403, description = "`forbidden`"), (status = 404, description = "`message_not_found`")))]
pub(super) async fn delete_message(here: Here, Path(id): Path<String>) -> Result<Json<Value>, AppError> {
    let message = here.chat.delete(&here.me, &id).await?;
    Ok(done(&json!({ "message": message })))
}

/// Search the messages of one's own conversations
///
/// All the words, as beginnings of words, whatever their accents and capitals; the latest first. Whatever is neither
/// letter nor digit parts words; in scripts without spaces what is asked for may stand anywhere. 20 unless `limit` says
/// otherwise, never more than 50; `before` takes the `cursor` of an earlier answer. `complete` is false while the words
/// of older messages are being noted after an upgrade.
#[utoipa::path(get, path = "/search", tag = "chat", params(Wanted), responses(
    (status = 200, description = "`data.messages`, `data.cursor` if there are more, `data.complete`", body = Vec<Message>),
    (status = 400, description = "`invalid_value`: no words, more than 32 or more than 500 bytes")))]
pub(super) async fn search_messages(
    here: Here,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let wanted = Wanted::read(query)?;
    let found =
        here.chat.search_messages(&here.me, wanted.words()?, wanted.before, wanted.limit(20, 50)).await?;
    Ok(done(&json!({ "messages": found.messages, "cursor": found.cursor, "complete": found.complete })))
}
