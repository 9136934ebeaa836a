//! The event log: what is stored of each event, and how it is read back.

use std::sync::Arc;

use relais_protocol::event::{Channel, Cursor, Epoch, Event, Position, Topic};
use relais_protocol::time::Timestamp;

use crate::connection::Connection;
use crate::error::StoreError;
use crate::params;
use crate::row::Row;
use crate::tx::{Query, WriteTx};

/// Which life of the log it is, and where it stands.
pub(crate) const FIND_HEAD: &str = "SELECT epoch, seq FROM log_head WHERE id = 1";

/// Where a topic stands.
pub(crate) const FIND_TOPIC: &str = "SELECT id, last_offset FROM topics WHERE name = $1";

/// A topic begins with its first event, whose `seq` is its id.
pub(crate) const ADD_TOPIC: &str =
    "INSERT INTO topics (id, name, family, last_offset) VALUES ($1, $2, $3, $4)";

/// Records where a topic stands after a group.
pub(crate) const MOVE_TOPIC: &str = "UPDATE topics SET last_offset = $2 WHERE id = $1";

/// Stores one event.
pub(crate) const APPEND: &str = "INSERT INTO events (seq, topic_id, topic_offset, name, data, at) \
     VALUES ($1, $2, $3, $4, $5, $6)";

/// The data of one event.
pub(crate) const FIND_DATA: &str = "SELECT data FROM events WHERE seq = $1";

/// Gives one event other data.
pub(crate) const AMEND: &str = "UPDATE events SET data = $1 WHERE seq = $2";

/// Records that the data of one event was amended, and by which event.
pub(crate) const NOTE_AMENDED: &str =
    "INSERT INTO amendments (told_by, seq) VALUES ($1, $2) ON CONFLICT (told_by, seq) DO NOTHING";

/// The events up to `$1` whose data was amended, as a part of the log after that reports; a page of them.
const AMENDED_BETWEEN: &str = "SELECT e.seq, e.data FROM events e WHERE e.seq > $3 AND e.seq IN \
     (SELECT seq FROM amendments WHERE told_by > $1 AND told_by <= $2 AND seq <= $1) ORDER BY e.seq LIMIT $4";

/// Amended events that are read at once.
const AMENDED_PAGE: usize = 500;

/// Records where the log stands after a group.
pub(crate) const MOVE_HEAD: &str = "UPDATE log_head SET seq = $1 WHERE id = 1";

/// Changes a row that is always there to what it is.
pub(crate) const TOUCH_HEAD: &str = "UPDATE log_head SET seq = seq WHERE id = 1";

/// Records where the contents end that a group and those before it put beside the database.
pub(crate) const MOVE_PACK_END: &str = "UPDATE log_head SET pack_end = $1 WHERE id = 1";

/// Begins the first life of the log.
pub(crate) const CREATE_HEAD: &str = "INSERT INTO log_head (id, epoch, seq, first_seq, pack_end) VALUES (1, $1, 0, 1, 0) \
     ON CONFLICT (id) DO NOTHING";

/// Every event of a part of the log.
const BETWEEN: &str = "SELECT e.seq, e.topic_offset, t.name, e.name, e.data, e.at \
     FROM events e JOIN topics t ON t.id = e.topic_id WHERE e.seq > $1 AND e.seq <= $2 ORDER BY e.seq";

// The order of the join is fixed for SQLite: in the order of seq, so that LIMIT ends it early.
const FAMILY_AFTER: &str = "SELECT e.seq, e.topic_offset, t.name, e.name, e.data, e.at \
     FROM events e CROSS JOIN topics t WHERE t.id = e.topic_id AND t.family = $1 \
     AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4";

const TOPIC_AFTER_OFFSET: &str = "SELECT seq, topic_offset, name, data, at FROM events \
     WHERE topic_id = $1 AND topic_offset > $2 AND seq <= $3 ORDER BY topic_offset LIMIT $4";

const OFFSET_AT: &str = "SELECT topic_offset FROM events WHERE topic_id = $1 AND seq <= $2 \
     ORDER BY topic_offset DESC LIMIT 1";

/// Events examined in one step of trimming.
const TRIM_STEP: u64 = 1000;

