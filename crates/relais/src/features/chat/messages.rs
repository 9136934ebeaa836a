//! Messages: writing, reading, editing and deleting them.

use std::collections::BTreeSet;

use relais_protocol::event::Position;
use relais_protocol::time::Timestamp;
use relais_store::{Query, ReadTx, StoreError, WriteTx};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::blocks::check_partner;
use super::model::{Kind, Message, Read, Role};
use super::people::Me;
use super::refusal::{checked_words, conflict, invalid, no_conversation, no_message, not_allowed};
use super::service::{Chat, topic};
use super::store;
use super::store::conversations::Place;
use super::store::messages::MessageRow;
use super::told::retell;
use super::words::stored;
use crate::AppError;
use crate::aliases::Aliased;
use crate::id::new_id;

/// The longest name that a client may give a message, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Attachments of one message at most, and the longest reference in bytes.
const ATTACHMENTS_MAX: usize = 20;
const REFERENCE_BYTES_MAX: usize = 200;
/// Bytes of the digest of what was asked for under a `client_id`.
const DIGEST_BYTES: usize = 16;
/// Readers of a message that it shows: the first. The others are asked for.
pub(super) const READERS_SHOWN: usize = 10;
/// Ids of members that are looked at in one go.
const MEMBERS_AT_ONCE: usize = 100;
/// Conversations whose messages are noted as delivered in one transaction; further ones follow in the next.
const DELIVERED_AT_ONCE: usize = 200;

/// A message to be sent.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// What the sender's program calls it: sending the same one again makes no second message, for ever. Also
    /// `clientId`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Members that it mentions; others are left out.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// References to uploads.
    #[serde(default)]
    pub attachments: Vec<String>,
}

impl Aliased for NewMessage {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("client_id", &["clientId"])];
}

/// A message that is stored.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// The place of its event in the conversation's topic; absent if it was there already.
    pub position: Option<Position>,
    /// Whether it had been sent before.
    pub duplicate: bool,
}

/// Which part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The last ones.
    Last,
    /// Those before a number.
    Before(u64),
    /// Those after a number.
    After(u64),
}

impl Chat {
    /// Stores a message, then tells the members.
    ///
    /// # Errors
    /// 400 for a text that is empty or too long, 404 if the sender is not in the conversation, 409 if the client's
    /// name for it was used for another message.
    pub async fn send(&self, me: &Me, conversation_id: &str, new: NewMessage) -> Result<Sent, AppError> {
        let content = checked_words(
            "content",
            &new.content,
            self.0.config.message_bytes_max,
            !new.attachments.is_empty(),
        )?;
        check_names(&new)?;
        let (chat, sender, typed_in) = (self.clone(), me.id().to_owned(), conversation_id.to_owned());
        let (me, conversation_id) = (me.clone(), conversation_id.to_owned());
        let event_topic = topic(&conversation_id)?;
        let sent = self
            .0
            .store
            .write(move |tx| {
                let (conversation, place) = own(tx, &conversation_id, me.id())?;
                if let Some(client_id) = &new.client_id
                    && let Some(row) = store::messages::find_sent(tx, me.id(), client_id)?
                {
                    return sent_before(tx, row, &conversation_id, &content, &new);
                }
                check_partner(tx, &conversation_id, conversation.kind, me.id())?;
                let asked = Asked::of(&content, &new);
                let row = chat.new_row(tx, &me, &conversation_id, content, new)?;
                store::conversations::count_unread(tx, &conversation_id, me.id())?;
                if place.unread == 0 {
                    // What one has written oneself one has read.
                    store::conversations::move_read(tx, &conversation_id, me.id(), row.number)?;
                }
                let digest = row.client_id.as_ref().map(|_| asked.digest(&row.id));
                let message = seen(row.clone(), &[]);
                let mut data = begin(me.id(), &conversation);
                data["message"] = json!(message);
                let emitted = tx.emit(&event_topic, "new_message", data.to_string())?;
                store::messages::insert(tx, &row, digest.as_deref(), emitted.seq)?;
                store::search::index(tx, row.key, &stored(&row.content))?;
                Ok(Sent { message, position: Some(emitted.position), duplicate: false })
            })
            .await?;
        self.end_typing(&typed_in, &sender);
        Ok(sent)
    }

