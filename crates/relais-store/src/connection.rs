//! What the writer and the readers need from a database.

use relais_protocol::event::Epoch;

use crate::buffer::LogBuffer;
use crate::error::StoreError;
use crate::packs::Place;
use crate::param::Param;
use crate::row::Row;
use crate::tx::Backend;

/// Where the log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
}

/// Called with each row of an answer, in order.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>;

/// Called with each row of several answers: the number of the question, and the row.
pub(crate) type VisitEach<'v> = &'v mut dyn FnMut(usize, &Row<'_>) -> Result<(), StoreError>;

/// Runs statements. Statements are prepared once per connection and kept.
pub(crate) trait Connection: Send {
    /// Which database it is.
    fn backend(&self) -> Backend;

    /// Runs a statement without an answer and returns how many rows it changed.
    fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError>;

    /// Runs a statement and shows each row of its answer.
    fn visit(&mut self, sql: &'static str, params: &[Param<'_>], visit: Visit<'_>) -> Result<(), StoreError>;

    /// Runs a statement once for each of `all`, in one round trip where there are any, and returns how many rows each
    /// changed. The first failure ends it.
    fn execute_each(&mut self, sql: &'static str, all: &[&[Param<'_>]]) -> Result<Vec<u64>, StoreError> {
        all.iter().map(|params| self.execute(sql, params)).collect()
    }

    /// As [`Connection::execute_each`], for answers.
    fn visit_each(
        &mut self,
        sql: &'static str,
        all: &[&[Param<'_>]],
        visit: VisitEach<'_>,
    ) -> Result<(), StoreError> {
        let mut each = all.iter().enumerate();
        each.try_for_each(|(number, params)| self.visit(sql, params, &mut |row| visit(number, row)))
    }
}

/// A connection that reads one snapshot at a time.
pub(crate) trait ReadConnection: Connection {
    /// Fixes the snapshot that the following statements see; connects again if the connection was lost.
    fn begin_read(&mut self) -> Result<(), StoreError>;

    /// Lets the snapshot go.
    fn end_read(&mut self) -> Result<(), StoreError>;
}

/// The connection of the writer thread: one transaction at a time, with at most one savepoint.
pub(crate) trait WriteConnection: Connection {
    /// Starts a transaction and locks the head of the log until its end, so that the order of commits is the
    /// order of `seq` across every writer of the database. Waits for a lost connection, but not for ever.
    fn begin(&mut self) -> Result<Head, StoreError>;

    /// Starts a savepoint, in place of the one before it if `replace`.
    fn savepoint(&mut self, replace: bool) -> Result<(), StoreError>;

    /// Undoes everything since the savepoint, which stays.
    fn rollback_to_savepoint(&mut self) -> Result<(), StoreError>;

    /// Puts a content beside the database, where it becomes durable with the commit; `None` if contents belong
    /// into rows.
    fn pack(&mut self, _content: &[u8]) -> Result<Option<Place>, StoreError> {
        Ok(None)
    }

    /// Starts a transaction that appends nothing to the log and locks no head.
    fn begin_rows(&mut self) -> Result<(), StoreError>;

    /// Writes what waits in the buffer, which stays as it is: whoever calls notes what of it is written.
    fn append(&mut self, log: &LogBuffer) -> Result<(), StoreError>;

    /// Writes what waits in the buffer and makes the transaction durable, and with it, where `seq` is given, the log's
    /// head.
    ///
    /// After an error nothing of it is stored and the transaction has to be rolled back, except after
    /// [`StoreError::CommitUnknown`].
    fn commit(&mut self, log: &LogBuffer, seq: Option<u64>) -> Result<(), StoreError>;

    /// Undoes the transaction. Never fails: a lost connection has undone it as well.
    fn rollback(&mut self);

    /// Whether the transaction is still open; some failures end it from below.
    fn in_transaction(&self) -> bool;

    /// Whether a failed read spoils the transaction, so that reading too needs a savepoint.
    fn reads_need_savepoint(&self) -> bool;

    /// Leaves the database tidy; the connection is not used afterwards.
    fn close(self: Box<Self>);
}
