//! Groups.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::super::model::{Conversation, Invitation, Kind, Member};
use super::super::refusal::{invalid, required};
use super::conversations::listed;
use super::invitations::NewInvitation;
use super::{Body, Here, ListPart, PartById, body, done};
use crate::AppError;
use crate::aliases::{Aliased, United};
use crate::said::said;

/// Members of one answer: the maximum of a group.
const MEMBERS_LISTED: usize = 1_000;

/// A group to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewGroup {
    /// What it is called.
    name: String,
    /// Who is asked in at once, by id or e-mail address, 200 at most; also `memberIds`.
    #[serde(default)]
    member_ids: Vec<String>,
}

impl Aliased for NewGroup {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("member_ids", &["memberIds"])];
}

/// The new name of a group.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GroupName {
    /// What it is called.
    name: String,
}

/// One's groups
#[utoipa::path(get, path = "/groups", tag = "chat", params(ListPart), responses(
    (status = 200, description = "`data.groups`, and the rest as `/api/chat/conversations`", body = Vec<Conversation>),
    (status = 400, description = "`invalid_value`: `after` is not the `next` of an answer")))]
pub(super) async fn list_groups(
    here: Here,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let overview = here.chat.overview(&here.me, ListPart::read(query, Some(Kind::Group))?).await?;
    Ok(done(&listed("groups", &overview)))
}

/// Make a group, and own it
///
/// Those of `member_ids` are asked in: they are members when they accept.
#[utoipa::path(post, path = "/groups", tag = "chat", request_body = NewGroup, responses(
    (status = 201, description = "`data.group_id`, `data.group`, `data.invitations`", body = Conversation),
    (status = 400, description = "`invalid_value`"),
    (status = 404, description = "`user_not_found`, with `user_id`; there is no group then"),
    (status = 409, description = "`too_many_invitations`: with them more than 200 would wait; `waiting` says how many do. `too_many_groups`: one owns as many as `chat.groups_owned_max` says; `owned` says how many")))]
pub(super) async fn create_group(
    here: Here,
    given: Body<United<NewGroup>>,
) -> Result<(StatusCode, Json<Value>), AppError> {
    let United(new) = body(given)?;
    let (group, invitations) = here.chat.create_group(&here.me, &new.name, &new.member_ids).await?;
    let data = json!({
        "group_id": group.id, "conversation_id": group.id, "group": group, "conversation": group,
        "invitations": invitations,
    });
    Ok((StatusCode::CREATED, done(&data)))
}

/// Who is in a group
///
/// All of them, unless `limit` says otherwise; `after` the id of the last of an earlier part.
#[utoipa::path(get, path = "/groups/{id}/members", tag = "chat",
    params(("id" = String, Path), PartById), responses(
    (status = 200, description = "`data.members`, in the order in which they came; `data.member_count`: how many there are", body = Vec<Member>),
    (status = 404, description = "`conversation_not_found`; `user_not_found`: who is named by `after` is not in it")))]
pub(super) async fn list_members(
    here: Here,
    Path(id): Path<String>,
    query: Result<Query<PartById>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let part = PartById::read(query)?;
    let limit = part.limit.unwrap_or(MEMBERS_LISTED).clamp(1, MEMBERS_LISTED);
    let (members, count) = here.chat.members_of(&here.me, &id, part.after.as_deref(), limit).await?;
    Ok(done(&json!({ "group_id": id, "members": members, "member_count": count })))
}

/// Invitations to a group that wait
///
/// Of all members, the oldest first.
#[utoipa::path(get, path = "/groups/{id}/pending-invitations", tag = "chat",
    params(("id" = String, Path), ListPart), responses(
    (status = 200, description = "`data.invitations`, each with `to_user`; `data.next`, `data.total`", body = Vec<Invitation>),
    (status = 404, description = "`conversation_not_found`")))]
pub(super) async fn list_invitations_of_group(
    here: Here,
    Path(id): Path<String>,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let waiting = here.chat.invitations_of(&here.me, &id, ListPart::read(query, None)?).await?;
    let mut data = json!(waiting);
    data["group_id"] = id.into();
    Ok(done(&data))
}