    fn new_row(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        conversation_id: &str,
        content: String,
        new: NewMessage,
    ) -> Result<MessageRow, AppError> {
        let now = tx.now();
        let delivered_at = self.reaches_anybody(tx, conversation_id, me.id())?.then_some(now);
        Ok(MessageRow {
            key: store::messages::next_key(tx)?,
            id: new_id(now),
            conversation_id: conversation_id.to_owned(),
            number: store::conversations::count_message(tx, conversation_id, now)?,
            sender: me.person.clone(),
            client_id: new.client_id,
            content,
            mentions: mentioned(tx, conversation_id, &new.mentions)?,
            attachments: new.attachments.join("\n"),
            created_at: now,
            delivered_at,
            edited_at: None,
            deleted_at: None,
        })
    }

    /// Whether a device of another member is connected.
    fn reaches_anybody(
        &self,
        tx: &mut WriteTx<'_>,
        conversation_id: &str,
        me: &str,
    ) -> Result<bool, StoreError> {
        let mut after = String::new();
        loop {
            let some = store::conversations::member_ids(tx, conversation_id, &after, MEMBERS_AT_ONCE)?;
            if self.0.devices.any_connected(some.iter().map(String::as_str).filter(|id| *id != me)) {
                return Ok(true);
            }
            match some.last() {
                Some(last) if some.len() == MEMBERS_AT_ONCE => after.clone_from(last),
                _ => return Ok(false),
            }
        }
    }

