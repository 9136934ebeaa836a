//! Concurrent messages are written in one batch: what must be known about them is read in a few statements, and the
//! changes are written in a few.
//!
//! Each is accepted or rejected before anything is written, in the order of arrival, as if it had a transaction of its
//! own: it sees the messages before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use relais_protocol::event::Topic;
use relais_store::{StoreError, WriteTx};
use serde::Serialize;

use super::blocks::check_between;
use super::messages::seen;
use super::model::{Kind, Message};
use super::people::Me;
use super::refusal::no_conversation;
use super::sending::{Asked, NewMessage, Sent, mentioned, name_in_use, sent_before};
use super::service::Chat;
use super::store;
use super::store::conversations::{Added, ConversationRow, Place, WithMembers};
use super::store::messages::{Addition, MessageRow};
use crate::AppError;
use crate::auth::Permit;
use crate::id::new_id;

/// Members of a conversation read at once.
const MEMBERS_AT_ONCE: usize = 100;
/// Maximum number of members whose rows are written one by one; with more, one statement updates the unread counts.
const PLACES_MAX: usize = 8;

/// A message being sent.
pub(super) struct Posted {
    pub(super) chat: Chat,
    pub(super) me: Me,
    pub(super) conversation_id: String,
    pub(super) topic: Topic,
    /// The validated text.
    pub(super) content: String,
    pub(super) new: NewMessage,
}

/// The data of a message's event. For a group it contains the id under both names that clients know.
#[derive(Serialize)]
struct MessageData<'a> {
    by: &'a str,
    conversation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    message: &'a Message,
}

/// Writes messages and publishes them to the members. The results are in the order of `all`.
pub(super) fn post(tx: &mut WriteTx<'_>, all: &[Posted]) -> Result<Vec<Result<Sent, AppError>>, AppError> {
    let permits: Vec<Permit> = all.iter().map(|posted| posted.me.permit()).collect();
    let stands = Permit::stand_each(tx, &permits)?;
    let mut post = Post::prepare(tx, all)?;
    let mut results = Vec::with_capacity(all.len());
    for (number, (posted, stands)) in all.iter().zip(stands).enumerate() {
        let result = match stands {
            Ok(()) => post.take_in(tx, number, posted)?,
            Err(refused) => Err(refused),
        };
        if result.is_ok() {
            let (chat, me) = (posted.chat.clone(), posted.me.id().to_owned());
            let conversation_id = posted.conversation_id.clone();
            tx.after_events(move || chat.end_typing(&conversation_id, &me));
        }
        results.push(result);
    }
    post.write(tx)?;
    Ok(results)
}

/// Blocks between users, by direct conversation.
type Blocks<'a> = HashMap<&'a str, Vec<(String, String)>>;

/// A conversation to which messages are posted.
struct Room {
    row: ConversationRow,
    /// Memberships by user: the first members, and any other senders.
    places: BTreeMap<String, Place>,
    /// Whether these are all members.
    is_complete: bool,
    /// The last member that was read.
    last_seen: Option<String>,
    added: u64,
    /// The senders.
    posted_by: BTreeSet<String>,
}

/// What is known about the messages, and what is to be written.
struct Post<'a> {
    rooms: HashMap<&'a str, Room>,
    /// Messages already sent before, by index.
    before: HashMap<usize, MessageRow>,
    /// Blocks between users, for the direct conversations.
    blocks: Blocks<'a>,
    next_key: u64,
    /// The client ids of the messages in this batch.
    names: HashMap<(&'a str, &'a str), usize>,
    additions: Vec<Addition>,
}