/// What the log still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// The first event that is kept, or the one after the head if none is.
    pub first_seq_kept: u64,
    /// The last event.
    pub head: Cursor,
}

impl LogBounds {
    /// Whether everything after `cursor` is still there.
    #[must_use]
    pub fn can_recover(&self, cursor: Cursor) -> bool {
        cursor.epoch == self.head.epoch
            && cursor.seq <= self.head.seq
            && cursor.seq + 1 >= self.first_seq_kept
    }
}

/// What the log still holds.
///
/// # Errors
/// Whatever the database reports.
pub fn bounds(tx: &mut impl Query) -> Result<LogBounds, StoreError> {
    tx.query_one("SELECT epoch, seq, first_seq FROM log_head WHERE id = 1", params![], |row| {
        let head = Cursor { epoch: parse_epoch(row.str(0)?)?, seq: row.u64(1)? };
        Ok(LogBounds { first_seq_kept: row.u64(2)?, head })
    })
}

/// At most `limit` events of `channel` with `after < seq <= up_to`, in order.
///
/// # Errors
/// Whatever the database reports.
pub fn events_after(
    tx: &mut impl Query,
    channel: &Channel,
    after: u64,
    up_to: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let epoch = bounds(tx)?.head.epoch;
    match channel {
        Channel::Family(family) => {
            tx.query(FAMILY_AFTER, params![&**family, after, up_to, limit], |row| any_event(row, epoch))
        }
        Channel::Topic(topic) => {
            let Some((id, _)) = find_topic(tx, topic)? else { return Ok(Vec::new()) };
            let seen = tx.query_opt(OFFSET_AT, params![id, after], |row| row.u64(0))?.unwrap_or(0);
            tx.query(TOPIC_AFTER_OFFSET, params![id, seen, up_to, limit], |row| {
                topic_event(row, topic, epoch)
            })
        }
    }
}

/// At most `limit` events of `topic` with an offset above `after` and a seq up to `up_to`, in order.
///
/// Offsets have no gaps: if the first one returned is not `after + 1`, what lies between has been trimmed.
///
/// # Errors
/// Whatever the database reports.
pub fn events_after_offset(
    tx: &mut impl Query,
    topic: &Topic,
    after: u64,
    up_to: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    let epoch = bounds(tx)?.head.epoch;
    let Some((id, _)) = find_topic(tx, topic)? else { return Ok(Vec::new()) };
    tx.query(TOPIC_AFTER_OFFSET, params![id, after, up_to, limit], |row| topic_event(row, topic, epoch))
}

/// Where `topic` stood when the log stood at `up_to`; offset 0 if it had no event.
///
/// # Errors
/// Whatever the database reports.
pub fn topic_position(tx: &mut impl Query, topic: &Topic, up_to: u64) -> Result<Position, StoreError> {
    let epoch = bounds(tx)?.head.epoch;
    let Some((id, last_offset)) = find_topic(tx, topic)? else { return Ok(Position { epoch, offset: 0 }) };
    if let Some(offset) = tx.query_opt(OFFSET_AT, params![id, up_to], |row| row.u64(0))? {
        return Ok(Position { epoch, offset });
    }
    // Everything up to there is trimmed; the first event kept follows it directly.
    let first_kept =
        tx.query_one("SELECT MIN(topic_offset) FROM events WHERE topic_id = $1", params![id], |row| {
            row.opt_u64(0)
        })?;
    Ok(Position { epoch, offset: first_kept.map_or(last_offset, |first| first.saturating_sub(1)) })
}