    /// A part of a conversation, the oldest message first. Whoever fetches messages has received them, and their senders
    /// are told.
    ///
    /// # Errors
    /// 404 if one is not in the conversation.
    pub async fn messages(
        &self,
        me: &Me,
        conversation_id: &str,
        part: Part,
        limit: usize,
    ) -> Result<Vec<Message>, AppError> {
        let (id, wanted) = (me.person.id.clone(), conversation_id.to_owned());
        let read = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            own(tx, &wanted, &id)?;
            Ok::<_, AppError>(part_of(tx, &wanted, part, limit)?)
        });
        let messages = read.await?;
        let is_new = |message: &&Message| message.sender_id != me.id() && message.delivered_at.is_none();
        let (first, last) = (messages.iter().find(is_new), messages.iter().rfind(is_new));
        let (Some(first), Some(last)) = (first, last) else { return Ok(messages) };
        let (id, wanted) = (me.person.id.clone(), conversation_id.to_owned());
        let (after, up_to) = (first.number - 1, last.number);
        let noted = self.0.store.write(move |tx| {
            deliver(tx, &id, &wanted, after, up_to)?;
            Ok::<_, AppError>(part_of(tx, &wanted, part, limit)?)
        });
        // What is there can be read even if nothing can be written.
        Ok(noted.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "that messages were received could not be noted");
            messages
        }))
    }

    /// Marks the messages of others up to `up_to`, or all, as read, and tells the others. Says how many there were.
    ///
    /// # Errors
    /// 404 if one is not in the conversation.
    pub async fn mark_read(
        &self,
        me: &Me,
        conversation_id: &str,
        up_to: Option<u64>,
    ) -> Result<u64, AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        let (event_topic, own_topic) = (topic(&conversation_id)?, me.topic.clone());
        self.0
            .store
            .write(move |tx| {
                let (conversation, place) = own(tx, &conversation_id, &id)?;
                let read_to = up_to.unwrap_or(conversation.messages).min(conversation.messages);
                if place.unread == 0 || read_to <= place.read_to {
                    return Ok(0);
                }
                let left = store::messages::count_of_others(tx, &conversation_id, &id, read_to)?;
                store::conversations::set_read(tx, &conversation_id, &id, read_to, left)?;
                store::messages::set_delivered(tx, &conversation_id, &id, 0, read_to)?;
                let count = place.unread.saturating_sub(left);
                if count > 0 {
                    let mut data = begin(&id, &conversation);
                    data["user_id"] = id.as_str().into();
                    data["read_at"] = json!(tx.now());
                    data["up_to"] = read_to.into();
                    data["count"] = count.into();
                    // Whom no message shows among its readers changes nothing for the others.
                    let shown = store::reads::others(tx, &conversation_id, &id, read_to, READERS_SHOWN + 1)?
                        <= READERS_SHOWN;
                    let told_in = if shown { &event_topic } else { &own_topic };
                    tx.emit(told_in, "messages_read", data.to_string())?;
                }
                Ok(count)
            })
            .await
    }

    /// Who has read a message, its sender aside, in the order of their ids after `after`; and how many there are.
    ///
    /// # Errors
    /// 404 if there is none for one.
    pub async fn reads(
        &self,
        me: &Me,
        message_id: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<Read>, u64), AppError> {
        let (id, message_id, after) = (me.person.id.clone(), message_id.to_owned(), after.to_owned());
        let found = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let row = store::messages::find(tx, &message_id)?.ok_or_else(no_message)?;
            own(tx, &row.conversation_id, &id).map_err(|_| no_message())?;
            let count = store::reads::count_readers(tx, &row.conversation_id, row.number, &row.sender.id)?;
            let part =
                store::reads::readers(tx, &row.conversation_id, row.number, &row.sender.id, &after, limit)?;
            Ok::<_, AppError>((part, count))
        });
        let (part, count) = found.await?;
        Ok((part.into_iter().map(|row| Read { user_id: row.user_id, read_at: row.read_at }).collect(), count))
    }

    /// Replaces the text of one's own message. Without `mentions` those that it has stay.
    ///
    /// # Errors
    /// 400 for the text, 403 if somebody else wrote it, 404 if there is none or it was deleted.
    pub async fn edit(
        &self,
        me: &Me,
        message_id: &str,
        content: &str,
        mentions: Option<Vec<String>>,
    ) -> Result<Message, AppError> {
        let content = checked_words("content", content, self.0.config.message_bytes_max, false)?;
        let (id, message_id) = (me.person.id.clone(), message_id.to_owned());
        self.0
            .store
            .write(move |tx| {
                let (row, kind, _) = writable(tx, &message_id, &id)?;
                if row.sender.id != id {
                    return Err(not_allowed("Seul l'auteur d'un message peut le modifier"));
                }
                check_partner(tx, &row.conversation_id, kind, &id)?;
                let mentions = match &mentions {
                    Some(wanted) => mentioned(tx, &row.conversation_id, wanted)?,
                    None => row.mentions.clone(),
                };
                store::messages::edit(tx, &row.id, &content, &mentions, tx.now())?;
                if store::search::forget(tx, row.key)? {
                    store::search::index(tx, row.key, &stored(&content))?;
                }
                changed(tx, &id, &row, "message_edited")
            })
            .await
    }

    /// Deletes one's own message, or as the owner of a group anybody's. A tombstone without content stays.
    ///
    /// # Errors
    /// 403 if one may not, 404 if there is none or it was deleted.
    pub async fn delete(&self, me: &Me, message_id: &str) -> Result<Message, AppError> {
        let (id, message_id) = (me.person.id.clone(), message_id.to_owned());
        self.0
            .store
            .write(move |tx| {
                let (row, _, place) = writable(tx, &message_id, &id)?;
                if row.sender.id != id && place.role != Role::Owner {
                    return Err(not_allowed("Seul l'auteur d'un message peut le supprimer"));
                }
                store::messages::delete(tx, &row.id, tx.now())?;
                store::search::forget(tx, row.key)?;
                store::conversations::uncount_unread(tx, &row.conversation_id, &row.sender.id, row.number)?;
                changed(tx, &id, &row, "message_deleted")
            })
            .await
    }

    /// A device of this person is here: what waits for it counts as delivered, and its senders are told.
    ///
    /// # Errors
    /// What the database reports.
    pub(super) async fn note_delivered(&self, me: &Me) -> Result<(), AppError> {
        loop {
            let reader = me.person.id.clone();
            let waiting =
                self.0.store.read(move |tx| store::messages::undelivered(tx, &reader, DELIVERED_AT_ONCE));
            let waiting: Vec<(String, u64)> =
                waiting.await.map_err(|error: StoreError| AppError::from(error))?;
            let last = waiting.len() < DELIVERED_AT_ONCE;
            if !waiting.is_empty() {
                self.set_delivered(me, waiting).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// What others wrote in these conversations, each up to a number, counts as delivered, and they are told.
    async fn set_delivered(&self, me: &Me, waiting: Vec<(String, u64)>) -> Result<(), AppError> {
        let id = me.person.id.clone();
        self.0
            .store
            .write(move |tx| {
                for (conversation_id, up_to) in waiting {
                    deliver(tx, &id, &conversation_id, 0, up_to)?;
                }
                Ok(())
            })
            .await
    }
}

/// Messages of others after a number, up to another, have reached somebody: their senders are told.
fn deliver(
    tx: &mut WriteTx<'_>,
    id: &str,
    conversation_id: &str,
    after: u64,
    up_to: u64,
) -> Result<(), AppError> {
    if store::messages::set_delivered(tx, conversation_id, id, after, up_to)? > 0 {
        let data = json!({
            "by": id, "conversation_id": conversation_id, "user_id": id, "from": after + 1, "up_to": up_to,
            "delivered_at": tx.now(),
        });
        tx.emit(&topic(conversation_id)?, "messages_delivered", data.to_string())?;
    }
    Ok(())
}

fn part_of(
    tx: &mut impl Query,
    conversation_id: &str,
    part: Part,
    limit: usize,
) -> Result<Vec<Message>, StoreError> {
    let rows = match part {
        Part::After(number) => store::messages::after(tx, conversation_id, number, limit)?,
        Part::Last | Part::Before(_) => {
            let end = if let Part::Before(number) = part { number } else { i64::MAX.unsigned_abs() };
            let mut rows = store::messages::before(tx, conversation_id, end, limit)?;
            rows.reverse();
            rows
        }
    };
    described(tx, rows)
}

/// How the data of an event in a conversation begins. That of a group has the id under both names that clients know
/// it by, and is told from one of two people by that.
pub(super) fn begin(by: &str, conversation: &store::conversations::ConversationRow) -> Value {
    let mut data = json!({ "by": by, "conversation_id": conversation.id });
    if conversation.kind == Kind::Group {
        data["group_id"] = conversation.id.as_str().into();
    }
    data
}

/// What was asked for under a `client_id`.
struct Asked(Sha256);

impl Asked {
    fn of(content: &str, new: &NewMessage) -> Self {
        let mut digest = Sha256::new();
        for part in [&[content.to_owned()], &*new.mentions, &*new.attachments] {
            digest.update(part.len().to_le_bytes());
            for text in part {
                digest.update(text.len().to_le_bytes());
                digest.update(text);
            }
        }
        Self(digest)
    }

    /// As it is stored with the message, whose id makes equal texts differ.
    fn digest(self, message_id: &str) -> String {
        hex::encode(&self.0.chain_update(message_id).finalize()[..DIGEST_BYTES])
    }
}

/// One's place in a conversation.
pub(super) fn own(
    tx: &mut impl Query,
    conversation_id: &str,
    user_id: &str,
) -> Result<(store::conversations::ConversationRow, Place), AppError> {
    store::conversations::find_of(tx, conversation_id, user_id)?.ok_or_else(no_conversation)
}

/// A message that is there, for somebody who is in its conversation.
fn writable(
    tx: &mut WriteTx<'_>,
    message_id: &str,
    user_id: &str,
) -> Result<(MessageRow, Kind, Place), AppError> {
    let row = store::messages::find(tx, message_id)?.filter(|row| row.deleted_at.is_none());
    let row = row.ok_or_else(no_message)?;
    let (conversation, place) = own(tx, &row.conversation_id, user_id).map_err(|_| no_message())?;
    Ok((row, conversation.kind, place))
}

/// Tells that a message is not what it was.
fn changed(tx: &mut WriteTx<'_>, by: &str, row: &MessageRow, name: &str) -> Result<Message, AppError> {
    let row = store::messages::find(tx, &row.id)?.ok_or_else(no_message)?;
    retell(tx, &row)?;
    let (key, conversation_id) = (row.key, row.conversation_id.clone());
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message)?;
    let data = json!({
        "by": by, "conversation_id": conversation_id, "message_id": message.id, "message": message,
    });
    let emitted = tx.emit(&topic(&conversation_id)?, name, data.to_string())?;
    match message.deleted_at {
        None => store::told::add(tx, &message.id, emitted.seq)?,
        Some(_) => store::told::forget(tx, key)?,
    }
    Ok(message)
}

/// The message that the sender's program calls so, if it is the one that it sends again.
fn sent_before(
    tx: &mut WriteTx<'_>,
    row: MessageRow,
    conversation_id: &str,
    content: &str,
    new: &NewMessage,
) -> Result<Sent, AppError> {
    let is_same = match store::messages::client_digest(tx, row.key)? {
        Some(digest) => digest == Asked::of(content, new).digest(&row.id),
        // Of a message that is gone nothing tells what it was.
        None => row.edited_at.is_some() || row.deleted_at.is_some() || row.content == content,
    };
    if row.conversation_id != conversation_id || !is_same {
        let message =
            "« client_id » a déjà servi pour un autre message : un nouveau message en prend un nouveau";
        return Err(conflict("client_id_in_use", message).with("message_id", row.id));
    }
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message)?;
    Ok(Sent { message, position: None, duplicate: true })
}

