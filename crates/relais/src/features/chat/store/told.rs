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

/// Every event that has the text of a message.
pub(crate) fn of(tx: &mut impl Query, key: u64) -> Result<Vec<u64>, StoreError> {
    let sql = "SELECT seq FROM chat_messages WHERE key = $1 AND seq IS NOT NULL \
               UNION SELECT seq FROM chat_told WHERE key = $1";
    tx.query(sql, params![key], |row| row.u64(0))
}

/// A message has no text any more that an event could have.
pub(crate) fn forget(tx: &mut WriteTx<'_>, key: u64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM chat_told WHERE key = $1", params![key])?;
    Ok(())
}
