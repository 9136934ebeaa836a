//! Messages: reading, editing and deleting them.

use relais_protocol::time::Timestamp;
use relais_store::{Query, ReadTx, StoreError, WriteTx};
use serde_json::{Value, json};

use super::blocks::check_partner;
use super::carriers::refresh_carriers;
use super::model::{Kind, Message, Read, Role};
use super::people::Me;
use super::receipts::deliver;
use super::refusal::{checked_words, no_conversation, no_message, not_allowed};
use super::sending::{check_mentions, mentioned};
use super::service::{Chat, topic};
use super::store;
use super::store::conversations::Place;
use super::store::messages::MessageRow;
use super::words::stored;
use crate::AppError;
use crate::said::said;

/// Number of readers listed in a message: the first ones. The others are fetched separately.
pub(super) const READERS_SHOWN: usize = 10;

/// The requested part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The last ones.
    Last,
    /// Those before a message number.
    Before(u64),
    /// Those after a message number.
    After(u64),
}

impl Chat {
    /// A part of a conversation, the oldest message first. Messages that are fetched count as delivered, and their
    /// senders are notified.
    ///
    /// # Errors
    /// 404 if the user is not a member.
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
        let (id, conversation) = (me.person.id.clone(), topic(conversation_id)?);
        let (after, up_to) = (first.number - 1, last.number);
        let noted = self.0.store.write(move |tx| {
            deliver(tx, &id, &conversation, after, up_to)?;
            part_of(tx, conversation.key(), part, limit)
        });
        // The messages can be read even if nothing can be written.
        Ok(noted.await.unwrap_or_else(|error: StoreError| {
            tracing::warn!(%error, "that messages were received could not be noted");
            messages
        }))
    }

    /// Replaces the text of the user's own message. Without `mentions` the existing ones are kept.
    ///
    /// # Errors
    /// 400 for the text or too many mentions, 403 if another user wrote it, 404 if it does not exist or was deleted.
    pub async fn edit(
        &self,
        me: &Me,
        message_id: &str,
        content: &str,
        mentions: Option<Vec<String>>,
    ) -> Result<Message, AppError> {
        let content = checked_words("content", content, self.0.config.message_bytes_max, false)?;
        check_mentions(mentions.as_deref().unwrap_or_default())?;
        let (id, message_id) = (me.person.id.clone(), message_id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let (row, kind, _) = writable(tx, &message_id, &id)?;
                if row.sender.id != id {
                    return Err(not_allowed(said!(
                        "Seul l'auteur d'un message peut le modifier",
                        "Only the author of a message can edit it"
                    )));
                }
                check_partner(tx, &row.conversation_id, kind, &id)?;
                let mentions = match &mentions {
                    Some(wanted) => mentioned(tx, &row.conversation_id, wanted)?,
                    None => row.mentions.clone(),
                };
                store::messages::edit(tx, &row.id, &content, &mentions, tx.now())?;
                if store::search::forget(tx, row.key)? {
                    store::search::index_each(&mut tx.rows(), &[(row.key, stored(&content))])?;
                }
                changed(tx, &id, &row, "message_edited")
            })
            .await
    }

    /// Deletes the user's own message or, for the owner of a group, any message. A tombstone without content remains.
    ///
    /// # Errors
    /// 403 if not permitted, 404 if it does not exist or was deleted.
    pub async fn delete(&self, me: &Me, message_id: &str) -> Result<Message, AppError> {
        let (id, message_id) = (me.person.id.clone(), message_id.to_owned());
        me.permit()
            .write(&self.0.store, move |tx| {
                let (row, _, place) = writable(tx, &message_id, &id)?;
                if row.sender.id != id && place.role != Role::Owner {
                    return Err(not_allowed(said!(
                        "Seul l'auteur d'un message peut le supprimer",
                        "Only the author of a message can delete it"
                    )));
                }
                store::messages::delete(tx, &row.id, tx.now())?;
                store::search::forget(tx, row.key)?;
                store::conversations::uncount_unread(tx, &row.conversation_id, &row.sender.id, row.number)?;
                changed(tx, &id, &row, "message_deleted")
            })
            .await
    }
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

/// The first fields of the data of a conversation's event. For a group they contain the id under both names that
/// clients know, which also distinguishes it from a direct conversation.
pub(super) fn begin(by: &str, conversation: &store::conversations::ConversationRow) -> Value {
    let mut data = json!({ "by": by, "conversation_id": conversation.id });
    if conversation.kind == Kind::Group {
        data["group_id"] = conversation.id.as_str().into();
    }
    data
}

/// The user's membership of a conversation.
pub(super) fn own(
    tx: &mut impl Query,
    conversation_id: &str,
    user_id: &str,
) -> Result<(store::conversations::ConversationRow, Place), AppError> {
    store::conversations::find_of(tx, conversation_id, user_id)?.ok_or_else(no_conversation)
}

/// An existing message, for a member of its conversation.
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

/// Publishes a change to a message.
fn changed(tx: &mut WriteTx<'_>, by: &str, row: &MessageRow, name: &str) -> Result<Message, AppError> {
    let row = store::messages::find(tx, &row.id)?.ok_or_else(no_message)?;
    refresh_carriers(tx, &row)?;
    let conversation_id = row.conversation_id.clone();
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message)?;
    let data = json!({
        "by": by, "conversation_id": conversation_id, "message_id": message.id, "message": message,
    });
    let emitted = tx.emit(&topic(&conversation_id)?, name, data.to_string())?;
    if message.deleted_at.is_none() {
        store::carriers::add(tx, &message.id, emitted.seq)?;
    }
    Ok(message)
}

/// Messages of one conversation, ordered by number in either direction, with their readers.
pub(super) fn described(tx: &mut impl Query, rows: Vec<MessageRow>) -> Result<Vec<Message>, StoreError> {
    let numbers = rows.iter().map(|row| row.number);
    let (Some(first), Some(last)) = (numbers.clone().min(), numbers.max()) else { return Ok(Vec::new()) };
    let reads = store::reads::of_part(tx, &rows[0].conversation_id, first, last)?;
    let seen_by = |row: MessageRow| {
        let mut by: Vec<Read> = Vec::new();
        // In chronological order: the first read mark of each member that covers the message counts.
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

pub(super) fn seen(row: MessageRow, read_by: &[Read]) -> Message {
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
