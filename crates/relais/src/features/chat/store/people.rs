//! Users of the chat.

use std::collections::{HashMap, HashSet};

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, Row, RowTx, StoreError, WriteTx, params};

use super::super::model::Person;

pub(super) fn person_at(row: &Row<'_>, first: usize) -> Result<Person, StoreError> {
    Ok(Person {
        id: row.text(first)?,
        firstname: row.text(first + 1)?,
        lastname: row.text(first + 2)?,
        email: row.text(first + 3)?,
    })
}

/// The principal of a user, which is the name of their own topic.
pub(crate) fn principal_of(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt("SELECT principal FROM chat_people WHERE id = $1", params![id], |row| row.text(0))
}

/// Adds a user, or their new name. Returns whether it was done: not if the id belongs to another principal.
pub(crate) fn put(tx: &mut WriteTx<'_>, principal: &str, person: &Person) -> Result<bool, StoreError> {
    let done = tx.execute(
        "INSERT INTO chat_people (id, principal, firstname, lastname, email, last_seen_at) \
         VALUES ($1, $2, $3, $4, $5, NULL) \
         ON CONFLICT (id) DO UPDATE SET firstname = excluded.firstname, lastname = excluded.lastname, \
             email = excluded.email \
         WHERE chat_people.principal = excluded.principal",
        params![&person.id, principal, &person.firstname, &person.lastname, &person.email],
    )?;
    Ok(done > 0)
}

/// Sets whether a user is online.
pub(crate) fn set_online(
    tx: &mut WriteTx<'_>,
    id: &str,
    online: bool,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql = match online {
        true => "UPDATE chat_people SET online_since = COALESCE(online_since, $1) WHERE id = $2",
        false => "UPDATE chat_people SET last_seen_at = $1, online_since = NULL WHERE id = $2",
    };
    tx.execute(sql, params![at, id])?;
    Ok(())
}

/// The server runs, and somebody is connected.
pub(crate) fn note_alive(tx: &mut RowTx<'_, '_>) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute("UPDATE chat_alive SET at = $1 WHERE id = 1", params![now])?;
    Ok(())
}

/// Sets every user offline: those online when the server stopped were last seen when it last ran, but not before they
/// connected.
pub(crate) fn leave_all(tx: &mut WriteTx<'_>) -> Result<u64, StoreError> {
    tx.execute(
        "UPDATE chat_people SET online_since = NULL, last_seen_at = CASE \
             WHEN online_since > (SELECT at FROM chat_alive WHERE id = 1) THEN online_since \
             ELSE (SELECT at FROM chat_alive WHERE id = 1) END \
         WHERE online_since IS NOT NULL",
        params![],
    )
}

/// Users who were ever online, in order of their ids after one.
pub(crate) fn page(tx: &mut impl Query, after: &str, limit: usize) -> Result<Vec<Person>, StoreError> {
    let sql = "SELECT id, firstname, lastname, email FROM chat_people WHERE id > $1 ORDER BY id LIMIT $2";
    tx.query(sql, params![after, limit], |row| person_at(row, 0))
}

/// A user whose presence concerns another, and when they were last seen.
#[derive(Clone, Debug)]
pub(crate) struct ContactRow {
    pub(crate) id: String,
    pub(crate) last_seen: Option<Timestamp>,
}

/// Contacts that are read at once.
pub(super) const CONTACTS_AT_ONCE: usize = 5_000;

/// The users who see each other's presence without a request: those who share a conversation of at most `small` members
/// with this one, without a block in either direction; each once, in the order of their ids, until `visit` returns
/// `false`.
pub(crate) fn each_contact(
    tx: &mut impl Query,
    id: &str,
    small: u64,
    mut visit: impl FnMut(ContactRow) -> bool,
) -> Result<(), StoreError> {
    let mut after = String::new();
    loop {
        let page = contacts_after(tx, id, small, &after)?;
        let more = page.len() == CONTACTS_AT_ONCE;
        if let Some(last) = page.last() {
            after.clone_from(&last.id);
        }
        if !page.into_iter().all(&mut visit) || !more {
            return Ok(());
        }
    }
}

