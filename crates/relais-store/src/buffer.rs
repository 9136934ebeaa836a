//! What the closures of a group append to the log, until it is written by one statement for all of them.

use std::collections::HashMap;
use std::sync::Arc;

use relais_protocol::event::{Event, Topic};

/// Bytes of buffered events; beyond it they are written at once.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Topics that are remembered between groups.
const TOPICS_MAX: usize = 10_000;
/// Table names in statements that must see the buffered events.
const TABLES: [&str; 3] = ["events", "topics", "amendments"];

/// Where a topic stands in the transaction that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicHead {
    pub(crate) id: i64,
    pub(crate) last_offset: u64,
}

/// Gives out offsets from memory, and holds events and topics that the open transaction does not have yet.
///
/// The heads it remembers are what the database would say: the log's head is locked while a transaction is open, and
/// everything is forgotten when a transaction is lost or another writer has moved the head.
#[derive(Default)]
pub(crate) struct LogBuffer {
    heads: HashMap<Topic, TopicHead>,
    /// Topics whose rows are behind, by id, until the commit.
    moved: HashMap<i64, u64>,
    /// Topics that begin in this transaction.
    begun: Vec<(i64, Topic)>,
    events: Vec<(i64, Arc<Event>)>,
    moves: u64,
    /// How much of all that the transaction has.
    written: Mark,
    waiting_bytes: usize,
    /// Whether a statement sees the log, by the place of its text in memory: address and length.
    sees_log: HashMap<(usize, usize), bool>,
}

/// How far the buffer is filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    begun: usize,
    events: usize,
    /// How often a topic has moved.
    moves: u64,
}

/// What a closure has to restore of the buffer if it is undone.
#[derive(Default)]
pub(crate) struct Undoing {
    filled: Mark,
    written: Mark,
    /// Topics that it moved, and where they stood before; `None` if they began with it.
    stood: HashMap<Topic, Option<TopicHead>>,
}

impl LogBuffer {
    /// Where a closure begins.
    pub(crate) fn begin(&self) -> Undoing {
        Undoing { filled: self.filled(), written: self.written, stood: HashMap::new() }
    }

    fn filled(&self) -> Mark {
        Mark { begun: self.begun.len(), events: self.events.len(), moves: self.moves }
    }

    /// Where a topic stands, if that is known.
    pub(crate) fn head(&self, topic: &Topic) -> Option<TopicHead> {
        self.heads.get(topic).copied()
    }

    /// Adds an event to a topic of which `before` is known; a topic without begins with it, under `event.seq` as its id.
    pub(crate) fn add(
        &mut self,
        event: Arc<Event>,
        id: i64,
        before: Option<TopicHead>,
        undoing: &mut Undoing,
    ) {
        let topic = &event.topic;
        if !undoing.stood.contains_key(topic) {
            undoing.stood.insert(topic.clone(), before);
        }
        if before.is_none() {
            self.begun.push((id, topic.clone()));
        }
        self.put(topic, TopicHead { id, last_offset: event.offset });
        self.waiting_bytes += event.data.len() + event.name.len();
        self.events.push((id, event));
    }

    fn put(&mut self, topic: &Topic, head: TopicHead) {
        self.moved.insert(head.id, head.last_offset);
        self.moves += 1;
        match self.heads.get_mut(topic) {
            Some(known) => *known = head,
            None => drop(self.heads.insert(topic.clone(), head)),
        }
    }

    /// Undoes what one closure added. What it had written for others waits again: its savepoint has undone that, too.
    pub(crate) fn undo(&mut self, undoing: Undoing) {
        self.begun.truncate(undoing.filled.begun);
        self.events.truncate(undoing.filled.events);
        self.written = undoing.written;
        for (topic, before) in undoing.stood {
            match before {
                Some(head) => self.put(&topic, head),
                None => {
                    if let Some(gone) = self.heads.remove(&topic) {
                        self.moved.remove(&gone.id);
                    }
                }
            }
        }
        self.count_waiting();
    }

    fn count_waiting(&mut self) {
        self.waiting_bytes =
            self.waiting_events().iter().map(|(_, event)| event.data.len() + event.name.len()).sum();
    }

    /// Whether the transaction lacks something.
    pub(crate) fn is_waiting(&self) -> bool {
        self.written != self.filled()
    }

    /// Whether more waits than should.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes > WAITING_BYTES_MAX
    }

    /// Whether `sql` reads or changes what is buffered.
    pub(crate) fn concerns(&mut self, sql: &'static str) -> bool {
        *self
            .sees_log
            .entry((sql.as_ptr().addr(), sql.len()))
            .or_insert_with(|| TABLES.iter().any(|table| sql.contains(table)))
    }

    /// Events that the transaction lacks, each with the id of its topic.
    pub(crate) fn waiting_events(&self) -> &[(i64, Arc<Event>)] {
        &self.events[self.written.events..]
    }

    /// Topics that the transaction lacks: id, topic and last offset.
    pub(crate) fn waiting_topics(&self) -> impl ExactSizeIterator<Item = (i64, &Topic, u64)> {
        let begun = &self.begun[self.written.begun..];
        begun.iter().map(|(id, topic)| (*id, topic, self.moved.get(id).copied().unwrap_or(0)))
    }

    /// Topics whose last offset differs from their row: id and last offset.
    pub(crate) fn moved_topics(&self) -> impl Iterator<Item = (i64, u64)> {
        // Topics begin in the order of their ids.
        let lacking = &self.begun[self.written.begun..];
        let has_row = move |id: &i64| lacking.binary_search_by_key(id, |(begun, _)| *begun).is_err();
        self.moved.iter().map(|(id, offset)| (*id, *offset)).filter(move |(id, _)| has_row(id))
    }

    /// The transaction has everything.
    pub(crate) fn set_written(&mut self) {
        self.written = self.filled();
        self.waiting_bytes = 0;
    }

    /// The transaction is committed.
    pub(crate) fn committed(&mut self) {
        self.start_again();
        if self.heads.len() > TOPICS_MAX {
            self.heads.clear();
        }
    }

    /// The transaction is gone, or another writer has moved the head: what is remembered may not be so.
    pub(crate) fn forget(&mut self) {
        self.start_again();
        self.heads.clear();
    }

    fn start_again(&mut self) {
        self.moved.clear();
        self.begun.clear();
        self.events.clear();
        self.moves = 0;
        self.written = Mark::default();
        self.waiting_bytes = 0;
    }
}