impl<'a> Post<'a> {
    fn prepare(tx: &mut WriteTx<'_>, all: &'a [Posted]) -> Result<Self, StoreError> {
        let ids: BTreeSet<&str> = all.iter().map(|posted| &*posted.conversation_id).collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let found = store::conversations::find_each(tx, &ids, MEMBERS_AT_ONCE)?;
        let rooms: HashMap<&str, Room> =
            ids.into_iter().zip(found).filter_map(|(id, found)| Some((id, Room::new(found?)))).collect();
        let named: Vec<(usize, (&str, &str))> = all
            .iter()
            .enumerate()
            .filter_map(|(number, posted)| Some((number, (posted.me.id(), posted.new.client_id.as_deref()?))))
            .collect();
        let names: Vec<(&str, &str)> = named.iter().map(|(_, name)| *name).collect();
        let sent = store::messages::find_sent_each(tx, &names)?;
        let before = named.iter().zip(sent).filter_map(|((number, _), row)| Some((*number, row?))).collect();
        let blocks = blocks_of(tx, &rooms)?;
        let next_key = store::messages::next_key(tx)?;
        Ok(Self { rooms, before, blocks, next_key, names: HashMap::new(), additions: Vec::new() })
    }

    /// Accepts or rejects one message; its writes are deferred.
    fn take_in(
        &mut self,
        tx: &mut WriteTx<'_>,
        number: usize,
        posted: &'a Posted,
    ) -> Result<Result<Sent, AppError>, StoreError> {
        let me = posted.me.id();
        let Some(room) = self.rooms.get_mut(&*posted.conversation_id) else {
            return Ok(Err(no_conversation()));
        };
        if !room.find_place(tx, me)? {
            return Ok(Err(no_conversation()));
        }
        if let Some(row) = self.before.remove(&number) {
            return sent_before(tx, row, posted);
        }
        if let Some(name) = posted.new.client_id.as_deref()
            && let Some(earlier) = self.names.get(&(me, name))
        {
            return Ok(sent_just_now(&self.additions[*earlier], posted));
        }
        if let (Kind::Direct, Some(partner)) = (room.row.kind, room.partner_of(me))
            && let Some(blocks) = self.blocks.get(&*posted.conversation_id)
            && let Err(refused) = check_between(blocks, me, partner)
        {
            return Ok(Err(refused));
        }
        let row = room.new_row(tx, self.next_key, posted)?;
        self.next_key += 1;
        if let Some(name) = posted.new.client_id.as_deref() {
            self.names.insert((me, name), self.additions.len());
        }
        let client_digest =
            posted.new.client_id.as_ref().map(|_| Asked::of(&posted.content, &posted.new).digest(&row.id));
        let message = seen(row.clone(), &[]);
        let group_id = (room.row.kind == Kind::Group).then_some(&*room.row.id);
        let data = MessageData { by: me, conversation_id: &room.row.id, group_id, message: &message };
        let data = serde_json::to_string(&data).map_err(|error| StoreError::Value(error.to_string()))?;
        let emitted = tx.emit(&posted.topic, "new_message", data)?;
        self.additions.push(Addition { row, client_digest, seq: emitted.seq });
        Ok(Ok(Sent { message, position: Some(emitted.position), duplicate: false }))
    }

    fn write(self, tx: &mut WriteTx<'_>) -> Result<(), StoreError> {
        if self.additions.is_empty() {
            return Ok(());
        }
        store::messages::insert_all(tx, &self.additions)?;
        let mut rooms: Vec<&Room> = self.rooms.values().filter(|room| room.added > 0).collect();
        rooms.sort_by(|one, other| one.row.id.cmp(&other.row.id));
        let added: Vec<Added<'_>> = rooms.into_iter().map(Room::changes).collect();
        let now = tx.now();
        store::conversations::count_messages(tx, &added, now)
    }
}

