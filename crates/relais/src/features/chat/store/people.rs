//! People who take part.

use relais_protocol::time::Timestamp;
use relais_store::{Query, Row, StoreError, WriteTx, params};

use super::super::model::Person;

pub(super) fn person_at(row: &Row<'_>, first: usize) -> Result<Person, StoreError> {
    Ok(Person {
        id: row.text(first)?,
        firstname: row.text(first + 1)?,
        lastname: row.text(first + 2)?,
        email: row.text(first + 3)?,
    })
}

/// The principal of somebody, which is the name of their own topic.
pub(crate) fn principal_of(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt("SELECT principal FROM chat_people WHERE id = $1", params![id], |row| row.text(0))
}

/// Adds somebody, or their new name. Says whether it was done: not if the id is another principal's.
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

/// Their last device left.
pub(crate) fn set_last_seen(tx: &mut WriteTx<'_>, id: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_people SET last_seen_at = $1 WHERE id = $2", params![at, id])?;
    Ok(())
}

/// Those who were ever here, in order of their ids after one.
pub(crate) fn page(tx: &mut impl Query, after: &str, limit: usize) -> Result<Vec<Person>, StoreError> {
    let sql = "SELECT id, firstname, lastname, email FROM chat_people WHERE id > $1 ORDER BY id LIMIT $2";
    tx.query(sql, params![after, limit], |row| person_at(row, 0))
}

/// The topics of everybody who shares a conversation with this one.
pub(crate) fn contacts(tx: &mut impl Query, id: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT p.id FROM chat_members mine \
               JOIN chat_members other ON other.conversation_id = mine.conversation_id \
               JOIN chat_people p ON p.id = other.user_id \
               WHERE mine.user_id = $1 AND other.user_id <> $1 LIMIT $2";
    tx.query(sql, params![id, limit], |row| row.text(0))
}
