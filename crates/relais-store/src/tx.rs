//! What a closure may do inside a transaction.

use std::sync::Arc;

use relais_protocol::event::{Epoch, Event, Position, Topic};
use relais_protocol::time::Timestamp;

use crate::buffer::{LogBuffer, TopicHead, Undoing};
use crate::calendar::Calendar;
use crate::connection::WriteConnection;
use crate::error::StoreError;
use crate::jobs::Backlog;
use crate::log::{self, Amended};
use crate::packs::Place;
use crate::param::Param;
use crate::params;
pub use crate::query::{Backend, Query, ReadTx};
use crate::row::Row;
use crate::rows::RowTx;

/// Runs after the commit, on the completion thread.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// What the closures of one group share.
pub(crate) struct Group {
    pub(crate) epoch: Epoch,
    /// The last `seq` given out.
    pub(crate) seq: u64,
    pub(crate) held: Held,
    /// The time of the database server, once a closure has asked for it.
    server_now: Option<Timestamp>,
}

impl Group {
    /// Closures of a transaction that has begun with the log there.
    pub(crate) fn new(epoch: Epoch, seq: u64) -> Self {
        Self { epoch, seq, held: Held::Nothing, server_now: None }
    }
}

/// What the open transaction holds of the closures that have run, and so what undoing the next one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing: the transaction is undone whole.
    Nothing,
    /// Changes, and no savepoint yet.
    Unmarked,
    /// Changes, and a savepoint after the last of them.
    Marked,
    /// Changes, and a savepoint before the last of them: it is replaced before it is of use.
    Outdated,
}

/// How what one closure did so far is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undo {
    /// It has changed nothing.
    Nothing,
    /// Back to the savepoint.
    ToSavepoint,
    /// With the transaction, in which it is alone.
    Whole,
}

/// What happens once the closure's changes are committed.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) hooks: Vec<Hook>,
    pub(crate) events: Vec<Arc<Event>>,
    /// Events of earlier closures.
    pub(crate) amended: Vec<Amended>,
    /// Run after the events.
    pub(crate) last_hooks: Vec<Hook>,
}

/// What one closure does inside the transaction of its group.
///
/// The closure's changes are kept or undone as a whole. A statement that fails spoils them: further statements
/// repeat the error, and the changes are undone even if the closure returns `Ok`. Where a conflict is expected,
/// say so in the statement with `ON CONFLICT`.
pub struct WriteTx<'a> {
    connection: &'a mut dyn WriteConnection,
    group: &'a mut Group,
    log: &'a mut LogBuffer,
    calendar: &'a Calendar,
    backlog: &'a Arc<Backlog>,
    effects: Effects,
    now: Timestamp,
    seq_before: u64,
    undoing: Undoing,
    undo: Undo,
    failed: Option<StoreError>,
}

/// Where an event was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The place in its topic.
    pub position: Position,
    /// The place in the whole log.
    pub seq: u64,
}

impl<'a> WriteTx<'a> {
    pub(crate) fn new(
        connection: &'a mut dyn WriteConnection,
        group: &'a mut Group,
        log: &'a mut LogBuffer,
        calendar: &'a Calendar,
        backlog: &'a Arc<Backlog>,
        now: Timestamp,
    ) -> Self {
        let (seq_before, undoing) = (group.seq, log.begin());
        Self {
            connection,
            group,
            log,
            calendar,
            backlog,
            effects: Effects::default(),
            now,
            seq_before,
            undoing,
            undo: Undo::Nothing,
            failed: None,
        }
    }

