//! Committed events on their way to the sink: those of this process from memory, and from the log those of other processes
//! and those for which there was no room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relais_protocol::event::{Epoch, Event};
use relais_protocol::time::SharedClock;

use crate::completion::{EventSink, SharedSink, guarded};
use crate::connection::ReadConnection;
use crate::error::StoreError;
use crate::head::SharedHead;
use crate::log::{self, Amended};
use crate::params;
use crate::reader::Opener;

/// Events that are read from the log at once.
const PAGE: u64 = 1000;
/// Groups of this process that are distinguished from those of others while the sink is behind; older ones are
/// delivered like those that others committed, which costs the sink a comparison with what it knows.
const OWN_MAX: usize = 1000;

/// After the log could not be read.
const PAUSE: Duration = Duration::from_millis(200);

/// Gives events to the sink in the order of `seq`, each once, and moves the head that everybody sees.
pub(crate) struct Delivery {
    sink: SharedSink,
    head: Arc<SharedHead>,
    opener: Opener,
    clock: SharedClock,
    connection: Option<Box<dyn ReadConnection>>,
    /// The last event that is known to be committed.
    committed: u64,
    /// What this process committed and has not given yet: after the first, up to the second.
    own: VecDeque<(u64, u64)>,
    reported_behind: bool,
    /// The log could not be read, and is not asked before this.
    not_before: Option<Instant>,
}

impl Delivery {
    pub(crate) fn new(sink: SharedSink, head: Arc<SharedHead>, opener: Opener, clock: SharedClock) -> Self {
        let committed = head.cursor().seq;
        Self {
            sink,
            head,
            opener,
            clock,
            connection: None,
            committed,
            own: VecDeque::new(),
            reported_behind: false,
            not_before: None,
        }
    }

    pub(crate) fn sink(&self) -> Option<Arc<dyn EventSink>> {
        self.sink.read().clone()
    }

    fn given(&self) -> u64 {
        self.head.cursor().seq
    }

    /// Whether there are committed events that the sink does not have.
    pub(crate) fn is_behind(&self) -> bool {
        self.given() < self.committed
    }

    /// The log is known to have stood there: gives what is missing up to there, as far as there is room.
    pub(crate) fn reach(&mut self, seq: u64) {
        self.committed = self.committed.max(seq);
        if self.is_behind() {
            self.go_on();
        }
    }

    /// Reads the log's head and delivers what is missing, as far as there is room.
    pub(crate) fn follow(&mut self) -> Result<(), StoreError> {
        let epoch = self.head.epoch();
        let (seen, seq) = self.read(|connection| {
            let mut head = None;
            connection.visit(log::FIND_HEAD, params![], &mut |row| {
                head = Some((log::parse_epoch(row.str(0)?)?, row.u64(1)?));
                Ok(())
            })?;
            head.ok_or_else(|| StoreError::Internal("the log has no head".to_owned()))
        })?;
        if seen != epoch {
            return Err(StoreError::Schema(
                "the log was started afresh while this server was running: restart it".to_owned(),
            ));
        }
        self.committed = self.committed.max(seq);
        self.give_from_log()
    }

    /// Gives what is missing, as far as there is room. What cannot be read is tried again.
    pub(crate) fn go_on(&mut self) {
        if self.not_before.is_some_and(|time| self.clock.instant() < time) {
            return;
        }
        self.not_before = None;
        if let Err(error) = self.give_from_log() {
            tracing::warn!(%error, "events that were committed could not be read yet; trying again");
            self.not_before = Some(self.clock.instant() + PAUSE);
        }
        let behind = self.is_behind();
        if behind && !self.reported_behind {
            metrics::counter!("relais_store_sink_behind_total").increment(1);
            tracing::warn!(
                given = self.given(),
                committed = self.committed,
                "events are committed faster than they can be given out; they follow from the log"
            );
        }
        self.reported_behind = behind;
        metrics::gauge!("relais_store_sink_behind_events").set((self.committed - self.given()) as f64);
    }