fn check_names(new: &NewMessage) -> Result<(), AppError> {
    if let Some(client_id) = &new.client_id
        && (client_id.is_empty()
            || client_id.len() > CLIENT_ID_BYTES_MAX
            || client_id.chars().any(char::is_control))
    {
        let message =
            format!("« client_id » : de 1 à {CLIENT_ID_BYTES_MAX} octets, sans caractère de contrôle");
        return Err(invalid("client_id", message));
    }
    let wrong = |text: &String| {
        text.is_empty() || text.len() > REFERENCE_BYTES_MAX || text.chars().any(char::is_control)
    };
    if new.attachments.len() > ATTACHMENTS_MAX || new.attachments.iter().any(wrong) {
        let message =
            format!("« attachments » : au plus {ATTACHMENTS_MAX} références de {REFERENCE_BYTES_MAX} octets");
        return Err(invalid("attachments", message));
    }
    Ok(())
}

/// Those of the mentioned who are members, one per line.
fn mentioned(tx: &mut WriteTx<'_>, conversation_id: &str, mentions: &[String]) -> Result<String, StoreError> {
    let wanted: BTreeSet<&str> = mentions.iter().map(String::as_str).collect();
    let mut ids = Vec::new();
    for id in wanted {
        if store::conversations::is_member(tx, conversation_id, id)? {
            ids.push(id);
        }
    }
    Ok(ids.join("\n"))
}

