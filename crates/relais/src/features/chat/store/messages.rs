//! Messages and their delivery.

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, Row, StoreError, WriteTx, params};

use super::super::model::Person;
use super::people::person_at;

/// A message without its readers.
#[derive(Clone, Debug)]
pub(crate) struct MessageRow {
    pub(crate) key: u64,
    pub(crate) id: String,
    pub(crate) conversation_id: String,
    pub(crate) number: u64,
    pub(crate) sender: Person,
    pub(crate) client_id: Option<String>,
    pub(crate) content: String,
    /// Ids of people, one per line.
    pub(crate) mentions: String,
    /// References, one per line.
    pub(crate) attachments: String,
    pub(crate) created_at: Timestamp,
    pub(crate) delivered_at: Option<Timestamp>,
    pub(crate) edited_at: Option<Timestamp>,
    pub(crate) deleted_at: Option<Timestamp>,
}

/// The columns of [`message`], in its order.
macro_rules! columns {
    () => {
        "SELECT m.key, m.id, m.conversation_id, m.number, p.id, p.firstname, p.lastname, p.email, m.client_id, \
         m.content, m.mentions, m.attachments, m.created_at, m.delivered_at, m.edited_at, m.deleted_at \
         FROM chat_messages m JOIN chat_people p ON p.id = m.sender_id "
    };
}
fn message(row: &Row<'_>) -> Result<MessageRow, StoreError> {
    Ok(MessageRow {
        key: row.u64(0)?,
        id: row.text(1)?,
        conversation_id: row.text(2)?,
        number: row.u64(3)?,
        sender: person_at(row, 4)?,
        client_id: row.opt_text(8)?,
        content: row.text(9)?,
        mentions: row.text(10)?,
        attachments: row.text(11)?,
        created_at: row.timestamp(12)?,
        delivered_at: row.opt_timestamp(13)?,
        edited_at: row.opt_timestamp(14)?,
        deleted_at: row.opt_timestamp(15)?,
    })
}

/// The next message key.
pub(crate) fn next_key(tx: &mut impl Query) -> Result<u64, StoreError> {
    tx.query_one("SELECT COALESCE(MAX(key), 0) + 1 FROM chat_messages", params![], |row| row.u64(0))
}

/// A message to be added.
pub(crate) struct Addition {
    pub(crate) row: MessageRow,
    /// The digest of the request with its `client_id`.
    pub(crate) client_digest: Option<String>,
    /// The event that publishes it.
    pub(crate) seq: u64,
}