    /// Delivers the events of one closure of this process, unless earlier ones are still pending or there is no room:
    /// then they are read from the log in their turn.
    pub(crate) fn give(&mut self, amended: Vec<Amended>, events: Vec<Arc<Event>>) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            // Pending events are delivered in their current state.
            let given = self.given();
            let told = amended.into_iter().filter(|(seq, _)| *seq <= given).collect();
            amend(told, self.sink().as_deref());
            return;
        };
        let (first, last) = (first.seq, last.seq);
        self.committed = self.committed.max(last);
        let sink = self.sink();
        let sink = sink.as_deref();
        let mut is_next = self.given() + 1 == first;
        if is_next && has_room(sink) {
            amend(amended, sink);
        } else {
            is_next = amended.is_empty() && is_next;
        }
        for event in events {
            is_next = is_next && has_room(sink);
            if is_next {
                self.publish(event, sink);
            }
        }
        if self.given() < last {
            self.note_own(first - 1, last);
        }
    }

    fn note_own(&mut self, after: u64, up_to: u64) {
        match self.own.back_mut() {
            Some(newest) if newest.1 == after => newest.1 = up_to,
            _ => self.own.push_back((after, up_to)),
        }
        if self.own.len() > OWN_MAX {
            self.own.pop_front();
        }
    }

    fn is_own(&mut self, seq: u64) -> bool {
        while self.own.front().is_some_and(|(_, up_to)| *up_to < seq) {
            self.own.pop_front();
        }
        self.own.front().is_some_and(|(after, _)| *after < seq)
    }

    /// Reads page by page on a connection of its own, which no lock is held for.
    fn give_from_log(&mut self) -> Result<(), StoreError> {
        let sink = self.sink();
        let sink = sink.as_deref();
        let epoch = self.head.epoch();
        while self.is_behind() && has_room(sink) {
            let (after, up_to) = (self.given(), self.committed.min(self.given() + PAGE));
            let (amended, events) = self.read(|connection| read_page(connection, epoch, after, up_to))?;
            amend(amended, sink);
            for event in events {
                if !has_room(sink) {
                    return Ok(());
                }
                if !self.is_own(event.seq)
                    && let Some(sink) = sink
                {
                    guarded("the event sink panicked", || sink.caught_up(&event));
                }
                self.publish(Arc::new(event), sink);
            }
            // Events trimmed meanwhile are skipped; a subscriber that needs them sees the gap.
            self.head.advance(up_to);
        }
        Ok(())
    }

    fn publish(&self, event: Arc<Event>, sink: Option<&dyn EventSink>) {
        let seq = event.seq;
        if let Some(sink) = sink {
            guarded("the event sink panicked", || sink.committed(event));
        }
        self.head.advance(seq);
        if let Some(sink) = sink {
            guarded("the event sink panicked", || sink.advanced(seq));
        }
    }

    /// Runs `f` on one snapshot; a connection that fails is not used again.
    fn read<T>(
        &mut self,
        f: impl FnOnce(&mut dyn ReadConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => (self.opener)()?,
        };
        connection.begin_read()?;
        let result = f(&mut *connection);
        if connection.end_read().is_ok() {
            self.connection = Some(connection);
        }
        result
    }
}

/// The events after one place up to another, and what they have amended of those before them.
fn read_page(
    connection: &mut dyn ReadConnection,
    epoch: Epoch,
    after: u64,
    up_to: u64,
) -> Result<(Vec<Amended>, Vec<Event>), StoreError> {
    let mut amended = Vec::new();
    let mut from = Some(0);
    while let Some(first) = from {
        let (some, next) = log::amended_between(connection, after, up_to, first)?;
        amended.extend(some);
        from = next;
    }
    Ok((amended, log::events_between(connection, epoch, after, up_to)?))
}

fn has_room(sink: Option<&dyn EventSink>) -> bool {
    sink.is_none_or(EventSink::has_room)
}

fn amend(amended: Vec<Amended>, sink: Option<&dyn EventSink>) {
    let Some(sink) = sink else { return };
    for (seq, data) in amended {
        guarded("the event sink panicked", || sink.amended(seq, data));
    }
}
