//! What a closure may do inside a transaction.

use std::sync::Arc;

use relais_protocol::event::{Cursor, Epoch, Event, Position, Topic};
use relais_protocol::time::Timestamp;

use crate::calendar::Calendar;
use crate::connection::{Connection, WriteConnection};
use crate::error::StoreError;
use crate::jobs::Backlog;
use crate::log::{self, Amended};
use crate::packs::Place;
use crate::param::Param;
use crate::params;
use crate::row::Row;
use crate::topics::{Standing, Topics};

/// Which database it is, for the few statements that only one of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded one.
    Sqlite,
    /// The server.
    Postgres,
}

/// Runs statements and reads their answers; implemented by [`WriteTx`] and [`ReadTx`].
///
/// The same SQL text runs on both databases. Parameters are written `$1`, `$2` … and may be used several
/// times. Statements are prepared once per connection, hence the static text.
pub trait Query {
    /// Which database it is.
    fn backend(&self) -> Backend;

    /// Runs `sql` and shows each row to `visit`, in order.
    ///
    /// # Errors
    /// Whatever the database or `visit` reports.
    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Every row of the answer through `map`. The statement carries its own `LIMIT`.
    ///
    /// # Errors
    /// Whatever the database or `map` reports.
    fn query<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        self.visit(sql, params, &mut |row| {
            found.push(map(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// The first row of the answer through `map`, or nothing.
    ///
    /// # Errors
    /// Whatever the database or `map` reports.
    fn query_opt<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        mut map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut found = None;
        self.visit(sql, params, &mut |row| {
            if found.is_none() {
                found = Some(map(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The one row that the answer always has.
    ///
    /// # Errors
    /// Whatever the database or `map` reports; [`StoreError::Internal`] if there is no row.
    fn query_one<T>(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        map: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.query_opt(sql, params, map)?.ok_or_else(|| StoreError::Internal(format!("no row from: {sql}")))
    }
}

/// A consistent, unchanging view of the database.
pub struct ReadTx<'a> {
    connection: &'a mut dyn Connection,
}

impl<'a> ReadTx<'a> {
    pub(crate) fn new(connection: &'a mut dyn Connection) -> Self {
        Self { connection }
    }

    /// The last event that this view contains. What this view shows, plus every event after this cursor, is
    /// what a later view shows.
    ///
    /// # Errors
    /// Whatever the database reports.
    pub fn cursor(&mut self) -> Result<Cursor, StoreError> {
        log::bounds(self).map(|bounds| bounds.head)
    }
}

impl Query for ReadTx<'_> {
    fn backend(&self) -> Backend {
        self.connection.backend()
    }

    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.connection.visit(sql, params, visit)
    }
}

/// Runs after the commit, on the completion thread.
pub(crate) type Hook = Box<dyn FnOnce() + Send>;

/// What the closures of one group share.
pub(crate) struct Group {
    pub(crate) epoch: Epoch,
    /// The last `seq` given out.
    pub(crate) seq: u64,
    /// Whether a closure before this one has changes waiting for the commit.
    pub(crate) dirty: bool,
    /// Whether the connection has a savepoint.
    pub(crate) savepoint: bool,
    /// The time of the database server, once a closure has asked for it.
    pub(crate) server_now: Option<Timestamp>,
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
    topics: &'a mut Topics,
    calendar: &'a Calendar,
    backlog: &'a Arc<Backlog>,
    /// Topics that this closure moved, and where they stood before.
    stood: Vec<(Topic, Option<Standing>)>,
    effects: Effects,
    now: Timestamp,
    seq_before: u64,
    marked: bool,
    wrote: bool,
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
        topics: &'a mut Topics,
        calendar: &'a Calendar,
        backlog: &'a Arc<Backlog>,
        now: Timestamp,
    ) -> Self {
        let seq_before = group.seq;
        Self {
            connection,
            group,
            topics,
            calendar,
            backlog,
            stood: Vec::new(),
            effects: Effects::default(),
            now,
            seq_before,
            marked: false,
            wrote: false,
            failed: None,
        }
    }

    /// Runs a statement without an answer and returns how many rows it changed.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.prepare_for(true)?;
        let result = self.connection.execute(sql, params);
        self.note(result)
    }

    /// Appends an event to the log, in this transaction. It reaches the event sink after the commit.
    ///
    /// `data` is a JSON object, already serialised.
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn emit(&mut self, topic: &Topic, name: &str, data: String) -> Result<Emitted, StoreError> {
        let seq = self.group.seq + 1;
        let Standing { id, last_offset } = self.standing(topic, seq)?;
        let offset = last_offset + 1;
        self.execute(log::APPEND, params![seq, id, offset, name, &data, self.now])?;
        self.topics.put(topic, Standing { id, last_offset: offset });
        self.group.seq = seq;
        let epoch = self.group.epoch;
        self.effects.events.push(Arc::new(Event {
            topic: topic.clone(),
            epoch,
            offset,
            seq,
            name: name.into(),
            data: data.into(),
            at: self.now,
        }));
        Ok(Emitted { position: Position { epoch, offset }, seq })
    }

    /// Changes the data of an event that an earlier closure appended, in this transaction: what must not be told any
    /// more is not told to whoever reads the log from the commit on. `change` gets the data and returns what takes its
    /// place, or nothing if it may stay. An event that is no longer kept is left at that.
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
        self.prepare_for(true)?;
        let result = self.connection.pack(content);
        self.note(result)
    }

    /// Where the topic stands, and notes it for the case that this closure is undone.
    fn standing(&mut self, topic: &Topic, seq: u64) -> Result<Standing, StoreError> {
        let noted = self.stood.iter().any(|(noted, _)| noted == topic);
        let before = match self.topics.get(topic) {
            Some(standing) => Some(standing),
            None => self.query_opt(log::FIND_TOPIC, params![topic.as_str()], |row| {
                Ok(Standing { id: row.i64(0)?, last_offset: row.u64(1)? })
            })?,
        };
        if !noted {
            self.stood.push((topic.clone(), before));
        }
        if let Some(standing) = before {
            return Ok(standing);
        }
        self.execute(log::ADD_TOPIC, params![seq, topic.as_str(), topic.family()])?;
        let id = i64::try_from(seq).map_err(|_| StoreError::Value(format!("{seq} is too large")))?;
        Ok(Standing { id, last_offset: 0 })
    }

    /// Runs `hook` after the commit, on the completion thread: before this closure's events reach the sink and
    /// before its caller is answered, after everything of earlier closures. It must be quick and must not wait
    /// for the store. It never runs if the changes are not committed.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.effects.hooks.push(Box::new(hook));
    }

    /// As [`WriteTx::after_commit`], but once this closure's events have reached the sink: for what is told after them.
    pub fn after_events(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.effects.last_hooks.push(Box::new(hook));
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

    /// Takes a savepoint if this closure's changes could not otherwise be told from those of others.
    fn prepare_for(&mut self, write: bool) -> Result<(), StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let needed = write || self.connection.reads_need_savepoint();
        if needed && self.group.dirty && !self.marked {
            let result = self.connection.savepoint(self.group.savepoint);
            self.note(result)?;
            self.group.savepoint = true;
            self.marked = true;
        }
        self.wrote |= write;
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
            self.group.dirty |= self.wrote;
            return Ok(self.effects);
        }
        self.group.seq = self.seq_before;
        for (topic, before) in self.stood.drain(..) {
            self.topics.restore(&topic, before);
        }
        let error = self.failed.take();
        let rest = if !self.connection.in_transaction() {
            Rest::GroupLost(error.clone().unwrap_or_else(ended))
        } else if self.marked {
            self.connection.rollback_to_savepoint().map_or_else(Rest::GroupLost, |()| Rest::Untouched)
        } else if self.group.dirty {
            Rest::Untouched
        } else if self.wrote || error.is_some() {
            Rest::StartAgain
        } else {
            Rest::Untouched
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
        self.prepare_for(!sql.starts_with("SELECT"))?;
        let result = self.connection.visit(sql, params, visit);
        self.note(result)
    }
}
