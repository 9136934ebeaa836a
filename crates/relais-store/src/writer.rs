//! The writer thread: gathers closures, runs them in one transaction, commits once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use relais_protocol::event::Epoch;
use relais_protocol::time::SharedClock;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::calendar::Calendar;
use crate::completion::{Batch, Finished, Work};
use crate::connection::{Head, WriteConnection};
use crate::error::StoreError;
use crate::jobs::Backlog;
use crate::log;
use crate::topics::Topics;
use crate::tx::{Effects, Group, Rest, WriteTx};

/// Events per step when catching up with other writers.
const CATCH_UP_MAX: u64 = 1000;

/// What is sent to the writer thread.
pub(crate) enum Command {
    Write(Box<dyn Work>),
    /// Finish what is queued, then end.
    Stop,
}

/// A closure and where its result goes.
pub(crate) struct Closure<F, T, E> {
    run: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Closure<F, T, E> {
    pub(crate) fn new(run: F, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { run: Some(run), result: None, reply }
    }
}

impl<F, T, E> Work for Closure<F, T, E>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool {
        self.result = self.run.take().map(|run| run(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let result = match (outcome, self.result) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(StoreError::Panicked.into()),
        };
        // A caller that no longer waits has lost interest in the answer, not in the change.
        let _ = self.reply.send(result);
    }
}

/// The state of the writer thread.
pub(crate) struct Writer {
    pub(crate) connection: Box<dyn WriteConnection>,
    pub(crate) clock: SharedClock,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) completion: SyncSender<Batch>,
    pub(crate) epoch: Epoch,
    pub(crate) topics: Topics,
    /// The last event handed to the completion thread.
    pub(crate) published: u64,
    pub(crate) group_max: usize,
}

impl Writer {
    /// Works until told to stop or until nobody can send any more.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut commands = Vec::with_capacity(self.group_max);
        while queue.blocking_recv_many(&mut commands, self.group_max) > 0 {
            let mut works = Vec::with_capacity(commands.len());
            for command in commands.drain(..) {
                match command {
                    Command::Write(work) => works.push(work),
                    Command::Stop => queue.close(),
                }
            }
            self.run_group(works);
        }
        self.connection.close();
    }

    fn run_group(&mut self, works: Vec<Box<dyn Work>>) {
        let started = Instant::now();
        let count = works.len();
        let finished = self.decide(works);
        metrics::counter!("relais_store_groups_total").increment(1);
        metrics::counter!("relais_store_commands_total").increment(count as u64);
        metrics::histogram!("relais_store_group_seconds").record(started.elapsed());
        self.hand_over(Batch::Group(finished));
    }

    /// Runs every closure and commits; afterwards the fate of each is known.
    fn decide(&mut self, works: Vec<Box<dyn Work>>) -> Vec<Finished> {
        let mut finished = Vec::with_capacity(works.len());
        let mut group = match self.start() {
            Ok(group) => group,
            Err(error) => return works.into_iter().map(|work| refused(work, &error)).collect(),
        };
        let mut works = works.into_iter();
        while let Some(work) = works.next() {
            let (done, rest) = self.run_one(work, &mut group);
            finished.push(done);
            if matches!(rest, Rest::Untouched) {
                continue;
            }
            if let Rest::GroupLost(error) = rest {
                fail_all(&mut finished, &error);
            }
            self.rollback();
            match self.start() {
                Ok(fresh) => group = fresh,
                Err(error) => {
                    fail_all(&mut finished, &error);
                    finished.extend(works.map(|work| refused(work, &error)));
                    return finished;
                }
            }
        }
        self.commit(&group, &mut finished);
        finished
    }

    /// Starts a transaction and makes sure that events committed by others go out before those of this group.
    fn start(&mut self) -> Result<Group, StoreError> {
        let head = self.connection.begin()?;
        match self.catch_up(head) {
            Ok(()) => Ok(Group {
                epoch: head.epoch,
                seq: head.seq,
                dirty: false,
                savepoint: false,
                server_now: None,
            }),
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    fn rollback(&mut self) {
        self.connection.rollback();
        self.topics.forget();
    }

    fn catch_up(&mut self, head: Head) -> Result<(), StoreError> {
        if head.epoch != self.epoch {
            return Err(StoreError::Schema(
                "the log was started afresh while this server was running: restart it".to_owned(),
            ));
        }
        if self.published < head.seq {
            self.topics.forget();
        }
        while self.published < head.seq {
            let up_to = head.seq.min(self.published + CATCH_UP_MAX);
            self.catch_up_amended(up_to)?;
            let events = log::events_between(&mut *self.connection, head.epoch, self.published, up_to)?;
            self.hand_over(Batch::CaughtUp(events));
            self.published = up_to;
        }
        Ok(())
    }

    /// Hands over what the events up to there have amended of those before them.
    fn catch_up_amended(&mut self, up_to: u64) -> Result<(), StoreError> {
        let mut from = Some(0);
        while let Some(first) = from {
            let (amended, next) = log::amended_between(&mut *self.connection, self.published, up_to, first)?;
            if !amended.is_empty() {
                self.hand_over(Batch::Amended(amended));
            }
            from = next;
        }
        Ok(())
    }

    fn run_one(&mut self, mut work: Box<dyn Work>, group: &mut Group) -> (Finished, Rest) {
        let (calendar, backlog, now) = (&self.calendar, &self.backlog, self.clock.now());
        let mut tx = WriteTx::new(&mut *self.connection, group, &mut self.topics, calendar, backlog, now);
        let run = catch_unwind(AssertUnwindSafe(|| work.run(&mut tx)));
        match tx.finish(matches!(run, Ok(true))) {
            Ok(effects) => (Finished { work, outcome: Ok(()), effects }, Rest::Untouched),
            Err(undone) => {
                // A closure that failed by itself says why by itself.
                let outcome = match (run, undone.error) {
                    (Err(_), _) => Err(StoreError::Panicked),
                    (Ok(true), Some(error)) => Err(error),
                    _ => Ok(()),
                };
                if outcome == Err(StoreError::Panicked) {
                    tracing::error!("a write closure panicked; its changes were rolled back");
                }
                (Finished { work, outcome, effects: Effects::default() }, undone.rest)
            }
        }
    }

    fn commit(&mut self, group: &Group, finished: &mut [Finished]) {
        let seq = (group.seq > self.published).then_some(group.seq);
        let moved = self.topics.write(&mut *self.connection);
        match moved.and_then(|()| self.connection.commit(seq)) {
            Ok(()) => self.published = group.seq,
            Err(error) => {
                tracing::error!(%error, commands = finished.len(), "the commit of a group failed");
                self.rollback();
                fail_all(finished, &error);
            }
        }
    }

    fn hand_over(&self, batch: Batch) {
        if self.completion.send(batch).is_err() {
            tracing::error!("the completion thread is gone; callers cannot be answered");
        }
    }
}

fn refused(work: Box<dyn Work>, error: &StoreError) -> Finished {
    Finished { work, outcome: Err(error.clone()), effects: Effects::default() }
}

/// Nothing of the transaction is stored, so nothing that a closure saw or said counts.
fn fail_all(finished: &mut [Finished], error: &StoreError) {
    for one in finished {
        if one.outcome != Err(StoreError::Panicked) {
            one.outcome = Err(error.clone());
        }
        one.effects = Effects::default();
    }
}
