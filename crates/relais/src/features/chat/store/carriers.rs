//! Which events have the text of a message.

use relais_store::{Query, StoreError, WriteTx, params};

/// Notes that the event `seq` has the text of a message, beside the one that told it first.
pub(crate) fn add(tx: &mut WriteTx<'_>, message_id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO chat_told (key, seq) SELECT key, CAST($2 AS BIGINT) FROM chat_messages WHERE id = $1 \
         ON CONFLICT (key, seq) DO NOTHING",
        params![message_id, seq],
    )?;
    Ok(())
}

/// Notes that the event `seq` told a message first.
pub(crate) fn set_first(tx: &mut WriteTx<'_>, message_id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_messages SET seq = $1 WHERE id = $2 AND seq IS NULL", params![seq, message_id])?;
    Ok(())
}

/// The event that told a message first.
pub(crate) fn first(tx: &mut impl Query, key: u64) -> Result<Option<u64>, StoreError> {
    tx.query_one("SELECT seq FROM chat_messages WHERE key = $1", params![key], |row| row.opt_u64(0))
}

/// The later events that have its text.
pub(crate) fn later(tx: &mut impl Query, key: u64) -> Result<Vec<u64>, StoreError> {
    tx.query("SELECT seq FROM chat_told WHERE key = $1 ORDER BY seq", params![key], |row| row.u64(0))
}

/// The later events do not have its text any more.
pub(crate) fn forget(tx: &mut WriteTx<'_>, key: u64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chat_told WHERE key = $1", params![key])?;
    Ok(())
}

/// Forgets some events that the log no longer has; says how many.
pub(crate) fn forget_trimmed(tx: &mut WriteTx<'_>, limit: usize) -> Result<u64, StoreError> {
    let sql = "DELETE FROM chat_told WHERE (key, seq) IN (SELECT key, seq FROM chat_told \
               WHERE seq < (SELECT first_seq FROM log_head WHERE id = 1) ORDER BY seq LIMIT $1)";
    tx.execute(sql, params![limit])
}
