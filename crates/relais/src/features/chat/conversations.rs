//! Conversations: direct ones, and groups.

use relais_protocol::event::{Cursor, Topic};
use relais_protocol::time::Timestamp;
use relais_store::{Query, ReadTx, StoreError, WriteTx};
use serde_json::{Value, json};

use super::blocks::Apart;
use super::carriers;
use super::expansion::MEMBER_JOINED;
use super::invitations::{PENDING_MAX, check_room};
use super::messages::own;
use super::model::{Conversation, Invitation, Kind, LastMessage, Member, Person, Role};
use super::people::{Me, topic_of};
use super::presence::JOINED;
use super::refusal::{checked_name, invalid, no_conversation, no_person};
use super::service::{Chat, topic};
use super::store;
use super::store::conversations::{ConversationRow, MemberRow, Place};
use crate::AppError;
use crate::id::new_id;
use crate::said::{Said, said};

/// Conversations, and invitations, per page: the maximum and the default.
pub(super) const LISTED_MAX: usize = 500;
/// Maximum size of a small group: its members are listed in the conversation and see each other's presence. The members
/// of larger ones are fetched in pages.
pub(super) const SMALL_GROUP_MAX: u64 = 20;
/// Maximum number of members of a group.
pub(super) const MEMBERS_MAX: u64 = 1_000;
/// The maximum length of a group's name, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 200;

/// A user's conversations, with their position in the log: they stay current by applying the events after it.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The conversations, the most recently active first; on the first page, they are followed by pending invitations
    /// sent by the user.
    pub conversations: Vec<Conversation>,
    /// The position of this state in the log.
    pub cursor: Cursor,
    /// The start of the next page, if there is one.
    pub next: Option<String>,
    /// Number of conversations on all pages.
    pub total: u64,
    /// Number of unread messages in them.
    pub unread_total: u64,
}

/// The requested part of a list of conversations.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Direct conversations or groups; all if absent.
    pub kind: Option<Kind>,
    /// The `next` of an earlier reply.
    pub after: Option<String>,
    /// Maximum number of entries, if fewer than the default.
    pub limit: Option<usize>,
}

/// The rows of one conversation.
struct Known {
    row: ConversationRow,
    place: Place,
    /// Empty for a large group.
    members: Vec<MemberRow>,
    last: Option<LastMessage>,
}

fn known(tx: &mut impl Query, row: ConversationRow, place: Place) -> Result<Known, StoreError> {
    let members = shown_members(tx, &row)?;
    let last = store::messages::before(tx, &row.id, i64::MAX.unsigned_abs(), 1)?.pop();
    let last = last.map(|message| {
        let is_read = store::reads::is_read(tx, &row.id, message.number, &message.sender.id)?;
        Ok::<_, StoreError>(LastMessage {
            id: message.id,
            sender_id: message.sender.id,
            content: message.content,
            timestamp: message.created_at,
            is_read,
        })
    });
    Ok(Known { row, place, members, last: last.transpose()? })
}

/// The members listed in a conversation.
fn shown_members(tx: &mut impl Query, row: &ConversationRow) -> Result<Vec<MemberRow>, StoreError> {
    match row.members <= SMALL_GROUP_MAX {
        true => store::conversations::members(tx, &row.id),
        false => Ok(Vec::new()),
    }
}

