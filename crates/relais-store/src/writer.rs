//! The writer thread: gathers closures, runs them in one transaction, commits once.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use relais_protocol::event::Epoch;
use relais_protocol::time::SharedClock;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::buffer::LogBuffer;
use crate::calendar::Calendar;
use crate::completion::{Batch, Finished, Work, answer};
use crate::connection::WriteConnection;
use crate::error::StoreError;
use crate::jobs::Backlog;
use crate::tx::{Effects, Group, Rest, WriteTx};

/// What is sent to the writer thread.
pub(crate) enum Command {
    Write(Box<dyn Work>),
    /// Deliver to the sink what other processes committed.
    Follow(oneshot::Sender<Result<(), StoreError>>),
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
        answer(self.reply, outcome, self.result);
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
    pub(crate) log: LogBuffer,
    /// Where the log stood when this writer last knew.
    pub(crate) seq: u64,
    pub(crate) group_max: usize,
}

impl Writer {
    /// Runs until stopped or until all senders are gone.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut commands = Vec::with_capacity(self.group_max);
        while queue.blocking_recv_many(&mut commands, self.group_max) > 0 {
            let mut works = VecDeque::with_capacity(commands.len());
            let mut follow = Vec::new();
            for command in commands.drain(..) {
                match command {
                    Command::Write(work) => works.push_back(work),
                    Command::Follow(reply) => follow.push(reply),
                    Command::Stop => queue.close(),
                }
            }
            if !works.is_empty() {
                self.run_group(works);
            }
            if !follow.is_empty() {
                self.hand_over(Batch::Follow(follow));
            }
        }
        self.connection.close();
    }

    fn run_group(&mut self, works: VecDeque<Box<dyn Work>>) {
        let started = self.clock.instant();
        let (after, finished) = self.decide(works);
        let count: usize = finished.iter().map(|one| one.work.count()).sum();
        metrics::counter!("relais_store_groups_total").increment(1);
        metrics::counter!("relais_store_commands_total").increment(count as u64);
        metrics::histogram!("relais_store_group_seconds").record(self.clock.instant() - started);
        self.hand_over(Batch::Group { after, finished });
    }

    /// Runs every closure and commits; afterwards the fate of each is known. The first is where the log stood before.
    fn decide(&mut self, mut works: VecDeque<Box<dyn Work>>) -> (u64, Vec<Finished>) {
        let mut finished = Vec::with_capacity(works.len());
        let mut group = match self.start() {
            Ok(group) => group,
            Err(error) => {
                return (self.seq, works.into_iter().map(|work| refused(work, &error)).collect());
            }
        };
        let mut after = group.seq;
        while let Some(work) = works.pop_front() {
            let (mut done, rest) = self.run_one(work, &mut group);
            let is_lost = matches!(rest, Rest::GroupLost(_));
            match done.parts_to_retry(is_lost) {
                // What several commands did together is undone: each may succeed alone.
                Some(parts) => parts.into_iter().rev().for_each(|part| works.push_front(part)),
                None => finished.push(done),
            }
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
                    finished.extend(works.into_iter().map(|work| refused(work, &error)));
                    return (after, finished);
                }
            }
            after = group.seq;
        }
        self.commit(&group, &mut finished);
        (after, finished)
    }

    /// Starts a transaction. Events that others committed meanwhile do not concern it: they are delivered before those
    /// of this group.
    fn start(&mut self) -> Result<Group, StoreError> {
        let head = self.connection.begin()?;
        let lost = if head.epoch != self.epoch {
            "the log was started afresh while this server was running: restart it"
        } else if head.seq < self.seq {
            // Sequence numbers already delivered would be assigned to other events.
            "the log ends before events that this server has stored, as after an incomplete restore: restart it"
        } else {
            ""
        };
        if !lost.is_empty() {
            self.rollback();
            return Err(StoreError::Schema(lost.to_owned()));
        }
        if head.seq > self.seq {
            self.log.forget();
            self.seq = head.seq;
        }
        Ok(Group::new(head.epoch, head.seq))
    }

    fn rollback(&mut self) {
        self.connection.rollback();
        self.log.forget();
    }

    fn run_one(&mut self, mut work: Box<dyn Work>, group: &mut Group) -> (Finished, Rest) {
        let (calendar, backlog, now) = (&self.calendar, &self.backlog, self.clock.now());
        let mut tx = WriteTx::new(&mut *self.connection, group, &mut self.log, calendar, backlog, now);
        let run = catch_unwind(AssertUnwindSafe(|| work.run(&mut tx)));
        match tx.finish(matches!(run, Ok(true))) {
            Ok(effects) => (Finished { work, outcome: Ok(()), effects }, Rest::Untouched),
            Err(undone) => {
                // A closure that failed by itself reports its own error.
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
        let seq = (group.seq > self.seq).then_some(group.seq);
        match self.connection.commit(&self.log, seq) {
            Ok(()) => {
                self.seq = group.seq;
                self.log.committed();
            }
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