/// Give a group another name
///
/// Also by PATCH.
#[utoipa::path(put, path = "/groups/{id}", tag = "chat", params(("id" = String, Path)),
    request_body = GroupName, responses(
    (status = 200, description = "`data.group`", body = Conversation),
    (status = 403, description = "`forbidden`: one does not own it"),
    (status = 404, description = "`conversation_not_found`")))]
pub(super) async fn rename_group(
    here: Here,
    Path(id): Path<String>,
    given: Body<GroupName>,
) -> Result<Json<Value>, AppError> {
    let group = here.chat.rename_group(&here.me, &id, &body(given)?.name).await?;
    Ok(done(&json!({ "group": group, "conversation": group })))
}

/// Ask somebody into a group
#[utoipa::path(post, path = "/groups/{id}/invite", tag = "chat", params(("id" = String, Path)),
    request_body = NewInvitation, responses(
    (status = 201, description = "`data.invitation_id`, `data.invitation`", body = Invitation),
    (status = 404, description = "`user_not_found`, `conversation_not_found`"),
    (status = 409, description = "`already_member`, `already_invited`")))]
pub(super) async fn invite_to_group(
    here: Here,
    Path(id): Path<String>,
    given: Body<United<NewInvitation>>,
) -> Result<(StatusCode, Json<Value>), AppError> {
    let United(new) = body(given)?;
    if new.group_id.is_some_and(|named| named != id) {
        let message = said!(
            "« group_id » n'est pas le groupe de l'adresse",
            "\"group_id\" is not the group of the address"
        );
        return Err(invalid("group_id", message));
    }
    let sent = here.chat.invite(&here.me, &new.to_user_id, &new.message, Some(&id)).await?;
    Ok((StatusCode::CREATED, done(&json!({ "invitation_id": sent.id, "invitation": sent }))))
}

/// Ask somebody into the group that the body names
#[utoipa::path(post, path = "/group-invitations", tag = "chat", request_body = NewInvitation, responses(
    (status = 201, description = "As `/api/chat/groups/{id}/invite`", body = Invitation)))]
pub(super) async fn create_group_invitation(
    here: Here,
    given: Body<United<NewInvitation>>,
) -> Result<(StatusCode, Json<Value>), AppError> {
    let United(new) = body(given)?;
    let group_id = new.group_id.ok_or_else(|| required("group_id"))?;
    let sent = here.chat.invite(&here.me, &new.to_user_id, &new.message, Some(&group_id)).await?;
    Ok((StatusCode::CREATED, done(&json!({ "invitation_id": sent.id, "invitation": sent }))))
}

/// Invitations to groups that wait for one's answer
///
/// Also at `/api/chat/group-invitations/pending` and `/api/chat/groups/invitations/pending`.
#[utoipa::path(get, path = "/group-invitations", tag = "chat", params(ListPart), responses(
    (status = 200, description = "`data.invitations`, the oldest first; `data.next`, `data.total`", body = Vec<Invitation>)))]
pub(super) async fn list_group_invitations(
    here: Here,
    query: Result<Query<ListPart>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    let waiting = here.chat.invitations(&here.me, true, ListPart::read(query, None)?).await?;
    Ok(done(&json!(waiting)))
}

/// Leave a group
#[utoipa::path(post, path = "/groups/{id}/leave", tag = "chat", params(("id" = String, Path)), responses(
    (status = 200, description = "One is out; if one was the last owner, the oldest member is now"),
    (status = 404, description = "`conversation_not_found`")))]
pub(super) async fn leave_group(here: Here, Path(id): Path<String>) -> Result<Json<Value>, AppError> {
    here.chat.remove_member(&here.me, &id, here.me.id()).await?;
    Ok(done(&json!({ "group_id": id })))
}

/// Take somebody out of a group
#[utoipa::path(delete, path = "/groups/{id}/members/{user_id}", tag = "chat",
    params(("id" = String, Path), ("user_id" = String, Path)), responses(
    (status = 200, description = "They neither read nor hear it any more"),
    (status = 403, description = "`forbidden`: one does not own it"),
    (status = 404, description = "`conversation_not_found`, `user_not_found`")))]
pub(super) async fn remove_member(
    here: Here,
    Path((id, user_id)): Path<(String, String)>,
) -> Result<Json<Value>, AppError> {
    here.chat.remove_member(&here.me, &id, &user_id).await?;
    Ok(done(&json!({ "group_id": id, "user_id": user_id })))
}