impl Chat {
    /// A user's conversations, and the invitations that they have sent.
    ///
    /// # Errors
    /// A database error.
    pub async fn overview(&self, me: &Me, part: Listing) -> Result<Overview, AppError> {
        let id = me.person.id.clone();
        let after = part.after.as_deref().map(listed).transpose()?;
        let limit = part.limit.unwrap_or(LISTED_MAX).clamp(1, LISTED_MAX);
        let read = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let cursor = tx.cursor()?;
            let mut rows = store::conversations::list_of(tx, &id, part.kind, after.as_ref(), limit + 1)?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            let next =
                rows.last().filter(|_| more).map(|(_, _, (at, id))| format!("{}.{id}", at.as_millis()));
            let all = rows.into_iter().map(|(row, place, _)| known(tx, row, place));
            let all = all.collect::<Result<Vec<_>, StoreError>>()?;
            let totals = store::conversations::totals_of(tx, &id, part.kind)?;
            let is_first = after.is_none() && part.kind != Some(Kind::Group);
            let sent = if is_first { store::invitations::sent(tx, &id, LISTED_MAX)? } else { Vec::new() };
            let apart = Apart::of(tx, &id)?;
            Ok::<_, StoreError>((cursor, next, totals, all, sent, apart))
        });
        let (cursor, next, (total, unread_total), all, sent, apart) = read.await?;
        let mut conversations: Vec<Conversation> =
            all.into_iter().map(|known| self.seen_by(me.id(), known, &apart)).collect();
        conversations.extend(sent.into_iter().map(|(invitation, to, last_seen)| Conversation {
            id: invitation.id,
            kind: Kind::Direct,
            name: String::new(),
            participant: Some(apart.seen(self.contact(to, last_seen))),
            participants: Vec::new(),
            member_count: None,
            last_message: None,
            status: "pending",
            unread_count: 0,
            created_at: invitation.created_at,
        }));
        Ok(Overview { conversations, cursor, next, total, unread_total })
    }

    /// One conversation.
    ///
    /// # Errors
    /// 404 if the user is not a member.
    pub async fn conversation(&self, me: &Me, conversation_id: &str) -> Result<Conversation, AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        let read = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let (row, place) = own(tx, &conversation_id, &id)?;
            Ok::<_, AppError>((known(tx, row, place)?, Apart::of(tx, &id)?))
        });
        let (known, apart) = read.await?;
        Ok(self.seen_by(me.id(), known, &apart))
    }

    fn seen_by(&self, viewer: &str, known: Known, apart: &Apart) -> Conversation {
        let Known { row, place, members, last } = known;
        let participants: Vec<Member> = members
            .into_iter()
            .map(|member| Member {
                contact: apart.seen(self.contact(member.person, member.last_seen)),
                role: member.role,
            })
            .collect();
        let other = participants.iter().find(|member| member.contact.person.id != viewer);
        Conversation {
            participant: other.filter(|_| row.kind == Kind::Direct).map(|member| member.contact.clone()),
            id: row.id,
            kind: row.kind,
            name: row.name,
            member_count: large(row.members),
            participants,
            last_message: last,
            status: "accepted",
            unread_count: place.unread,
            created_at: row.created_at,
        }
    }

    /// Creates a group with its owner as the only member, and invites the others. All or nothing.
    ///
    /// # Errors
    /// 400 for the name or more users than invitations may be pending, 404 if one of them does not exist, 409 if too
    /// many invitations are pending or the user owns too many groups.
    pub async fn create_group(
        &self,
        me: &Me,
        name: &str,
        members: &[String],
    ) -> Result<(Conversation, Vec<Invitation>), AppError> {
        let name = checked_name("name", name, NAME_BYTES_MAX)?;
        if members.len() as u64 > MEMBERS_MAX {
            return Err(invalid("member_ids", group_full()));
        }
        // Clients include the user themselves, and duplicates.
        let mut guests = Vec::new();
        for member in members {
            let id = self.know(member).await.map_err(|error| error.with("user_id", member.as_str()))?;
            if id != me.id() && !guests.contains(&id) {
                guests.push(id);
            }
        }
        if guests.len() > PENDING_MAX {
            let message = said!(
                "Au plus {PENDING_MAX} personnes invitées à la fois, pas {} : invitez les autres quand des réponses \
                 seront là",
                "At most {PENDING_MAX} people can be invited at once, not {}: invite the others when some have answered",
                guests.len()
            );
            return Err(invalid("member_ids", message));
        }
        let (chat, me) = (self.clone(), me.clone());
        me.permit()
            .write(&self.0.store, move |tx| {
                chat.check_owned(tx, me.id())?;
                check_room(tx, me.id(), guests.len())?;
                let row = new_conversation(tx, Kind::Group, name);
                store::conversations::insert(tx, &row, None, me.id())?;
                store::conversations::add_member(tx, &row.id, me.id(), Role::Owner, 0)?;
                let group = chat.publish_joined(tx, &row.id, &me.person, None)?;
                let invite = |to: &String| chat.send_invitation(tx, &me, to, "", Some(&row.id));
                Ok((group, guests.iter().map(invite).collect::<Result<_, _>>()?))
            })
            .await
    }

    /// Checks that a user may own one more group: every connection of theirs subscribes to all of them.
    fn check_owned(&self, tx: &mut impl Query, user_id: &str) -> Result<(), AppError> {
        let (owned, max) = (store::conversations::count_owned(tx, user_id)?, self.0.config.groups_owned_max);
        if owned < u64::from(max) {
            return Ok(());
        }
        let message = said!(
            "Déjà {owned} groupes à vous, au plus {max} : quittez-en un, ou servez-vous de l'un d'eux",
            "You already own {owned} groups, at most {max}: leave one, or use one of them"
        );
        Err(AppError::conflict("too_many_groups", message).with("owned", owned))
    }

    /// The members of a group in the order in which they joined: the first ones, or those after a given member; and the
    /// total number.
    ///
    /// # Errors
    /// 404 if the user is not a member, it is not a group, or the member to continue after is not in it.
    pub async fn members_of(
        &self,
        me: &Me,
        group_id: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Member>, u64), AppError> {
        let (id, group_id) = (me.person.id.clone(), group_id.to_owned());
        let after = after.map(str::to_owned);
        let read = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let (row, _) = own(tx, &group_id, &id)?;
            if row.kind != Kind::Group {
                return Err(no_conversation());
            }
            let place = match &after {
                Some(member) => {
                    store::conversations::joined_at(tx, &group_id, member)?.ok_or_else(no_person)?
                }
                None => Timestamp::from_millis(i64::MIN),
            };
            let after = after.as_deref().unwrap_or_default();
            let members = store::conversations::members_after(tx, &group_id, place, after, limit)?;
            Ok((members, row.members, Apart::of(tx, &id)?))
        });
        let (members, count, apart) = read.await?;
        let seen = |member: MemberRow| Member {
            contact: apart.seen(self.contact(member.person, member.last_seen)),
            role: member.role,
        };
        Ok((members.into_iter().map(seen).collect(), count))
    }

    /// The id of the direct conversation of two users, created if it does not exist. Publishes nothing.
    pub(super) fn begin_direct(
        &self,
        tx: &mut WriteTx<'_>,
        created_by: &str,
        other: &str,
    ) -> Result<String, AppError> {
        let pair = pair(created_by, other);
        if let Some(id) = store::conversations::find_pair(tx, &pair)? {
            return Ok(id);
        }
        let row = new_conversation(tx, Kind::Direct, String::new());
        store::conversations::insert(tx, &row, Some(&pair), created_by)?;
        store::conversations::add_member(tx, &row.id, created_by, Role::Member, 0)?;
        store::conversations::add_member(tx, &row.id, other, Role::Member, 0)?;
        Ok(row.id)
    }

    /// Adds a user to a group; they and the other members are notified.
    pub(super) fn join_group(
        &self,
        tx: &mut WriteTx<'_>,
        id: &str,
        person: &Person,
        invitation_id: &str,
    ) -> Result<Conversation, AppError> {
        if !store::conversations::is_member(tx, id, &person.id)? {
            let (messages, members) = store::conversations::counts(tx, id)?.ok_or_else(no_conversation)?;
            if members >= MEMBERS_MAX {
                return Err(invalid("group_id", group_full()));
            }
            store::conversations::add_member(tx, id, &person.id, Role::Member, messages)?;
        }
        self.publish_joined(tx, id, person, Some(invitation_id))
    }

    /// Notifies the members of a new one, and the new member's devices to subscribe from there on. The stored events
    /// are short, even for a large group; [`expanded`](super::expansion::expanded) completes them.
    fn publish_joined(
        &self,
        tx: &mut WriteTx<'_>,
        id: &str,
        person: &Person,
        invitation_id: Option<&str>,
    ) -> Result<Conversation, AppError> {
        let (row, place) = own(tx, id, &person.id)?;
        let mut data = json!({ "by": person.id, "user": without_id(person) });
        let mut seen = json!({ "name": row.name, "created_at": row.created_at });
        match large(row.members) {
            Some(count) => (data["member_count"], seen["member_count"]) = (count.into(), count.into()),
            None => seen["participants"] = json!(named(&shown_members(tx, &row)?)),
        }
        if let Some(invitation_id) = invitation_id {
            data["invitation_id"] = invitation_id.into();
        }
        let emitted = tx.emit(&topic(id)?, MEMBER_JOINED, data.to_string())?;
        let mut data =
            json!({ "conversation_id": id, "since": since(tx, emitted.seq), "conversation": seen });
        match invitation_id {
            Some(invitation_id) => data["invitation_id"] = invitation_id.into(),
            // The creator was not invited.
            None => data["created"] = true.into(),
        }
        let own_topic = topic_of(tx, &person.id)?;
        tx.emit(&own_topic, JOINED, data.to_string())?;
        let apart = Apart::of(tx, &person.id)?;
        Ok(self.seen_by(&person.id, known(tx, row, place)?, &apart))
    }

    /// Notifies a user that they are in a conversation from the event `seq` on, with the conversation as they see it.
    pub(super) fn publish_new_conversation(
        &self,
        tx: &mut WriteTx<'_>,
        id: &str,
        viewer: &str,
        seq: u64,
    ) -> Result<Conversation, AppError> {
        let conversation = self.view(tx, id, viewer)?;
        let data = json!({ "conversation_id": id, "conversation": conversation, "since": since(tx, seq) });
        let own_topic = topic_of(tx, viewer)?;
        let emitted = tx.emit(&own_topic, JOINED, data.to_string())?;
        carriers::note(tx, emitted.seq, &conversation)?;
        Ok(conversation)
    }

    /// A conversation as one of its members sees it.
    pub(super) fn view(
        &self,
        tx: &mut WriteTx<'_>,
        id: &str,
        viewer: &str,
    ) -> Result<Conversation, AppError> {
        let (row, place) = own(tx, id, viewer)?;
        let apart = Apart::of(tx, viewer)?;
        Ok(self.seen_by(viewer, known(tx, row, place)?, &apart))
    }

    /// The topics of all conversations that a user is a member of.
    ///
    /// # Errors
    /// A database error.
    pub async fn heard(&self, me: &Me) -> Result<Vec<Topic>, AppError> {
        let id = me.person.id.clone();
        let ids = self.0.store.read(move |tx| store::conversations::ids_of(tx, &id)).await;
        let ids: Vec<String> = ids.map_err(|error: StoreError| AppError::from(error))?;
        ids.iter().map(|id| topic(id)).collect()
    }
}

