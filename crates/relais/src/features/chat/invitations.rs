//! Invitations: to a direct conversation, and to a group.

use relais_protocol::event::Topic;
use relais_store::{StoreError, WriteTx};
use serde::Serialize;
use serde_json::{Value, json};

use super::blocks::{Wish, check_welcome};
use super::carriers;
use super::conversations::{LISTED_MAX, Listing, group, pair};
use super::expansion::INVITED;
use super::model::{Conversation, Invitation, Person};
use super::people::{Me, topic_of};
use super::refusal::{checked_words, invalid, no_invitation};
use super::service::{Chat, topic};
use super::store;
use super::store::invitations::NewInvitation;
use crate::AppError;
use crate::id::new_id;
use crate::said::said;

/// The maximum length of the message of an invitation, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// Maximum number of pending invitations sent by one user.
pub(super) const PENDING_MAX: usize = 200;

/// The answer to an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Accept,
    /// No.
    Reject,
}

impl Answer {
    /// # Errors
    /// 400 if it is neither.
    pub fn parse(text: &str) -> Result<Self, AppError> {
        match text {
            "accept" => Ok(Self::Accept),
            "reject" => Ok(Self::Reject),
            other => {
                let message = said!(
                    "Action « {other} » inconnue : accept ou reject attendu",
                    "Unknown action \"{other}\": accept or reject expected"
                );
                Err(invalid("action", message))
            }
        }
    }
}

/// Invitations waiting for the user's answer.
#[derive(Clone, Debug, Serialize)]
pub struct Waiting {
    /// The oldest first.
    pub invitations: Vec<Invitation>,
    /// The start of the next page, if there is one.
    pub next: Option<String>,
    /// Number of invitations on all pages.
    pub total: u64,
}

impl Waiting {
    /// A page of the invitations `found`: one more than its `limit`, if there are more.
    fn page(mut found: Vec<Invitation>, limit: usize, total: u64) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|last| last.id.clone());
        Self { invitations: found, next, total }
    }
}

/// The invitation after which a page starts, and its maximum number of entries.
fn place(part: Listing) -> (String, usize) {
    (part.after.unwrap_or_default(), part.limit.unwrap_or(LISTED_MAX).clamp(1, LISTED_MAX))
}

impl Chat {
    /// Invites a user to a direct conversation, or to a group that the sender is a member of.
    ///
    /// # Errors
    /// 400 for oneself, 404 if the user or group does not exist, 409 if they already share the conversation or an
    /// invitation is pending.
    pub async fn invite(
        &self,
        me: &Me,
        to: &str,
        message: &str,
        group_id: Option<&str>,
    ) -> Result<Invitation, AppError> {
        let message = checked_words("message", message, MESSAGE_BYTES_MAX, true)?;
        let to = self.know(to).await?;
        if to == me.id() {
            let message = said!("On ne peut pas s'inviter soi-même", "Nobody can invite themselves");
            return Err(invalid("to_user_id", message));
        }
        let (chat, me, group_id) = (self.clone(), me.clone(), group_id.map(str::to_owned));
        me.permit()
            .write(&self.0.store, move |tx| chat.send_invitation(tx, &me, &to, &message, group_id.as_deref()))
            .await
    }

    /// Invitations waiting for the user's answer, the oldest first: to direct conversations, or to groups. `after` and
    /// `limit` are taken from `part`.
    ///
    /// # Errors
    /// A database error.
    pub async fn invitations(&self, me: &Me, to_groups: bool, part: Listing) -> Result<Waiting, AppError> {
        let id = me.person.id.clone();
        let (after, limit) = place(part);
        let read = self.0.store.read(move |tx| {
            let found = store::invitations::received(tx, &id, to_groups, &after, limit + 1)?;
            let total = store::invitations::count_received(tx, &id, to_groups)?;
            Ok::<_, StoreError>(Waiting::page(found, limit, total))
        });
        read.await.map_err(AppError::from)
    }

