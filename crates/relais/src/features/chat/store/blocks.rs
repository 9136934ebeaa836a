//! Blocked users, and how often a user has refused another's invitations.

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, StoreError, WriteTx, params};

use super::super::model::Person;
use super::people::person_at;

/// Blocks a user; returns whether they were not blocked before.
pub(crate) fn insert(tx: &mut WriteTx<'_>, user_id: &str, blocked_id: &str) -> Result<bool, StoreError> {
    let now = tx.now();
    let done = tx.execute(
        "INSERT INTO chat_blocks (user_id, blocked_id, created_at) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, blocked_id) DO NOTHING",
        params![user_id, blocked_id, now],
    )?;
    Ok(done > 0)
}

/// Unblocks a user; returns whether they were blocked.
pub(crate) fn delete(tx: &mut WriteTx<'_>, user_id: &str, blocked_id: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM chat_blocks WHERE user_id = $1 AND blocked_id = $2";
    Ok(tx.execute(sql, params![user_id, blocked_id])? > 0)
}

/// The number of users that a user has blocked.
pub(crate) fn count(tx: &mut impl Query, user_id: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM chat_blocks WHERE user_id = $1";
    tx.query_one(sql, params![user_id], |row| row.u64(0))
}

/// The users that a user has blocked and since when, in the order of ids.
pub(crate) fn list(
    tx: &mut impl Query,
    user_id: &str,
    limit: usize,
) -> Result<Vec<(Person, Timestamp)>, StoreError> {
    let sql = "SELECT p.id, p.firstname, p.lastname, p.email, b.created_at \
               FROM chat_blocks b JOIN chat_people p ON p.id = b.blocked_id \
               WHERE b.user_id = $1 ORDER BY b.blocked_id LIMIT $2";
    tx.query(sql, params![user_id, limit], |row| Ok((person_at(row, 0)?, row.timestamp(4)?)))
}

/// For each pair of users, which has blocked which.
pub(crate) fn between_each(
    tx: &mut impl Query,
    pairs: &[(&str, &str)],
) -> Result<Vec<Vec<(String, String)>>, StoreError> {
    let sql =
        "SELECT user_id, blocked_id FROM chat_blocks WHERE user_id IN ($1, $2) AND blocked_id IN ($1, $2)";
    let asked: Vec<[Param<'_>; 2]> =
        pairs.iter().map(|(one, other)| [(*one).into(), (*other).into()]).collect();
    let mut found = vec![Vec::new(); pairs.len()];
    tx.visit_each(sql, &asked, &mut |number, row| {
        let blocks = (row.text(0)?, row.text(1)?);
        found.get_mut(number).into_iter().for_each(|found: &mut Vec<_>| found.push(blocks.clone()));
        Ok(())
    })?;
    Ok(found)
}

/// The users that a user has blocked, and those who have blocked them.
pub(crate) fn both_ways(tx: &mut impl Query, user_id: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT blocked_id FROM chat_blocks WHERE user_id = $1 \
               UNION SELECT user_id FROM chat_blocks WHERE blocked_id = $1";
    tx.query(sql, params![user_id], |row| row.text(0))
}

/// The principals of the users that a user has blocked, and of those who have blocked them.
pub(crate) fn principals_both_ways(tx: &mut impl Query, user_id: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT p.principal FROM chat_people p WHERE p.id IN \
               (SELECT blocked_id FROM chat_blocks WHERE user_id = $1 \
                UNION SELECT user_id FROM chat_blocks WHERE blocked_id = $1)";
    tx.query(sql, params![user_id], |row| row.text(0))
}

/// The blocks among the members of a conversation.
pub(crate) fn among_members(
    tx: &mut impl Query,
    conversation_id: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT b.user_id, b.blocked_id FROM chat_members m JOIN chat_blocks b ON b.user_id = m.user_id \
               JOIN chat_members o ON o.conversation_id = m.conversation_id AND o.user_id = b.blocked_id \
               WHERE m.conversation_id = $1";
    tx.query(sql, params![conversation_id], |row| Ok((row.text(0)?, row.text(1)?)))
}

/// The users who have blocked a user.
pub(crate) fn blockers(tx: &mut impl Query, user_id: &str) -> Result<Vec<String>, StoreError> {
    tx.query("SELECT user_id FROM chat_blocks WHERE blocked_id = $1", params![user_id], |row| row.text(0))
}

/// The other member of a conversation between two.
pub(crate) fn partner(
    tx: &mut impl Query,
    conversation_id: &str,
    user_id: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT user_id FROM chat_members WHERE conversation_id = $1 AND user_id <> $2 LIMIT 1";
    tx.query_opt(sql, params![conversation_id, user_id], |row| row.text(0))
}

/// How often a user's invitations were settled in one way after a time, and when last.
///
/// A time in the future, from a clock that leapt, is replaced by the time of the request; if that is in the future as
/// well, the time is unknown and does not count.
pub(crate) fn settled(
    tx: &mut WriteTx<'_>,
    from: &str,
    to: &str,
    status: &str,
    after: Timestamp,
) -> Result<(u64, Option<Timestamp>), StoreError> {
    let now = tx.now();
    let sql = "SELECT COUNT(*), MAX(i.at) FROM (SELECT CASE WHEN answered_at <= $5 THEN answered_at ELSE created_at END \
                   AS at FROM chat_invitations WHERE from_user_id = $1 AND to_user_id = $2 AND status = $3) AS i \
               WHERE i.at > $4 AND i.at <= $5";
    let values = params![from, to, status, after, now];
    tx.query_one(sql, values, |row| Ok((row.u64(0)?, row.opt_timestamp(1)?)))
}

/// When a user last accepted an invitation of the other, or invited them; a time in the future as in [`settled`].
pub(crate) fn last_welcome(
    tx: &mut WriteTx<'_>,
    from: &str,
    to: &str,
) -> Result<Option<Timestamp>, StoreError> {
    let now = tx.now();
    let (_, agreed) = settled(tx, from, to, "accepted", Timestamp::from_millis(i64::MIN))?;
    let asked = "SELECT MAX(created_at) FROM chat_invitations \
                 WHERE from_user_id = $2 AND to_user_id = $1 AND created_at <= $3";
    let asked = tx.query_one(asked, params![from, to, now], |row| row.opt_timestamp(0))?;
    Ok(agreed.max(asked))
}

/// Pending invitations between two users, each with its sender.
pub(crate) fn pending_between(
    tx: &mut impl Query,
    one: &str,
    other: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT id, from_user_id FROM chat_invitations WHERE status = 'pending' \
               AND ((from_user_id = $1 AND to_user_id = $2) OR (from_user_id = $2 AND to_user_id = $1)) ORDER BY id";
    tx.query(sql, params![one, other], |row| Ok((row.text(0)?, row.text(1)?)))
}
