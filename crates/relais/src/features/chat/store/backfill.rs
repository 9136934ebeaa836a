//! Tasks done in steps after an upgrade, and their progress.

use relais_protocol::event::Topic;
use relais_store::{Query, RowTx, StoreError, WriteTx, params};

/// Words of messages.
pub(crate) const WORDS: &str = "words";
/// Texts in the log.
pub(crate) const LOG: &str = "log";

/// Words of the latest messages: of those from this key on.
pub(crate) const FRESH: &str = "fresh words";

/// The key from which messages are still to be indexed, and that of the newest message; none is pending if it is less.
pub(crate) fn fresh(tx: &mut impl Query) -> Result<(u64, u64), StoreError> {
    let from = below(tx, FRESH)?;
    let newest = "SELECT COALESCE(MAX(key), 0) FROM chat_messages";
    Ok((from, tx.query_one(newest, params![], |row| row.u64(0))?))
}

/// The key from which messages are still to be indexed, locked until the end of the transaction.
pub(crate) fn hold_fresh(tx: &mut impl Query) -> Result<u64, StoreError> {
    let sql = "UPDATE chat_backfill SET below = below WHERE task = $1 RETURNING below";
    tx.query_one(sql, params![FRESH], |row| row.u64(0))
}

/// The words of messages below this key are indexed.
pub(crate) fn set_fresh(tx: &mut RowTx<'_, '_>, from: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_backfill SET below = $1 WHERE task = $2", params![from, FRESH])?;
    Ok(())
}

/// Everything below this is still to be done; 0 if nothing is.
pub(crate) fn below(tx: &mut impl Query, task: &str) -> Result<u64, StoreError> {
    let sql = "SELECT below FROM chat_backfill WHERE task = $1";
    Ok(tx.query_opt(sql, params![task], |row| row.u64(0))?.unwrap_or(0))
}

/// Everything from this on is done.
pub(crate) fn set_below(tx: &mut WriteTx<'_>, task: &str, below: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE chat_backfill SET below = $1 WHERE task = $2", params![below, task])?;
    Ok(())
}

/// The last messages with keys below one: each key, and the text.
pub(crate) fn messages_below(
    tx: &mut impl Query,
    below: u64,
    limit: usize,
) -> Result<Vec<(u64, String)>, StoreError> {
    let sql = "SELECT key, content FROM chat_messages WHERE key < $1 ORDER BY key DESC LIMIT $2";
    tx.query(sql, params![below, limit], |row| Ok((row.u64(0)?, row.text(1)?)))
}

/// An event that may have the text of a message.
pub(crate) struct CarrierRow {
    pub(crate) seq: u64,
    pub(crate) topic: Topic,
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Events from one seq on, below another, that may have the text of a message.
pub(crate) fn carriers_between(
    tx: &mut impl Query,
    from: u64,
    below: u64,
) -> Result<Vec<CarrierRow>, StoreError> {
    let sql = "SELECT e.seq, t.name, e.name, e.data FROM events e JOIN topics t ON t.id = e.topic_id \
               WHERE e.seq >= $1 AND e.seq < $2 AND e.name IN \
               ('new_message', 'message_edited', 'conversation_joined', 'invitation_accepted') ORDER BY e.seq DESC";
    tx.query(sql, params![from, below], |row| {
        let topic = Topic::new(row.str(1)?).map_err(|error| StoreError::Value(error.to_string()))?;
        Ok(CarrierRow { seq: row.u64(0)?, topic, name: row.text(2)?, data: row.text(3)? })
    })
}