/// Blocks between users, by direct conversation.
fn blocks_of<'a>(tx: &mut WriteTx<'_>, rooms: &HashMap<&'a str, Room>) -> Result<Blocks<'a>, StoreError> {
    let direct: Vec<(&'a str, (&str, &str))> = rooms
        .iter()
        .filter(|(_, room)| room.row.kind == Kind::Direct)
        .filter_map(|(id, room)| {
            let mut people = room.places.keys();
            Some((*id, (&**people.next()?, &**people.next()?)))
        })
        .collect();
    let pairs: Vec<(&str, &str)> = direct.iter().map(|(_, pair)| *pair).collect();
    let blocks = store::blocks::between_each(tx, &pairs)?;
    Ok(direct.iter().map(|(id, _)| *id).zip(blocks).collect())
}

impl Room {
    fn new((row, members): WithMembers) -> Self {
        let is_complete = members.len() < MEMBERS_AT_ONCE;
        let last_seen = members.last().map(|(id, _)| id.clone());
        let places = members.into_iter().collect();
        Self { row, places, is_complete, last_seen, added: 0, posted_by: BTreeSet::new() }
    }

    /// Whether a user is a member.
    fn find_place(&mut self, tx: &mut WriteTx<'_>, user_id: &str) -> Result<bool, StoreError> {
        if self.places.contains_key(user_id) || self.is_complete {
            return Ok(self.places.contains_key(user_id));
        }
        let Some((_, mut place)) = store::conversations::find_of(tx, &self.row.id, user_id)? else {
            return Ok(false);
        };
        // The messages before this one count, although they are not written yet.
        place.unread += self.added;
        self.places.insert(user_id.to_owned(), place);
        Ok(true)
    }

    fn partner_of(&self, user_id: &str) -> Option<&str> {
        self.places.keys().map(String::as_str).find(|id| *id != user_id)
    }

    /// Assigns the number of a new message and updates everyone's unread count.
    fn count(&mut self, sender_id: &str) -> u64 {
        self.row.messages += 1;
        self.added += 1;
        self.posted_by.insert(sender_id.to_owned());
        for (user_id, place) in &mut self.places {
            if user_id != sender_id {
                place.unread += 1;
            } else if place.unread == 0 {
                // A sender has read their own message.
                place.read_to = self.row.messages;
            }
        }
        self.row.messages
    }

    fn new_row(&mut self, tx: &mut WriteTx<'_>, key: u64, posted: &Posted) -> Result<MessageRow, StoreError> {
        let (now, new) = (tx.now(), &posted.new);
        let delivered_at = self.reaches_anybody(tx, posted)?.then_some(now);
        Ok(MessageRow {
            key,
            id: new_id(now),
            conversation_id: posted.conversation_id.clone(),
            number: self.count(posted.me.id()),
            sender: posted.me.person.clone(),
            client_id: new.client_id.clone(),
            content: posted.content.clone(),
            mentions: mentioned(tx, &posted.conversation_id, &new.mentions)?,
            attachments: new.attachments.join("\n"),
            created_at: now,
            delivered_at,
            edited_at: None,
            deleted_at: None,
        })
    }

    /// Whether a device of another member is connected.
    fn reaches_anybody(&self, tx: &mut WriteTx<'_>, posted: &Posted) -> Result<bool, StoreError> {
        let (devices, me) = (&posted.chat.0.devices, posted.me.id());
        if devices.any_connected(self.places.keys().map(String::as_str).filter(|id| *id != me)) {
            return Ok(true);
        }
        let mut after = self.last_seen.clone().filter(|_| !self.is_complete);
        while let Some(last) = &after {
            let some = store::conversations::member_ids(tx, &self.row.id, last, MEMBERS_AT_ONCE)?;
            if devices.any_connected(some.iter().map(String::as_str).filter(|id| *id != me)) {
                return Ok(true);
            }
            after = some.last().filter(|_| some.len() == MEMBERS_AT_ONCE).cloned();
        }
        Ok(false)
    }

    fn changes(&self) -> Added<'_> {
        let each = self.is_complete && self.places.len() <= PLACES_MAX;
        let is_written = |user_id: &str| each || self.posted_by.contains(user_id);
        let places = self.places.iter().filter(|(user_id, _)| is_written(user_id));
        Added {
            conversation_id: &self.row.id,
            messages: self.row.messages,
            unread: if each { 0 } else { self.added },
            places: places.map(|(user_id, place)| (&**user_id, *place)).collect(),
        }
    }
}

/// A message of this batch that its client sends again.
fn sent_just_now(earlier: &Addition, posted: &Posted) -> Result<Sent, AppError> {
    let row = &earlier.row;
    let digest = Asked::of(&posted.content, &posted.new).digest(&row.id);
    if row.conversation_id != posted.conversation_id || earlier.client_digest.as_ref() != Some(&digest) {
        return Err(name_in_use(&row.id));
    }
    Ok(Sent { message: seen(row.clone(), &[]), position: None, duplicate: true })
}
