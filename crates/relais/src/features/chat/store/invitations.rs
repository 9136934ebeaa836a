//! Invitations to talk, and to join a group.

use relais_protocol::time::Timestamp;
use relais_store::{Query, Row, StoreError, WriteTx, params};

use super::super::model::{Invitation, Person};
use super::people::person_at;

/// The columns of [`invitation`], in its order.
macro_rules! columns {
    () => {
        "SELECT i.id, i.status, i.message, i.created_at, i.to_user_id, i.conversation_id, c.name, \
         p.id, p.firstname, p.lastname, p.email \
         FROM chat_invitations i JOIN chat_people p ON p.id = i.from_user_id \
         LEFT JOIN chat_conversations c ON c.id = i.conversation_id "
    };
}

fn invitation(row: &Row<'_>) -> Result<Invitation, StoreError> {
    let from = person_at(row, 7)?;
    Ok(Invitation {
        id: row.text(0)?,
        old_id: row.text(0)?,
        from_user_id: from.id.clone(),
        to_user_id: row.text(4)?,
        status: row.text(1)?,
        message: row.text(2)?,
        created_at: row.timestamp(3)?,
        from_user: from.clone(),
        from_user_too: from,
        group_id: row.opt_text(5)?,
        group_name: row.opt_text(6)?,
        to_user: None,
    })
}

/// An invitation by id.
pub(crate) fn find(tx: &mut impl Query, id: &str) -> Result<Option<Invitation>, StoreError> {
    tx.query_opt(concat!(columns!(), "WHERE i.id = $1"), params![id], invitation)
}

/// Pending invitations to this user, to groups or to talk, the oldest first; after an id.
pub(crate) fn received(
    tx: &mut impl Query,
    user_id: &str,
    to_groups: bool,
    after: &str,
    limit: usize,
) -> Result<Vec<Invitation>, StoreError> {
    let sql = concat!(
        columns!(),
        "WHERE i.to_user_id = $1 AND i.status = 'pending' AND i.id > $2 \
           AND CASE WHEN i.conversation_id IS NULL THEN 0 ELSE 1 END = $3 ORDER BY i.id LIMIT $4"
    );
    tx.query(sql, params![user_id, after, to_groups, limit], invitation)
}

/// The number of pending invitations to this user, to groups or to talk.
pub(crate) fn count_received(tx: &mut impl Query, user_id: &str, to_groups: bool) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_invitations WHERE to_user_id = $1 AND status = 'pending' \
               AND CASE WHEN conversation_id IS NULL THEN 0 ELSE 1 END = $2";
    tx.query_one(sql, params![user_id, to_groups], |row| row.u64(0))
}

/// Pending invitations to talk sent by this user, each with its recipient; the latest first.
pub(crate) fn sent(
    tx: &mut impl Query,
    user_id: &str,
    limit: usize,
) -> Result<Vec<(Invitation, Person, Option<Timestamp>)>, StoreError> {
    let sql = "SELECT i.id, i.status, i.message, i.created_at, i.to_user_id, i.conversation_id, NULL, \
               p.id, p.firstname, p.lastname, p.email, t.id, t.firstname, t.lastname, t.email, t.last_seen_at \
               FROM chat_invitations i JOIN chat_people p ON p.id = i.from_user_id \
               JOIN chat_people t ON t.id = i.to_user_id \
               WHERE i.from_user_id = $1 AND i.status = 'pending' AND i.conversation_id IS NULL \
               ORDER BY i.id DESC LIMIT $2";
    tx.query(sql, params![user_id, limit], |row| {
        Ok((invitation(row)?, person_at(row, 11)?, row.opt_timestamp(15)?))
    })
}

/// Pending invitations to a group sent by this user, each with its recipient.
pub(crate) fn sent_to_group(
    tx: &mut impl Query,
    group_id: &str,
    from: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT id, to_user_id FROM chat_invitations \
               WHERE from_user_id = $1 AND status = 'pending' AND conversation_id = $2 ORDER BY id";
    tx.query(sql, params![from, group_id], |row| Ok((row.text(0)?, row.text(1)?)))
}

/// Pending invitations to a group, each with its recipient; the oldest first, after an id.
pub(crate) fn to_group(
    tx: &mut impl Query,
    group_id: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Invitation>, StoreError> {
    let sql = "SELECT i.id, i.status, i.message, i.created_at, i.to_user_id, i.conversation_id, c.name, \
               p.id, p.firstname, p.lastname, p.email, t.id, t.firstname, t.lastname, t.email \
               FROM chat_invitations i JOIN chat_people p ON p.id = i.from_user_id \
               JOIN chat_people t ON t.id = i.to_user_id \
               JOIN chat_conversations c ON c.id = i.conversation_id \
               WHERE i.conversation_id = $1 AND i.status = 'pending' AND i.id > $2 ORDER BY i.id LIMIT $3";
    tx.query(sql, params![group_id, after, limit], |row| {
        Ok(Invitation { to_user: Some(person_at(row, 11)?), ..invitation(row)? })
    })
}

/// The number of pending invitations to a group.
pub(crate) fn count_to_group(tx: &mut impl Query, group_id: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_invitations WHERE conversation_id = $1 AND status = 'pending'";
    tx.query_one(sql, params![group_id], |row| row.u64(0))
}

/// The number of pending invitations sent by this user.
pub(crate) fn count_sent(tx: &mut impl Query, user_id: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_invitations WHERE from_user_id = $1 AND status = 'pending'";
    tx.query_one(sql, params![user_id], |row| row.u64(0))
}

/// The pending invitation with this key.
pub(crate) fn find_pending(tx: &mut impl Query, pending: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt("SELECT id FROM chat_invitations WHERE pending = $1", params![pending], |row| row.text(0))
}

/// An invitation to be sent.
pub(crate) struct NewInvitation<'a> {
    pub(crate) id: &'a str,
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) group_id: Option<&'a str>,
    pub(crate) message: &'a str,
    pub(crate) pending: &'a str,
}

/// Adds an invitation.
pub(crate) fn insert(tx: &mut WriteTx<'_>, new: &NewInvitation<'_>) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO chat_invitations (id, from_user_id, to_user_id, conversation_id, status, message, \
         created_at, answered_at, pending) VALUES ($1, $2, $3, $4, 'pending', $5, $6, NULL, $7)",
        params![new.id, new.from, new.to, new.group_id, new.message, now, new.pending],
    )?;
    Ok(())
}

/// Notes which event told an invitation first.
pub(crate) fn set_carrier(tx: &mut WriteTx<'_>, id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_invitations SET seq = $1 WHERE id = $2", params![seq, id])?;
    Ok(())
}

/// The event that told an invitation first.
pub(crate) fn carrier(tx: &mut impl Query, id: &str) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT seq FROM chat_invitations WHERE id = $1";
    Ok(tx.query_opt(sql, params![id], |row| row.opt_u64(0))?.flatten())
}

/// Settles an invitation. The text of one that was not accepted is deleted.
pub(crate) fn settle(
    tx: &mut WriteTx<'_>,
    id: &str,
    status: &str,
    conversation_id: Option<&str>,
) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute(
        "UPDATE chat_invitations SET status = $1, answered_at = $2, pending = NULL, \
             message = CASE WHEN $1 = 'accepted' THEN message ELSE '' END, \
             conversation_id = COALESCE(CAST($3 AS TEXT), conversation_id) WHERE id = $4",
        params![status, now, conversation_id, id],
    )?;
    Ok(())
}