fn group_full() -> Said {
    said!("Un groupe a au plus {MEMBERS_MAX} membres", "A group has at most {MEMBERS_MAX} members")
}

/// Parses a position in the list from an earlier reply.
fn listed(text: &str) -> Result<store::conversations::Listed, AppError> {
    let place = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    let (at, id) = place.ok_or_else(|| {
        invalid(
            "after",
            said!("« after » : le « next » d'une réponse", "\"after\": the \"next\" of an answer"),
        )
    })?;
    Ok((Timestamp::from_millis(at), id))
}

/// The position before an event.
fn since(tx: &WriteTx<'_>, seq: u64) -> String {
    Cursor { epoch: tx.epoch(), seq: seq.saturating_sub(1) }.to_string()
}

/// The number of members, for a conversation that does not list them.
pub(super) fn large(members: u64) -> Option<u64> {
    (members > SMALL_GROUP_MAX).then_some(members)
}

/// The members without presence, which is not stored.
pub(super) fn named(members: &[MemberRow]) -> Vec<Value> {
    let named = |member: &MemberRow| {
        let mut fields = json!(member.person);
        fields["role"] = json!(member.role);
        fields
    };
    members.iter().map(named).collect()
}

fn without_id(person: &Person) -> Value {
    json!({ "firstname": person.firstname, "lastname": person.lastname, "email": person.email })
}

fn new_conversation(tx: &WriteTx<'_>, kind: Kind, name: String) -> ConversationRow {
    ConversationRow { id: new_id(tx.now()), kind, name, created_at: tx.now(), messages: 0, members: 0 }
}

/// A user's membership of a group; a direct conversation is rejected.
pub(super) fn group(tx: &mut impl Query, id: &str, user_id: &str) -> Result<Place, AppError> {
    match own(tx, id, user_id)? {
        (row, place) if row.kind == Kind::Group => Ok(place),
        _ => Err(no_conversation()),
    }
}

/// The ids of two users in a fixed order, so that they have one conversation regardless of who started it.
pub(super) fn pair(one: &str, other: &str) -> String {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    format!("{first}\n{second}")
}
