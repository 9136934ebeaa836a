//! Rows that are no part of the log: written beside it, on a connection that never holds the log's head.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use relais_protocol::event::Epoch;
use relais_protocol::time::{SharedClock, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::buffer::LogBuffer;
use crate::calendar::Calendar;
use crate::completion::{Work, answer};
use crate::connection::WriteConnection;
use crate::error::StoreError;
use crate::jobs::Backlog;
use crate::param::Param;
use crate::row::Row;
use crate::tx::{Backend, Group, Query, Rest, WriteTx};
use crate::writer::Command;

/// How often a command is tried whose rows others hold.
const ATTEMPTS: u32 = 5;
/// Between two attempts; each one is longer by as much.
const PAUSE: Duration = Duration::from_millis(20);

/// What a closure may do that writes rows without an event: as [`WriteTx`], but nothing is appended to the log.
pub struct RowTx<'a, 'c>(&'a mut WriteTx<'c>);

impl<'a, 'c> RowTx<'a, 'c> {
    pub(crate) fn new(tx: &'a mut WriteTx<'c>) -> Self {
        Self(tx)
    }

    /// See [`WriteTx::execute`].
    ///
    /// # Errors
    /// Whatever the database reports; the closure's changes are then undone.
    pub fn execute(&mut self, sql: &'static str, params: &[Param<'_>]) -> Result<u64, StoreError> {
        self.0.execute(sql, params)
    }

    /// See [`WriteTx::execute_each`].
    ///
    /// # Errors
    /// Whatever the database reports first; the closure's changes are then undone.
    pub fn execute_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
    ) -> Result<Vec<u64>, StoreError> {
        self.0.execute_each(sql, all)
    }

    /// The time of this command.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// See [`crate::Store::retention_now`].
    #[must_use]
    pub fn retention_now(&self) -> Timestamp {
        self.0.retention_now()
    }
}

impl Query for RowTx<'_, '_> {
    fn backend(&self) -> Backend {
        self.0.backend()
    }

    fn visit(
        &mut self,
        sql: &'static str,
        params: &[Param<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.0.visit(sql, params, visit)
    }

    fn visit_each<'p>(
        &mut self,
        sql: &'static str,
        all: &[impl AsRef<[Param<'p>]>],
        visit: &mut dyn FnMut(usize, &Row<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.0.visit_each(sql, all, visit)
    }
}

/// A closure that may run several times, and where its result goes.
pub(crate) struct RowClosure<F, T, E> {
    run: F,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> RowClosure<F, T, E> {
    pub(crate) fn new(run: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { run, result: None, reply }
    }
}

impl<F, T, E> Work for RowClosure<F, T, E>
where
    F: Fn(&mut RowTx<'_, '_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool {
        self.result = None;
        self.result = Some((self.run)(&mut RowTx::new(tx)));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        answer(self.reply, outcome, self.result);
    }
}

/// The thread that writes them: one transaction for each command.
pub(crate) struct RowsWriter {
    pub(crate) connection: Box<dyn WriteConnection>,
    pub(crate) clock: SharedClock,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) epoch: Epoch,
}

/// Why an attempt came to nothing.
enum Failed {
    /// The closure itself reports why.
    ByItself,
    By(StoreError),
}

impl RowsWriter {
    /// Runs until stopped or until all senders are gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(command) = queue.blocking_recv() {
            match command {
                Command::Write(mut work) => {
                    let outcome = self.write(&mut *work);
                    work.answer(outcome);
                }
                Command::Follow(_) => {}
                Command::Stop => queue.close(),
            }
        }
        self.connection.close();
    }

    fn write(&mut self, work: &mut dyn Work) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            match self.attempt(work) {
                Ok(()) | Err(Failed::ByItself) => return Ok(()),
                Err(Failed::By(StoreError::Locked(reason))) if attempt < ATTEMPTS => {
                    metrics::counter!("relais_store_row_retries_total").increment(1);
                    tracing::debug!(reason, attempt, "rows are held by another transaction; trying again");
                    std::thread::sleep(PAUSE * attempt);
                    attempt += 1;
                }
                Err(Failed::By(error)) => return Err(error),
            }
        }
    }

    fn attempt(&mut self, work: &mut dyn Work) -> Result<(), Failed> {
        self.connection.begin_rows().map_err(Failed::By)?;
        let mut group = Group::new(self.epoch, 0);
        let mut log = LogBuffer::default();
        let (calendar, backlog, now) = (&self.calendar, &self.backlog, self.clock.now());
        let mut tx = WriteTx::new(&mut *self.connection, &mut group, &mut log, calendar, backlog, now);
        let run = catch_unwind(AssertUnwindSafe(|| work.run(&mut tx)));
        let failed = match tx.finish(matches!(run, Ok(true))) {
            Ok(_) => match self.connection.commit(&log, None) {
                Ok(()) => return Ok(()),
                Err(error) => Failed::By(error),
            },
            Err(undone) => match (run, undone.error, undone.rest) {
                (Err(_), ..) => {
                    tracing::error!("a closure that writes rows panicked; its changes were rolled back");
                    Failed::By(StoreError::Panicked)
                }
                (_, Some(error), _) | (_, None, Rest::GroupLost(error)) => Failed::By(error),
                (_, None, _) => Failed::ByItself,
            },
        };
        self.connection.rollback();
        Err(failed)
    }
}