fn contacts_after(
    tx: &mut impl Query,
    id: &str,
    small: u64,
    after: &str,
) -> Result<Vec<ContactRow>, StoreError> {
    let sql = "SELECT DISTINCT p.id, p.last_seen_at FROM chat_members mine \
               JOIN chat_conversations c ON c.id = mine.conversation_id AND c.members <= $2 \
               JOIN chat_members other ON other.conversation_id = mine.conversation_id AND other.user_id > $3 \
               JOIN chat_people p ON p.id = other.user_id \
               WHERE mine.user_id = $1 AND other.user_id <> $1 \
                 AND NOT EXISTS (SELECT 1 FROM chat_blocks b WHERE b.user_id = $1 AND b.blocked_id = p.id) \
                 AND NOT EXISTS (SELECT 1 FROM chat_blocks b WHERE b.user_id = p.id AND b.blocked_id = $1) \
               ORDER BY p.id LIMIT $4";
    tx.query(sql, params![id, small, after, CONTACTS_AT_ONCE], contact)
}

fn contact(row: &Row<'_>) -> Result<ContactRow, StoreError> {
    Ok(ContactRow { id: row.text(0)?, last_seen: row.opt_timestamp(1)? })
}

/// Users looked up at once.
const LOOKED_UP_AT_ONCE: usize = 32;

/// As many parameters as [`LOOKED_UP_AT_ONCE`] says, after the first.
const ACQUAINTANCES: &str = "SELECT p.id, p.last_seen_at FROM chat_people p \
     WHERE p.id IN ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
             $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33) AND p.id <> $1 \
         AND EXISTS (SELECT 1 FROM chat_members mine JOIN chat_members theirs \
             ON theirs.conversation_id = mine.conversation_id AND theirs.user_id = p.id \
             WHERE mine.user_id = $1) \
         AND NOT EXISTS (SELECT 1 FROM chat_blocks b WHERE b.user_id = $1 AND b.blocked_id = p.id) \
         AND NOT EXISTS (SELECT 1 FROM chat_blocks b WHERE b.user_id = p.id AND b.blocked_id = $1)";

/// Which of these users share a conversation with this one, without a block in either direction; by their ids.
pub(crate) fn acquaintances<'a>(
    tx: &mut impl Query,
    id: &str,
    people: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<String, ContactRow>, StoreError> {
    let people: Vec<&str> = people.into_iter().collect();
    let mut found = HashMap::new();
    for some in people.chunks(LOOKED_UP_AT_ONCE) {
        // The parameters are filled up with the last one.
        let filled = some.iter().chain(std::iter::repeat(&some[some.len() - 1])).take(LOOKED_UP_AT_ONCE);
        let values: Vec<Param<'_>> = std::iter::once(&id).chain(filled).map(|id| Param::from(*id)).collect();
        let rows = tx.query(ACQUAINTANCES, &values, contact)?;
        found.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    }
    Ok(found)
}

/// A user, if they share a conversation with this one without a block in either direction.
pub(crate) fn acquaintance(
    tx: &mut impl Query,
    id: &str,
    other: &str,
) -> Result<Option<ContactRow>, StoreError> {
    Ok(acquaintances(tx, id, [other])?.remove(other))
}

/// Which of these conversations a user is in.
pub(crate) fn among(
    tx: &mut impl Query,
    id: &str,
    conversations: Vec<String>,
) -> Result<Vec<String>, StoreError> {
    if conversations.is_empty() {
        return Ok(conversations);
    }
    let own: HashSet<String> = super::conversations::ids_of(tx, id)?.into_iter().collect();
    Ok(conversations.into_iter().filter(|conversation| own.contains(conversation)).collect())
}