    /// Pending invitations to a group, the oldest first, with the invited users. Visible to members. `after` and
    /// `limit` are taken from `part`.
    ///
    /// # Errors
    /// 404 if the user is not a member of the group.
    pub async fn invitations_of(&self, me: &Me, group_id: &str, part: Listing) -> Result<Waiting, AppError> {
        let (id, group_id) = (me.person.id.clone(), group_id.to_owned());
        let (after, limit) = place(part);
        self.0
            .store
            .read(move |tx| {
                group(tx, &group_id, &id)?;
                let found = store::invitations::to_group(tx, &group_id, &after, limit + 1)?;
                let total = store::invitations::count_to_group(tx, &group_id)?;
                Ok(Waiting::page(found, limit, total))
            })
            .await
    }

    /// Answers an invitation. Accepting it starts the conversation, or adds the user to the group. Idempotent:
    /// repeating the answer gives the same result.
    ///
    /// # Errors
    /// 404 if it is not addressed to the user, 409 if it was answered otherwise, or cancelled.
    pub async fn respond(&self, me: &Me, id: &str, answer: Answer) -> Result<Option<Conversation>, AppError> {
        let (chat, me, id) = (self.clone(), me.clone(), id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let invitation = own_invitation(tx, &id, |invitation| invitation.to_user_id == me.id())?;
                if invitation.status != "pending" {
                    return chat.answered_before(tx, &me, &invitation, answer);
                }
                let asker = topic_of(tx, &invitation.from_user_id)?;
                if answer == Answer::Reject {
                    carriers::withdraw(tx, &id, "rejected")?;
                    let data = json!({ "by": me.id(), "invitation_id": id });
                    tx.emit(&asker, "invitation_rejected", data.to_string())?;
                    tx.emit(&me.topic, "invitation_answered", answered(&id, "rejected", None).to_string())?;
                    return Ok(None);
                }
                let mine = match &invitation.group_id {
                    Some(group_id) => chat.join_group(tx, group_id, &me.person, &id)?,
                    None => chat.begin(tx, &invitation.from_user_id, &me.person)?,
                };
                store::invitations::settle(tx, &id, "accepted", Some(&mine.id))?;
                chat.publish_accepted(tx, &me, &asker, &invitation, &mine.id)?;
                Ok(Some(mine))
            })
            .await
    }

    /// The result of an answer to an invitation already answered.
    fn answered_before(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        invitation: &Invitation,
        answer: Answer,
    ) -> Result<Option<Conversation>, AppError> {
        match (&*invitation.status, answer, &invitation.group_id) {
            ("rejected", Answer::Reject, _) => Ok(None),
            // A user who has left the group since gets its id.
            ("accepted", Answer::Accept, Some(id)) => match self.view(tx, id, me.id()) {
                Ok(conversation) => Ok(Some(conversation)),
                Err(_) => Err(settled(invitation)),
            },
            _ => Err(settled(invitation)),
        }
    }

    /// Withdraws a pending invitation. Idempotent.
    ///
    /// # Errors
    /// 404 if the user has not sent it, 409 if it was answered.
    pub async fn cancel_invitation(&self, me: &Me, id: &str) -> Result<(), AppError> {
        let (me, id) = (me.clone(), id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let invitation = own_invitation(tx, &id, |invitation| invitation.from_user_id == me.id())?;
                match &*invitation.status {
                    "pending" => {}
                    "cancelled" => return Ok(()),
                    _ => return Err(settled(&invitation)),
                }
                carriers::withdraw(tx, &id, "cancelled")?;
                let data = json!({ "by": me.id(), "invitation_id": id }).to_string();
                let asked = topic_of(tx, &invitation.to_user_id)?;
                tx.emit(&asked, "invitation_cancelled", data.clone())?;
                tx.emit(&me.topic, "invitation_cancelled", data)?;
                Ok(())
            })
            .await
    }

    /// Sends an invitation to a known user.
    pub(super) fn send_invitation(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        to: &str,
        message: &str,
        group_id: Option<&str>,
    ) -> Result<Invitation, AppError> {
        check_new(tx, me, to, group_id)?;
        let (id, pending) = (new_id(tx.now()), pending(me.id(), to, group_id));
        let new = NewInvitation { id: &id, from: me.id(), to, group_id, message, pending: &pending };
        store::invitations::insert(tx, &new)?;
        let invitation = store::invitations::find(tx, &id)?.ok_or_else(no_invitation)?;
        self.publish_invited(tx, me, &invitation)?;
        Ok(invitation)
    }

    /// Notifies the invited user, and the sender's devices, which show it as pending. For an invitation to a group only
    /// the first event is stored, in a short form ([`expanded`](super::expansion::expanded)).
    fn publish_invited(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        invitation: &Invitation,
    ) -> Result<(), AppError> {
        let asked = topic_of(tx, &invitation.to_user_id)?;
        let Some(group_id) = &invitation.group_id else {
            let data = json!({ "by": me.id(), "invitation": invitation });
            let told = tx.emit(&asked, INVITED, data.to_string())?;
            store::invitations::set_carrier(tx, &invitation.id, told.seq)?;
            tx.emit(&me.topic, "invitation_sent", data.to_string())?;
            return Ok(());
        };
        let mut short = json!({
            "id": invitation.id, "to_user_id": invitation.to_user_id, "created_at": invitation.created_at,
            "from_user": invitation.from_user, "group_id": group_id, "group_name": invitation.group_name,
        });
        if !invitation.message.is_empty() {
            short["message"] = invitation.message.as_str().into();
        }
        let told = tx.emit(&asked, INVITED, json!({ "invitation": short }).to_string())?;
        store::invitations::set_carrier(tx, &invitation.id, told.seq)?;
        let data = json!({
            "by": me.id(), "group_id": group_id, "group_name": invitation.group_name, "invitation": invitation,
        });
        self.publish_ephemeral(tx, &me.topic, "invitation_sent", &data, &invitation.id);
        Ok(())
    }

    /// Notifies the sender, and the user's other devices, that an invitation is accepted. For a group this is not
    /// stored: the stored event is that of the new member.
    fn publish_accepted(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        asker: &Topic,
        invitation: &Invitation,
        conversation_id: &str,
    ) -> Result<(), AppError> {
        let id = &*invitation.id;
        let mut data = json!({
            "by": me.id(), "invitation_id": id, "conversation_id": conversation_id, "participant_id": me.id(),
            "user_id": me.id(),
        });
        let answered = answered(id, "accepted", Some(conversation_id));
        if let Some(group_id) = &invitation.group_id {
            data["group_id"] = group_id.as_str().into();
            self.publish_ephemeral(tx, asker, "invitation_accepted", &data, id);
            self.publish_ephemeral(tx, &me.topic, "invitation_answered", &answered, id);
            return Ok(());
        }
        let theirs = self.view(tx, conversation_id, &invitation.from_user_id).ok();
        data["conversation"] = json!(theirs);
        let emitted = tx.emit(asker, "invitation_accepted", data.to_string())?;
        if let Some(theirs) = &theirs {
            carriers::note(tx, emitted.seq, theirs)?;
        }
        tx.emit(&me.topic, "invitation_answered", answered.to_string())?;
        Ok(())
    }

    /// Notifies connected clients, after the stored events, of what others learn from another event.
    fn publish_ephemeral(
        &self,
        tx: &mut WriteTx<'_>,
        topic: &Topic,
        name: &'static str,
        data: &Value,
        key: &str,
    ) {
        let (chat, topic, data, key) = (self.clone(), topic.clone(), data.to_string(), key.to_owned());
        tx.after_events(move || chat.publish_latest(topic, name, data.into(), &key));
    }

    /// Starts the direct conversation of two users, and notifies both.
    fn begin(&self, tx: &mut WriteTx<'_>, asker: &str, accepter: &Person) -> Result<Conversation, AppError> {
        let id = self.begin_direct(tx, asker, &accepter.id)?;
        let data = json!({ "by": accepter.id, "conversation_id": id });
        let begun = tx.emit(&topic(&id)?, "conversation_begun", data.to_string())?;
        self.publish_new_conversation(tx, &id, asker, begun.seq)?;
        self.publish_new_conversation(tx, &id, &accepter.id, begun.seq)
    }
}