/// Messages of one conversation in order of their numbers, either way, with who has read them.
pub(super) fn described(tx: &mut impl Query, rows: Vec<MessageRow>) -> Result<Vec<Message>, StoreError> {
    let numbers = rows.iter().map(|row| row.number);
    let (Some(first), Some(last)) = (numbers.clone().min(), numbers.max()) else { return Ok(Vec::new()) };
    let reads = store::reads::of_part(tx, &rows[0].conversation_id, first, last)?;
    let seen_by = |row: MessageRow| {
        let mut by: Vec<Read> = Vec::new();
        // In order of time: the first mark of each member that covers the message counts.
        for read in reads.iter().filter(|read| read.up_to >= row.number && read.user_id != row.sender.id) {
            if !by.iter().any(|known| known.user_id == read.user_id) {
                by.push(Read { user_id: read.user_id.clone(), read_at: read.read_at });
            }
            if by.len() == READERS_SHOWN {
                break;
            }
        }
        seen(row, &by)
    };
    Ok(rows.into_iter().map(seen_by).collect())
}

pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn seen(row: MessageRow, read_by: &[Read]) -> Message {
    let read_at: Option<Timestamp> = read_by.first().map(|read| read.read_at);
    Message {
        id: row.id,
        conversation_id: row.conversation_id,
        number: row.number,
        sender_id: row.sender.id.clone(),
        sender: row.sender,
        content: row.content,
        kind: "text",
        is_read: read_at.is_some(),
        read_by: read_by.to_vec(),
        delivered_at: row.delivered_at,
        read_at,
        created_at: row.created_at,
        timestamp: row.created_at,
        edited_at: row.edited_at,
        deleted_at: row.deleted_at,
        client_id: row.client_id,
        mentions: lines(&row.mentions),
        attachments: lines(&row.attachments),
    }
}
