//! Which events contain the text of a message.

use relais_store::{Query, StoreError, WriteTx, params};

/// Records that the event `seq` contains the text of a message, in addition to the one that first published it.
pub(crate) fn add(tx: &mut WriteTx<'_>, message_id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO chat_told (key, seq) SELECT key, CAST($2 AS BIGINT) FROM chat_messages WHERE id = $1 \
         ON CONFLICT (key, seq) DO NOTHING",
        params![message_id, seq],
    )?;
    Ok(())
}

/// Records that the event `seq` first published a message.
pub(crate) fn set_first(tx: &mut WriteTx<'_>, message_id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_messages SET seq = $1 WHERE id = $2 AND seq IS NULL", params![seq, message_id])?;
    Ok(())
}

/// The event that first published a message.
pub(crate) fn first(tx: &mut impl Query, key: u64) -> Result<Option<u64>, StoreError> {
    tx.query_one("SELECT seq FROM chat_messages WHERE key = $1", params![key], |row| row.opt_u64(0))
}

/// The later events that contain its text.
pub(crate) fn later(tx: &mut impl Query, key: u64) -> Result<Vec<u64>, StoreError> {
    tx.query("SELECT seq FROM chat_told WHERE key = $1 ORDER BY seq", params![key], |row| row.u64(0))
}

/// The later events no longer contain its text.
pub(crate) fn forget(tx: &mut WriteTx<'_>, key: u64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chat_told WHERE key = $1", params![key])?;
    Ok(())
}

/// Deletes entries of events that the log no longer has; returns how many.
pub(crate) fn forget_trimmed(tx: &mut WriteTx<'_>, limit: usize) -> Result<u64, StoreError> {
    let sql = "DELETE FROM chat_told WHERE (key, seq) IN (SELECT key, seq FROM chat_told \
               WHERE seq < (SELECT first_seq FROM log_head WHERE id = 1) ORDER BY seq LIMIT $1)";
    tx.execute(sql, params![limit])
}