fn answered(id: &str, status: &str, conversation_id: Option<&str>) -> Value {
    json!({ "invitation_id": id, "status": status, "conversation_id": conversation_id })
}

/// The key of a pending invitation, which prevents duplicates.
fn pending(from: &str, to: &str, group_id: Option<&str>) -> String {
    match group_id {
        Some(group_id) => format!("{to}\n{group_id}"),
        None => format!("{from}\n{to}\n"),
    }
}

fn check_new(tx: &mut WriteTx<'_>, me: &Me, to: &str, group_id: Option<&str>) -> Result<(), AppError> {
    check_welcome(tx, me.id(), to, Wish::Invite)?;
    check_room(tx, me.id(), 1)?;
    if let Some(group_id) = group_id {
        group(tx, group_id, me.id())?;
        if store::conversations::find_of(tx, group_id, to)?.is_some() {
            let message =
                said!("Cette personne est déjà dans le groupe", "This person is already in the group");
            return Err(AppError::conflict("already_member", message).with("conversation_id", group_id));
        }
    } else if let Some(id) = store::conversations::find_pair(tx, &pair(me.id(), to))? {
        let message = said!(
            "Une conversation avec cette personne existe déjà",
            "There is already a conversation with this person"
        );
        return Err(AppError::conflict("already_in_conversation", message).with("conversation_id", id));
    }
    if let Some(id) = store::invitations::find_pending(tx, &pending(me.id(), to, group_id))? {
        let message = said!(
            "Une invitation à cette personne est déjà en attente",
            "An invitation of this person is already waiting"
        );
        return Err(AppError::conflict("already_invited", message).with("invitation_id", id));
    }
    if group_id.is_none()
        && let Some(id) = store::invitations::find_pending(tx, &pending(to, me.id(), None))?
    {
        let message = said!(
            "Cette personne vous a déjà invité : répondez à son invitation",
            "This person has already invited you: answer their invitation"
        );
        return Err(AppError::conflict("invited_by_them", message).with("invitation_id", id));
    }
    Ok(())
}

