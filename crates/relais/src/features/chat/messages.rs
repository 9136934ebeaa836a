//! Messages: writing, reading, editing and deleting them.

use std::collections::BTreeSet;

use relais_protocol::event::Position;
use relais_protocol::time::Timestamp;
use relais_store::{Query, ReadTx, StoreError, WriteTx};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::model::{Message, Read, Role};
use super::people::Me;
use super::refusal::{checked_text, conflict, invalid, no_conversation, no_message, not_allowed};
use super::search::fold;
use super::service::{Chat, topic};
use super::store;
use super::store::conversations::{MemberRow, Place};
use super::store::messages::MessageRow;
use crate::AppError;
use crate::id::new_id;

/// The longest name that a client may give a message, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Attachments of one message at most, and the longest reference in bytes.
const ATTACHMENTS_MAX: usize = 20;
const REFERENCE_BYTES_MAX: usize = 200;
/// Conversations that are told at once that their messages arrived.
const DELIVERED_AT_ONCE: usize = 1_000;

/// A message to be sent.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// What the sender's program calls it: sending the same one again makes no second message, for ever.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Members that it mentions; others are left out.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// References to uploads.
    #[serde(default)]
    pub attachments: Vec<String>,
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
    /// name for it was used in another conversation.
    pub async fn send(&self, me: &Me, conversation_id: &str, new: NewMessage) -> Result<Sent, AppError> {
        let content = checked_text(
            "content",
            &new.content,
            self.0.config.message_bytes_max,
            !new.attachments.is_empty(),
        )?;
        check_names(&new)?;
        let (chat, me, conversation_id) = (self.clone(), me.clone(), conversation_id.to_owned());
        let event_topic = topic(&conversation_id)?;
        self.0
            .store
            .write(move |tx| {
                let (_, place) = own(tx, &conversation_id, me.id())?;
                if let Some(client_id) = &new.client_id
                    && let Some(row) = store::messages::find_sent(tx, me.id(), client_id)?
                {
                    return sent_before(tx, row, &conversation_id);
                }
                let members = store::conversations::members(tx, &conversation_id)?;
                let row = chat.new_row(tx, &me, &conversation_id, content, new, &members)?;
                store::messages::insert(tx, &row)?;
                store::search::index(tx, row.key, &fold(&row.content))?;
                store::conversations::count_unread(tx, &conversation_id, me.id())?;
                if place.unread == 0 {
                    // What one has written oneself one has read.
                    store::conversations::move_read(tx, &conversation_id, me.id(), row.number)?;
                }
                let message = seen(row, &[]);
                let data = json!({ "by": me.id(), "conversation_id": conversation_id, "message": message });
                let emitted = tx.emit(&event_topic, "new_message", data.to_string())?;
                Ok(Sent { message, position: Some(emitted.position), duplicate: false })
            })
            .await
    }

    fn new_row(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        conversation_id: &str,
        content: String,
        new: NewMessage,
        members: &[MemberRow],
    ) -> Result<MessageRow, AppError> {
        let now = tx.now();
        let others = members.iter().map(|member| &*member.person.id).filter(|id| *id != me.id());
        let delivered_at = self.0.devices.any_connected(others).then_some(now);
        Ok(MessageRow {
            key: store::messages::next_key(tx)?,
            id: new_id(now),
            conversation_id: conversation_id.to_owned(),
            number: store::conversations::count_message(tx, conversation_id, now)?,
            sender: me.person.clone(),
            client_id: new.client_id,
            content,
            mentions: mentioned(&new.mentions, members),
            attachments: new.attachments.join("\n"),
            created_at: now,
            delivered_at,
            edited_at: None,
            deleted_at: None,
        })
    }

    /// A part of a conversation, the oldest message first.
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
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        self.0
            .store
            .read(move |tx: &mut ReadTx<'_>| {
                own(tx, &conversation_id, &id)?;
                let rows = match part {
                    Part::After(number) => store::messages::after(tx, &conversation_id, number, limit)?,
                    Part::Last | Part::Before(_) => {
                        let end =
                            if let Part::Before(number) = part { number } else { i64::MAX.unsigned_abs() };
                        let mut rows = store::messages::before(tx, &conversation_id, end, limit)?;
                        rows.reverse();
                        rows
                    }
                };
                Ok(described(tx, rows)?)
            })
            .await
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
        let event_topic = topic(&conversation_id)?;
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
                store::messages::set_delivered(tx, &conversation_id, &id, read_to)?;
                let count = place.unread.saturating_sub(left);
                if count > 0 {
                    let data = json!({
                        "by": id, "conversation_id": conversation_id, "user_id": id, "read_at": tx.now(),
                        "up_to": read_to, "count": count,
                    });
                    tx.emit(&event_topic, "messages_read", data.to_string())?;
                }
                Ok(count)
            })
            .await
    }

    /// Replaces the text of one's own message.
    ///
    /// # Errors
    /// 400 for the text, 403 if somebody else wrote it, 404 if there is none or it was deleted.
    pub async fn edit(
        &self,
        me: &Me,
        message_id: &str,
        content: &str,
        mentions: &[String],
    ) -> Result<Message, AppError> {
        let content = checked_text("content", content, self.0.config.message_bytes_max, false)?;
        let (id, message_id, mentions) = (me.person.id.clone(), message_id.to_owned(), mentions.to_vec());
        self.0
            .store
            .write(move |tx| {
                let (row, _) = writable(tx, &message_id, &id)?;
                if row.sender.id != id {
                    return Err(not_allowed("Seul l'auteur d'un message peut le modifier"));
                }
                let members = store::conversations::members(tx, &row.conversation_id)?;
                store::messages::edit(tx, &row.id, &content, &mentioned(&mentions, &members), tx.now())?;
                store::search::forget(tx, row.key)?;
                store::search::index(tx, row.key, &fold(&content))?;
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
                let (row, place) = writable(tx, &message_id, &id)?;
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
        let id = me.person.id.clone();
        let reader = id.clone();
        let waiting =
            self.0.store.read(move |tx| store::messages::undelivered(tx, &reader, DELIVERED_AT_ONCE));
        let waiting: Vec<(String, u64)> = waiting.await.map_err(|error: StoreError| AppError::from(error))?;
        if waiting.is_empty() {
            return Ok(());
        }
        self.0
            .store
            .write(move |tx| {
                for (conversation_id, up_to) in waiting {
                    if store::messages::set_delivered(tx, &conversation_id, &id, up_to)? > 0 {
                        let data = json!({
                            "by": id, "conversation_id": conversation_id, "user_id": id, "up_to": up_to,
                            "delivered_at": tx.now(),
                        });
                        tx.emit(&topic(&conversation_id)?, "messages_delivered", data.to_string())?;
                    }
                }
                Ok(())
            })
            .await
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
fn writable(tx: &mut WriteTx<'_>, message_id: &str, user_id: &str) -> Result<(MessageRow, Place), AppError> {
    let row = store::messages::find(tx, message_id)?.filter(|row| row.deleted_at.is_none());
    let row = row.ok_or_else(no_message)?;
    let (_, place) = own(tx, &row.conversation_id, user_id).map_err(|_| no_message())?;
    Ok((row, place))
}

/// Tells that a message is not what it was.
fn changed(tx: &mut WriteTx<'_>, by: &str, row: &MessageRow, name: &str) -> Result<Message, AppError> {
    let row = store::messages::find(tx, &row.id)?.ok_or_else(no_message)?;
    let conversation_id = row.conversation_id.clone();
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message)?;
    let data = json!({
        "by": by, "conversation_id": conversation_id, "message_id": message.id, "message": message,
    });
    tx.emit(&topic(&conversation_id)?, name, data.to_string())?;
    Ok(message)
}

fn sent_before(tx: &mut WriteTx<'_>, row: MessageRow, conversation_id: &str) -> Result<Sent, AppError> {
    if row.conversation_id != conversation_id {
        let message =
            "« client_id » a déjà servi dans une autre conversation : un nouveau message en prend un nouveau";
        return Err(conflict("client_id_in_use", message));
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
fn mentioned(mentions: &[String], members: &[MemberRow]) -> String {
    let wanted: BTreeSet<&str> = mentions.iter().map(String::as_str).collect();
    let ids = members.iter().map(|member| &*member.person.id).filter(|id| wanted.contains(id));
    ids.collect::<Vec<_>>().join("\n")
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
        }
        seen(row, &by)
    };
    Ok(rows.into_iter().map(seen_by).collect())
}

fn lines(text: &str) -> Vec<String> {
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