    /// Runs a statement without an answer and returns how many rows it changed.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.prepare_for(sql, true)?;
        let result = self.connection.execute(sql, params);
        self.note(result)
    }

    /// Runs a statement once with each of `all`, in one round trip, and returns how many rows each changed.
    ///
    /// # Errors
    /// Whatever the database reports first; the closure's changes are then undone.
    pub fn execute_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
    ) -> Result<Vec<u64>, StoreError> {
        if all.is_empty() {
            return Ok(Vec::new());
        }
        self.prepare_for(sql, true)?;
        let all: Vec<&[Param<'p>]> = all.iter().map(AsRef::as_ref).collect();
        let result = self.connection.execute_each(sql, &all);
        self.note(result)
    }

    /// Appends an event to the log, in this transaction. It reaches the event sink after the commit.
    ///
    /// `data` is a JSON object, already serialised.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn emit(&mut self, topic: &Topic, name: &str, data: String) -> Result<Emitted, StoreError> {
        Param::check(params![name, &data]).or_else(|error| self.note(Err(error)))?;
        let seq = self.group.seq + 1;
        let before = self.topic_head(topic)?;
        let id = match before {
            Some(head) => head.id,
            None => i64::try_from(seq).map_err(|_| StoreError::Value(format!("{seq} is too large")))?,
        };
        let offset = before.map_or(0, |head| head.last_offset) + 1;
        let epoch = self.group.epoch;
        let event = Arc::new(Event {
            topic: topic.clone(),
            epoch,
            offset,
            seq,
            name: name.into(),
            data: data.into(),
            at: self.now,
        });
        self.log.add(Arc::clone(&event), id, before, &mut self.undoing);
        self.group.seq = seq;
        self.effects.events.push(event);
        if self.log.is_full() {
            self.write_log()?;
        }
        Ok(Emitted { position: Position { epoch, offset }, seq })
    }

    /// Changes the data of an event that an earlier closure appended, in this transaction: readers of the
    /// log no longer receive the former data from the commit on. `change` gets the data and returns the replacement, or
    /// nothing if it may stay. An event that is no longer kept is ignored.
    ///
    /// Other processes on the database learn of it with the next event that is appended: a closure that amends emits one
    /// after that.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn amend(&mut self, seq: u64, change: impl FnOnce(&str) -> Option<String>) -> Result<(), StoreError> {
        let data = self.query_opt(log::FIND_DATA, params![seq], |row| row.text(0))?;
        if let Some(data) = data.and_then(|data| change(&data)) {
            self.execute(log::AMEND, params![&data, seq])?;
            self.execute(log::NOTE_AMENDED, params![self.group.seq + 1, seq])?;
            self.effects.amended.push((seq, data.into()));
        }
        Ok(())
    }

    /// Puts a content beside the database, where it is as durable as a row once the commit is done. `None` if
    /// contents belong into rows: on PostgreSQL, and in a tool beside a server.
    ///
    /// Of use for contents of kilobytes, up to [`crate::packs::CONTENT_BYTES_MAX`]; see [`crate::packs`].
    ///
    /// # Errors
    /// [`StoreError::Value`] if it is larger, [`StoreError::Full`], or what the disk reports; the closure's
    /// changes are then undone.
    pub fn pack(&mut self, content: &[u8]) -> Result<Option<Place>, StoreError> {
        self.prepare_for("", true)?;
        let result = self.connection.pack(content);
        self.note(result)
    }

    /// Where the topic stands; nothing if it begins with this event. What the buffer lacks, the database has.
    fn topic_head(&mut self, topic: &Topic) -> Result<Option<TopicHead>, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if let Some(head) = self.log.head(topic) {
            return Ok(Some(head));
        }
        let mut found = None;
        self.prepare_for("", false)?;
        let result = self.connection.visit(log::FIND_TOPIC, params![topic.as_str()], &mut |row| {
            found = Some(TopicHead { id: row.i64(0)?, last_offset: row.u64(1)? });
            Ok(())
        });
        self.note(result)?;
        Ok(found)
    }

    /// Writes the buffered part of the log before the end of the group, for a statement that must see it.
    fn write_log(&mut self) -> Result<(), StoreError> {
        self.mark(true)?;
        let result = self.connection.append(self.log);
        self.note(result)?;
        self.log.set_written();
        Ok(())
    }

    /// Runs `hook` after the commit, on the completion thread: before this closure's events reach the sink and
    /// before its caller is answered, after everything of earlier closures. It must be quick and must not wait
    /// for the store. It never runs if the changes are not committed.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.effects.hooks.push(Box::new(hook));
    }

    /// As [`WriteTx::after_commit`], but once this closure's events have reached the sink: for notifications that must
    /// follow them. While the sink has no room and follows from the log, it does not wait for that.
    pub fn after_events(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.effects.last_hooks.push(Box::new(hook));
    }

    /// What writes rows and no events, in this transaction.
    pub fn rows(&mut self) -> RowTx<'_, 'a> {
        RowTx::new(self)
    }

    /// The time of this command; events carry it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The time by which nodes agree: the PostgreSQL server's, asked once for the whole group; this process's own with
    /// SQLite. For leases and delays, not for people.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn database_now(&mut self) -> Result<Timestamp, StoreError> {
        if self.backend() == Backend::Sqlite || !self.backlog.limits.server_time {
            return Ok(self.now);
        }
        if let Some(now) = self.group.server_now {
            return Ok(now);
        }
        let now = crate::jobs::server_now(self)?;
        self.group.server_now = Some(now);
        Ok(now)
    }

    /// The jobs that wait, as this process knows of them.
    pub(crate) fn backlog(&self) -> &Arc<Backlog> {
        self.backlog
    }

    /// See [`crate::Store::retention_now`].
    #[must_use]
    pub fn retention_now(&self) -> Timestamp {
        self.calendar.retention_now()
    }

    /// The life of the log that this closure's events belong to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.group.epoch
    }

    /// Makes the transaction ready for a statement.
    fn prepare_for(&mut self, sql: &'static str, write: bool) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.log.is_waiting() && self.log.concerns(sql) {
            self.write_log()?;
        }
        self.mark(write)
    }

    /// Takes a savepoint if this closure's changes could not otherwise be distinguished from those of others.
    fn mark(&mut self, write: bool) -> Result<(), StoreError> {
        let held = self.group.held;
        if held == Held::Nothing {
            if write {
                self.undo = Undo::Whole;
            }
            return Ok(());
        }
        if self.undo == Undo::Nothing && (write || self.connection.reads_need_savepoint()) {
            if held != Held::Marked {
                let result = self.connection.savepoint(held == Held::Outdated);
                self.note(result)?;
            }
            self.group.held = Held::Marked;
            self.undo = Undo::ToSavepoint;
        }
        if write {
            self.group.held = Held::Outdated;
        }
        Ok(())
    }

    fn note<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// Ends the closure's part. `Ok` has what to do after the commit.
    pub(crate) fn finish(mut self, keep: bool) -> Result<Effects, Undone> {
        if keep && self.failed.is_none() {
            let has_added = self.group.seq > self.seq_before;
            if self.group.held == Held::Nothing && (self.undo == Undo::Whole || has_added) {
                self.group.held = Held::Unmarked;
            }
            return Ok(self.effects);
        }
        self.group.seq = self.seq_before;
        self.log.undo(std::mem::take(&mut self.undoing));
        let error = self.failed.take();
        let rest = if !self.connection.in_transaction() {
            Rest::GroupLost(error.clone().unwrap_or_else(ended))
        } else {
            match (self.undo, self.group.held) {
                (Undo::ToSavepoint, _) => match self.connection.rollback_to_savepoint() {
                    Ok(()) => {
                        self.group.held = Held::Marked;
                        Rest::Untouched
                    }
                    Err(error) => Rest::GroupLost(error),
                },
                (Undo::Whole, _) => Rest::StartAgain,
                (Undo::Nothing, Held::Nothing) if error.is_some() => Rest::StartAgain,
                (Undo::Nothing, _) => Rest::Untouched,
            }
        };
        Err(Undone { error, rest })
    }
}

/// A closure's changes are gone.
pub(crate) struct Undone {
    /// The statement that failed, if one did.
    pub(crate) error: Option<StoreError>,
    pub(crate) rest: Rest,
}

/// What undoing one closure means for the others of its group.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The changes of the others are still in the transaction.
    Untouched,
    /// There were no changes of others; the transaction has to be started again.
    StartAgain,
    /// The whole transaction is gone, for this reason.
    GroupLost(StoreError),
}

fn ended() -> StoreError {
    StoreError::Unavailable("the transaction was ended by the database".to_owned())
}

impl Query for WriteTx<'_> {
    fn backend(&self) -> Backend {
        self.connection.backend()
    }

    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.prepare_for(sql, !sql.starts_with("SELECT"))?;
        let result = self.connection.visit(sql, params, visit);
        self.note(result)
    }

    fn visit_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
        visit: &mut dyn FnMut(usize, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if all.is_empty() {
            return Ok(());
        }
        let all: Vec<&[Param<'p>]> = all.iter().map(AsRef::as_ref).collect();
        self.prepare_for(sql, !sql.starts_with("SELECT"))?;
        let result = self.connection.visit_each(sql, &all, visit);
        self.note(result)
    }
}