/// Whether a user may have this many more pending invitations.
///
/// # Errors
/// 409 if not.
pub(super) fn check_room(tx: &mut WriteTx<'_>, from: &str, more: usize) -> Result<(), AppError> {
    let waiting = store::invitations::count_sent(tx, from)?;
    if waiting.saturating_add(more as u64) <= PENDING_MAX as u64 {
        return Ok(());
    }
    let message = said!(
        "Déjà {waiting} invitations en attente, au plus {PENDING_MAX} : annulez-en, ou attendez des réponses",
        "Already {waiting} invitations are waiting, at most {PENDING_MAX}: cancel some, or wait for answers"
    );
    Err(AppError::conflict("too_many_invitations", message).with("waiting", waiting))
}

/// An invitation that the user may settle.
fn own_invitation(
    tx: &mut WriteTx<'_>,
    id: &str,
    is_own: impl Fn(&Invitation) -> bool,
) -> Result<Invitation, AppError> {
    store::invitations::find(tx, id)?.filter(is_own).ok_or_else(no_invitation)
}

/// The state of a settled invitation and the conversation it led to, where a client continues that answers after
/// another device, or after a lost reply.
fn settled(invitation: &Invitation) -> AppError {
    let message = match &*invitation.status {
        "cancelled" => said!("Cette invitation a été annulée", "This invitation was cancelled"),
        _ => said!("Cette invitation a déjà reçu une réponse", "This invitation was already answered"),
    };
    let refusal =
        AppError::conflict("invitation_settled", message).with("status", invitation.status.as_str());
    match &invitation.group_id {
        Some(id) if invitation.status == "accepted" => refusal.with("conversation_id", id.as_str()),
        _ => refusal,
    }
}
