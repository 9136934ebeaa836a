//! Where each topic stands, as the writer knows it.

use std::collections::HashMap;

use relais_protocol::event::Topic;

use crate::connection::WriteConnection;
use crate::error::StoreError;
use crate::log;
use crate::params;

/// Topics that are remembered between groups.
const TOPICS_MAX: usize = 10_000;

/// Where a topic stands in the transaction that is open.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) id: i64,
    pub(crate) last_offset: u64,
}

/// Gives out offsets from memory, so that a topic's row is written once per group and not once per event.
///
/// What is remembered is what the database would say: the log's head is locked while a transaction is open, and
/// everything is forgotten when a transaction is lost or another writer has moved the head.
#[derive(Default)]
pub(crate) struct Topics {
    known: HashMap<Topic, Standing>,
    /// Topics whose rows are behind, by id.
    moved: HashMap<i64, u64>,
}

impl Topics {
    pub(crate) fn get(&self, topic: &Topic) -> Option<Standing> {
        self.known.get(topic).copied()
    }

    /// Notes that `topic` stands at `standing`; its row follows with [`Topics::write`].
    pub(crate) fn put(&mut self, topic: &Topic, standing: Standing) {
        self.moved.insert(standing.id, standing.last_offset);
        match self.known.get_mut(topic) {
            Some(known) => *known = standing,
            None => drop(self.known.insert(topic.clone(), standing)),
        }
    }

    /// Goes back to where `topic` stood before a closure that is undone; `None` if it had no row.
    pub(crate) fn restore(&mut self, topic: &Topic, before: Option<Standing>) {
        match before {
            Some(standing) => self.put(topic, standing),
            None => {
                if let Some(gone) = self.known.remove(topic) {
                    self.moved.remove(&gone.id);
                }
            }
        }
    }

    /// Brings the rows up to date, before the commit.
    pub(crate) fn write(&mut self, connection: &mut dyn WriteConnection) -> Result<(), StoreError> {
        for (id, offset) in self.moved.drain() {
            connection.execute(log::MOVE_TOPIC, params![id, offset])?;
        }
        if self.known.len() > TOPICS_MAX {
            self.known.clear();
        }
        Ok(())
    }

    /// What is remembered may not be so.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.moved.clear();
    }
}
