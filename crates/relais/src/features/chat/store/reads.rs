//! Read marks: when a member read, and up to which message.
//!
//! For each member of a conversation the last [`KEPT`] marks are kept, which cover at least its last page; of older
//! ones, the last mark of each day. So it stays known who has read what, and when to the day.

use relais_protocol::time::Timestamp;
use relais_store::{Query, StoreError, WriteTx, params};

/// Marks of one member in one conversation that are all kept.
const KEPT: usize = 100;
/// As in the schema, where it thins out existing marks.
const DAY_MS: i64 = 86_400_000;

/// When a member read, and up to which message.
#[derive(Clone, Debug)]
pub(crate) struct ReadRow {
    pub(crate) user_id: String,
    pub(crate) up_to: u64,
    pub(crate) read_at: Timestamp,
}

/// The cost grows with the readers and the page, not with the conversation: marks of the page are found by number, the
/// readers one after the other in the key, and of each the first mark beyond.
pub(super) const OF_PART: &str = "WITH RECURSIVE readers (user_id) AS (\
         SELECT (SELECT n.user_id FROM chat_reads n WHERE n.conversation_id = $1 AND n.user_id > '' \
                 ORDER BY n.user_id LIMIT 1) \
         UNION ALL \
         SELECT (SELECT n.user_id FROM chat_reads n WHERE n.conversation_id = $1 AND n.user_id > readers.user_id \
                 ORDER BY n.user_id LIMIT 1) \
         FROM readers WHERE readers.user_id IS NOT NULL), \
     beyond (user_id, up_to, read_at) AS (\
         SELECT user_id, \
             (SELECT b.up_to FROM chat_reads b WHERE b.conversation_id = $1 AND b.user_id = readers.user_id \
              AND b.up_to > $3 ORDER BY b.up_to LIMIT 1), \
             (SELECT b.read_at FROM chat_reads b WHERE b.conversation_id = $1 AND b.user_id = readers.user_id \
              AND b.up_to > $3 ORDER BY b.up_to LIMIT 1) \
         FROM readers) \
     SELECT user_id, up_to, read_at FROM chat_reads \
     WHERE conversation_id = $1 AND up_to >= $2 AND up_to <= $3 \
     UNION ALL SELECT user_id, up_to, read_at FROM beyond WHERE up_to IS NOT NULL \
     ORDER BY read_at, up_to";

/// The read marks for the messages from one number to another: each mark between the two, and of each member the first
/// beyond.
pub(crate) fn of_part(
    tx: &mut impl Query,
    conversation_id: &str,
    first: u64,
    last: u64,
) -> Result<Vec<ReadRow>, StoreError> {
    tx.query(OF_PART, params![conversation_id, first, last], |row| {
        Ok(ReadRow { user_id: row.text(0)?, up_to: row.u64(1)?, read_at: row.timestamp(2)? })
    })
}

/// The number of others who have read up to a message, counted up to `limit`.
pub(crate) fn others(
    tx: &mut impl Query,
    conversation_id: &str,
    user_id: &str,
    up_to: u64,
    limit: usize,
) -> Result<usize, StoreError> {
    let sql = "SELECT DISTINCT user_id FROM chat_reads \
               WHERE conversation_id = $1 AND up_to >= $2 AND user_id <> $3 LIMIT $4";
    Ok(tx.query(sql, params![conversation_id, up_to, user_id, limit], |row| row.text(0))?.len())
}

/// The number of users other than its sender who have read a message.
pub(crate) fn count_readers(
    tx: &mut impl Query,
    conversation_id: &str,
    number: u64,
    sender_id: &str,
) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(DISTINCT user_id) FROM chat_reads \
               WHERE conversation_id = $1 AND up_to >= $2 AND user_id <> $3";
    tx.query_one(sql, params![conversation_id, number, sender_id], |row| row.u64(0))
}

/// These users, after one of them in the order of ids.
pub(crate) fn readers(
    tx: &mut impl Query,
    conversation_id: &str,
    number: u64,
    sender_id: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<ReadRow>, StoreError> {
    let sql = "SELECT user_id, MIN(up_to), MIN(read_at) FROM chat_reads \
               WHERE conversation_id = $1 AND up_to >= $2 AND user_id <> $3 AND user_id > $4 \
               GROUP BY user_id ORDER BY user_id LIMIT $5";
    tx.query(sql, params![conversation_id, number, sender_id, after, limit], |row| {
        Ok(ReadRow { user_id: row.text(0)?, up_to: row.u64(1)?, read_at: row.timestamp(2)? })
    })
}

/// Whether anyone but its sender has read a message.
pub(crate) fn is_read(
    tx: &mut impl Query,
    conversation_id: &str,
    number: u64,
    sender_id: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT up_to FROM chat_reads \
               WHERE conversation_id = $1 AND up_to >= $2 AND user_id <> $3 LIMIT 1";
    Ok(tx.query_opt(sql, params![conversation_id, number, sender_id], |row| row.u64(0))?.is_some())
}

/// A member has read up to a message, now.
pub(crate) fn add(
    tx: &mut WriteTx<'_>,
    conversation_id: &str,
    user_id: &str,
    up_to: u64,
) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute(
        "INSERT INTO chat_reads (conversation_id, user_id, up_to, read_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (conversation_id, user_id, up_to) DO NOTHING",
        params![conversation_id, user_id, up_to, now],
    )?;
    thin_out(tx, conversation_id, user_id)
}

/// Deletes the surplus mark, unless it is the last of its day.
fn thin_out(tx: &mut WriteTx<'_>, conversation_id: &str, user_id: &str) -> Result<(), StoreError> {
    let old = tx.query(
        "SELECT up_to, read_at FROM chat_reads WHERE conversation_id = $1 AND user_id = $2 \
         ORDER BY up_to DESC LIMIT 2 OFFSET $3",
        params![conversation_id, user_id, KEPT - 1],
        |row| Ok((row.u64(0)?, row.timestamp(1)?)),
    )?;
    let day = |at: Timestamp| at.as_millis() / DAY_MS;
    if let [(_, kept_at), (up_to, read_at)] = old[..]
        && day(read_at) == day(kept_at)
    {
        let sql = "DELETE FROM chat_reads WHERE conversation_id = $1 AND user_id = $2 AND up_to = $3";
        tx.execute(sql, params![conversation_id, user_id, up_to])?;
    }
    Ok(())
}
