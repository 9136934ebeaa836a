//! What a group appends to the log, in one statement for all its events, one for the topics that begin and one for those
//! that move.

use tokio_postgres::Statement;

use super::session::{Session, Value};
use crate::buffer::LogBuffer;
use crate::error::StoreError;

const ADD_TOPICS: &str = "INSERT INTO topics (id, name, family, last_offset) \
     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])";

/// In the order of ids, as every group locks them.
const MOVE_TOPICS: &str = "UPDATE topics SET last_offset = moved.last_offset \
     FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS m (id, last_offset) ORDER BY id) AS moved \
     WHERE topics.id = moved.id";

const APPEND: &str = "INSERT INTO events (seq, topic_id, topic_offset, name, data, at) \
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])";

const MOVE_HEAD: &str = "UPDATE log_head SET seq = $1 WHERE id = 1";

/// The columns of the buffered events.
#[derive(Default)]
struct Columns<'a> {
    begun: (Vec<i64>, Vec<&'a str>, Vec<&'a str>, Vec<i64>),
    moved: (Vec<i64>, Vec<i64>),
    seqs: Vec<i64>,
    topics: Vec<i64>,
    offsets: Vec<i64>,
    names: Vec<&'a str>,
    data: Vec<&'a str>,
    at: Vec<i64>,
    head: Option<i64>,
}

impl<'a> Columns<'a> {
    fn of(log: &'a LogBuffer, head: Option<u64>) -> Result<Self, StoreError> {
        let mut columns = Self { head: head.map(number).transpose()?, ..Self::default() };
        for (id, topic, last_offset) in log.waiting_topics() {
            columns.begun.0.push(id);
            columns.begun.1.push(topic.as_str());
            columns.begun.2.push(topic.family());
            columns.begun.3.push(number(last_offset)?);
        }
        for (id, last_offset) in log.moved_topics() {
            columns.moved.0.push(id);
            columns.moved.1.push(number(last_offset)?);
        }
        for (topic_id, event) in log.waiting_events() {
            columns.seqs.push(number(event.seq)?);
            columns.topics.push(*topic_id);
            columns.offsets.push(number(event.offset)?);
            columns.names.push(&event.name);
            columns.data.push(&event.data);
            columns.at.push(event.at.as_millis());
        }
        Ok(columns)
    }

    fn statements(&self, session: &mut Session) -> Result<Vec<(Statement, Vec<Value<'_>>)>, StoreError> {
        let mut all: Vec<(Statement, Vec<Value<'_>>)> = Vec::new();
        let (ids, names, families, offsets) = &self.begun;
        if !ids.is_empty() {
            all.push((session.statement(ADD_TOPICS)?, vec![ids, names, families, offsets]));
        }
        let (ids, offsets) = &self.moved;
        if !ids.is_empty() {
            all.push((session.statement(MOVE_TOPICS)?, vec![ids, offsets]));
        }
        if !self.seqs.is_empty() {
            let values: Vec<Value<'_>> =
                vec![&self.seqs, &self.topics, &self.offsets, &self.names, &self.data, &self.at];
            all.push((session.statement(APPEND)?, values));
        }
        if let Some(head) = &self.head {
            all.push((session.statement(MOVE_HEAD)?, vec![head]));
        }
        Ok(all)
    }
}

/// Writes the buffered events.
pub(super) fn append(session: &mut Session, log: &LogBuffer) -> Result<(), StoreError> {
    let columns = Columns::of(log, None)?;
    let all = columns.statements(session)?;
    session.execute_all(&all)
}

/// Writes the buffered events and the log's head, and commits.
pub(super) fn commit(session: &mut Session, log: &LogBuffer, head: Option<u64>) -> Result<(), StoreError> {
    let columns = Columns::of(log, head)?;
    let all = columns.statements(session)?;
    session.execute_all_and_commit(&all)
}

fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Value(format!("{value} is too large")))
}