/// One step of trimming: forgets the oldest events that are older than `before`, a bounded number of them, and
/// never the last `keep_min`. Returns how many; 0 means there is nothing left to forget.
pub(crate) fn trim_step(tx: &mut WriteTx<'_>, before: Timestamp, keep_min: u64) -> Result<u64, StoreError> {
    let bounds = bounds(tx)?;
    let last_allowed = bounds.head.seq.saturating_sub(keep_min);
    let from = bounds.first_seq_kept.saturating_sub(1);
    let up_to = last_allowed.min(from + TRIM_STEP);
    // Only a run at the old end goes, whatever the clock did in between: what is kept has no gaps.
    let first_young = tx.query_one(
        "SELECT MIN(seq) FROM events WHERE seq > $1 AND seq <= $2 AND at >= $3",
        params![from, up_to, before],
        |row| row.opt_u64(0),
    )?;
    let last_gone = first_young.map_or(up_to, |seq| seq - 1);
    if last_gone <= from {
        return Ok(0);
    }
    tx.execute("DELETE FROM events WHERE seq <= $1", params![last_gone])?;
    tx.execute("DELETE FROM amendments WHERE told_by <= $1", params![last_gone])?;
    tx.execute("UPDATE log_head SET first_seq = $1 WHERE id = 1", params![last_gone + 1])?;
    Ok(last_gone - from)
}

fn find_topic(tx: &mut impl Query, topic: &Topic) -> Result<Option<(i64, u64)>, StoreError> {
    tx.query_opt(FIND_TOPIC, params![topic.as_str()], |row| Ok((row.i64(0)?, row.u64(1)?)))
}

fn topic_event(row: &Row<'_>, topic: &Topic, epoch: Epoch) -> Result<Event, StoreError> {
    Ok(Event {
        topic: topic.clone(),
        epoch,
        seq: row.u64(0)?,
        offset: row.u64(1)?,
        name: Arc::from(row.str(2)?),
        data: Arc::from(row.str(3)?),
        at: row.timestamp(4)?,
    })
}

/// The events with `after < seq <= up_to`, which another writer has committed.
pub(crate) fn events_between(
    connection: &mut dyn Connection,
    epoch: Epoch,
    after: u64,
    up_to: u64,
) -> Result<Vec<Event>, StoreError> {
    let mut events = Vec::new();
    connection.visit(BETWEEN, params![after, up_to], &mut |row| {
        events.push(any_event(row, epoch)?);
        Ok(())
    })?;
    Ok(events)
}

/// The events up to `after` that those with `after < seq <= up_to` have amended, page by page: those from `from` on. The
/// second is where the next page begins, if there may be one.
pub(crate) fn amended_between(
    connection: &mut dyn Connection,
    after: u64,
    up_to: u64,
    from: u64,
) -> Result<(Vec<Amended>, Option<u64>), StoreError> {
    let mut amended: Vec<Amended> = Vec::new();
    let (before, limit) = (from.saturating_sub(1), AMENDED_PAGE);
    connection.visit(AMENDED_BETWEEN, params![after, up_to, before, limit], &mut |row| {
        amended.push((row.u64(0)?, Arc::from(row.str(1)?)));
        Ok(())
    })?;
    let next = amended.last().filter(|_| amended.len() == AMENDED_PAGE).map(|(seq, _)| seq + 1);
    Ok((amended, next))
}

/// An event that has other data: its `seq`, and the data.
pub(crate) type Amended = (u64, Arc<str>);

/// Replaces an event whose topic is invalid: it keeps its position in the log, and is delivered only to subscribers of
/// its whole family.
const UNREADABLE: &str = "unreadable";

/// An event from a row of [`BETWEEN`]. One bad row never ends the reading of the others.
fn any_event(row: &Row<'_>, epoch: Epoch) -> Result<Event, StoreError> {
    let (seq, stored) = (row.u64(0)?, row.str(2)?);
    let (topic, name, data) = match Topic::new(stored) {
        Ok(topic) => (topic, row.str(3)?, row.str(4)?),
        Err(error) => {
            metrics::counter!("relais_log_unreadable_total").increment(1);
            tracing::warn!(seq, topic = stored, %error, "an event of the log has no topic that can be read; it is told to nobody");
            (Topic::new(UNREADABLE).map_err(|e| StoreError::Value(e.to_string()))?, UNREADABLE, "{}")
        }
    };
    Ok(Event {
        topic,
        epoch,
        seq,
        offset: row.u64(1)?,
        name: Arc::from(name),
        data: Arc::from(data),
        at: row.timestamp(5)?,
    })
}

/// An epoch as the database holds it.
pub(crate) fn parse_epoch(text: &str) -> Result<Epoch, StoreError> {
    text.parse().map_err(|_| StoreError::Value(format!("{text:?} is not an epoch")))
}