/// Adds messages.
pub(crate) fn insert_all(tx: &mut WriteTx<'_>, all: &[Addition]) -> Result<(), StoreError> {
    let sql = "INSERT INTO chat_messages (key, id, conversation_id, number, sender_id, client_id, content, mentions, \
               attachments, created_at, delivered_at, client_digest, edited_at, deleted_at, seq) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, NULL, NULL, $13)";
    let rows: Vec<[Param<'_>; 13]> = all
        .iter()
        .map(|Addition { row, client_digest, seq }| {
            [
                row.key.into(),
                (&row.id).into(),
                (&row.conversation_id).into(),
                row.number.into(),
                (&row.sender.id).into(),
                row.client_id.as_deref().into(),
                (&row.content).into(),
                (&row.mentions).into(),
                (&row.attachments).into(),
                row.created_at.into(),
                row.delivered_at.into(),
                client_digest.as_deref().into(),
                (*seq).into(),
            ]
        })
        .collect();
    tx.execute_each(sql, &rows)?;
    Ok(())
}

/// A message by id.
pub(crate) fn find(tx: &mut impl Query, id: &str) -> Result<Option<MessageRow>, StoreError> {
    tx.query_opt(concat!(columns!(), "WHERE m.id = $1"), params![id], message)
}

/// A message by key.
pub(crate) fn find_by_key(tx: &mut impl Query, key: u64) -> Result<Option<MessageRow>, StoreError> {
    tx.query_opt(concat!(columns!(), "WHERE m.key = $1"), params![key], message)
}

/// The messages that these senders sent under these client ids, if any.
pub(crate) fn find_sent_each(
    tx: &mut impl Query,
    names: &[(&str, &str)],
) -> Result<Vec<Option<MessageRow>>, StoreError> {
    let sql = concat!(columns!(), "WHERE m.sender_id = $1 AND m.client_id = $2");
    let asked: Vec<[Param<'_>; 2]> =
        names.iter().map(|(sender_id, client_id)| [(*sender_id).into(), (*client_id).into()]).collect();
    tx.query_opt_each(sql, &asked, message)
}

/// Messages from a key on: each key, and the text.
pub(crate) fn from_key(
    tx: &mut impl Query,
    key: u64,
    limit: usize,
) -> Result<Vec<(u64, String)>, StoreError> {
    let sql = "SELECT key, content FROM chat_messages WHERE key >= $1 ORDER BY key LIMIT $2";
    tx.query(sql, params![key, limit], |row| Ok((row.u64(0)?, row.text(1)?)))
}

/// The digest of the request with the sender's client id for a message; none for a deleted one.
pub(crate) fn client_digest(tx: &mut impl Query, key: u64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT client_digest FROM chat_messages WHERE key = $1";
    tx.query_one(sql, params![key], |row| row.opt_text(0))
}

/// The messages before a number, the latest first.
pub(crate) fn before(
    tx: &mut impl Query,
    conversation_id: &str,
    number: u64,
    limit: usize,
) -> Result<Vec<MessageRow>, StoreError> {
    let sql =
        concat!(columns!(), "WHERE m.conversation_id = $1 AND m.number < $2 ORDER BY m.number DESC LIMIT $3");
    tx.query(sql, params![conversation_id, number, limit], message)
}

/// The messages after a number, the earliest first.
pub(crate) fn after(
    tx: &mut impl Query,
    conversation_id: &str,
    number: u64,
    limit: usize,
) -> Result<Vec<MessageRow>, StoreError> {
    let sql =
        concat!(columns!(), "WHERE m.conversation_id = $1 AND m.number > $2 ORDER BY m.number LIMIT $3");
    tx.query(sql, params![conversation_id, number, limit], message)
}

/// Messages of others after a number that still count as unread.
pub(crate) fn count_of_others(
    tx: &mut impl Query,
    conversation_id: &str,
    user_id: &str,
    after: u64,
) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_messages \
               WHERE conversation_id = $1 AND number > $2 AND sender_id <> $3 AND deleted_at IS NULL";
    tx.query_one(sql, params![conversation_id, after, user_id], |row| row.u64(0))
}

/// Replaces the text.
pub(crate) fn edit(
    tx: &mut WriteTx<'_>,
    id: &str,
    content: &str,
    mentions: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE chat_messages SET content = $1, mentions = $2, edited_at = $3 WHERE id = $4",
        params![content, mentions, at, id],
    )?;
    Ok(())
}

/// Leaves a tombstone.
pub(crate) fn delete(tx: &mut WriteTx<'_>, id: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE chat_messages SET content = '', mentions = '', attachments = '', client_digest = NULL, \
         deleted_at = $1 WHERE id = $2",
        params![at, id],
    )?;
    Ok(())
}

/// Reads undelivered messages only.
pub(super) const UNDELIVERED: &str = "SELECT m.conversation_id, MAX(m.number) FROM chat_members b \
     JOIN chat_messages m ON m.conversation_id = b.conversation_id AND m.number > b.read_to \
     WHERE b.user_id = $1 AND b.unread > 0 AND m.sender_id <> $1 AND m.delivered_at IS NULL \
     GROUP BY m.conversation_id LIMIT $2";

/// The conversations with messages of others that were delivered to none of this user's devices, each with the number
/// of the last one.
pub(crate) fn undelivered(
    tx: &mut impl Query,
    user_id: &str,
    limit: usize,
) -> Result<Vec<(String, u64)>, StoreError> {
    tx.query(UNDELIVERED, params![user_id, limit], |row| Ok((row.text(0)?, row.u64(1)?)))
}

/// As [`UNDELIVERED`].
pub(super) const SET_DELIVERED: &str = "UPDATE chat_messages SET delivered_at = $1 \
     WHERE conversation_id = $2 AND number > $3 AND number <= $4 AND sender_id <> $5 AND delivered_at IS NULL";

/// Messages of others after a number, up to another, were delivered to a device of this user.
pub(crate) fn set_delivered(
    tx: &mut WriteTx<'_>,
    conversation_id: &str,
    user_id: &str,
    after: u64,
    up_to: u64,
) -> Result<u64, StoreError> {
    let now = tx.now();
    tx.execute(SET_DELIVERED, params![now, conversation_id, after, up_to, user_id])
}
