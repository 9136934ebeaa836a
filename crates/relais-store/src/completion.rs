//! What follows a commit, in the order of commits, away from the writer thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use parking_lot::RwLock;
use relais_protocol::event::Event;
use tokio::sync::oneshot;

use crate::delivery::Delivery;
use crate::error::StoreError;
use crate::tx::{Effects, Hook, WriteTx};

/// How often a sink that had no room is asked again.
const ROOM_CHECK: Duration = Duration::from_millis(2);

/// Where committed events go.
pub trait EventSink: Send + Sync {
    /// Called once per committed event, in the order of `seq` and without gaps, by one thread. Must be quick
    /// and must not wait: neither for the store nor for room.
    fn committed(&self, event: Arc<Event>);

    /// Checked before each event, and before each amendment: whether there is room. Without room the store keeps
    /// nothing in memory and blocks nobody. It checks again, and then delivers what is due from the log.
    fn has_room(&self) -> bool {
        true
    }

    /// Called by the same thread around the events of one group, for sinks that pass several on at once.
    fn together(&self, events: &mut dyn FnMut()) {
        events();
    }

    /// Called just before [`EventSink::committed`] for an event whose hooks did not run here: another process
    /// committed it, or this one without learning of it.
    fn caught_up(&self, _event: &Event) {}

    /// Called once an event that was committed before has other data, whichever process changed it; by the same thread,
    /// after that event's [`EventSink::committed`] and before the events of what changed it.
    fn amended(&self, _seq: u64, _data: Arc<str>) {}

    /// Called by the same thread once [`crate::Store::head`] has reached `seq`: who is woken by it reads up to
    /// the event, which who is woken by [`EventSink::committed`] may not do yet.
    fn advanced(&self, _seq: u64) {}
}

/// The sink, once there is one.
pub(crate) type SharedSink = Arc<RwLock<Option<Arc<dyn EventSink>>>>;

/// Answers a caller with the result of its closure, unless the transaction failed.
pub(crate) fn answer<T, E: From<StoreError>>(
    reply: oneshot::Sender<Result<T, E>>,
    outcome: Result<(), StoreError>,
    said: Option<Result<T, E>>,
) {
    let result = match (outcome, said) {
        (Err(error), _) => Err(error.into()),
        (Ok(()), Some(said)) => said,
        (Ok(()), None) => Err(StoreError::Panicked.into()),
    };
    // A caller that no longer waits has lost interest in the answer, not in the change.
    let _ = reply.send(result);
}

/// A closure on its way through the writer, and its caller who waits.
pub(crate) trait Work: Send {
    /// Runs the closure; returns whether its changes are to be kept.
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool;

    /// Answers the caller: the closure's own result, or why it does not count.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);

    /// How many commands it is.
    fn count(&self) -> usize {
        1
    }

    /// What was run as one and failed, by itself or in a statement, as parts that may succeed one by one; none if it is
    /// one or did not fail.
    fn parts(&mut self, _has_failed_statement: bool) -> Option<Vec<Box<dyn Work>>> {
        None
    }
}

/// A closure whose fate is decided.
pub(crate) struct Finished {
    pub(crate) work: Box<dyn Work>,
    pub(crate) outcome: Result<(), StoreError>,
    pub(crate) effects: Effects,
}

impl Finished {
    /// What the writer has to run again, one by one, in place of this.
    pub(crate) fn parts_to_retry(&mut self, is_lost: bool) -> Option<Vec<Box<dyn Work>>> {
        if is_lost { None } else { self.work.parts(self.outcome.is_err()) }
    }
}

/// What the writer hands over.
pub(crate) enum Batch {
    /// A group, after its commit, and where the log stood before.
    Group { after: u64, finished: Vec<Finished> },
    /// To look for events that others committed, and who wants to know that it is done.
    Follow(Vec<oneshot::Sender<Result<(), StoreError>>>),
}

/// Works through what the writer hands over, until the writer is gone.
pub(crate) fn run(batches: &Receiver<Batch>, mut delivery: Delivery) {
    loop {
        let batch = if delivery.is_behind() {
            match batches.recv_timeout(ROOM_CHECK) {
                Ok(batch) => Some(batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        } else {
            match batches.recv() {
                Ok(batch) => Some(batch),
                Err(_) => return,
            }
        };
        match batch {
            Some(Batch::Group { after, finished }) => complete_group(after, finished, &mut delivery),
            Some(Batch::Follow(replies)) => {
                let result = delivery.follow();
                for reply in replies {
                    let _ = reply.send(result.clone());
                }
            }
            None => delivery.go_on(),
        }
    }
}

fn complete_group(after: u64, finished: Vec<Finished>, delivery: &mut Delivery) {
    delivery.reach(after);
    let sink = delivery.sink();
    let mut all = Some(finished);
    let mut complete_all = || {
        for one in all.take().into_iter().flatten() {
            complete(one, delivery);
        }
    };
    match sink {
        Some(sink) => sink.together(&mut complete_all),
        None => complete_all(),
    }
    // A sink that does not call back delays no answer.
    complete_all();
}

fn complete(finished: Finished, delivery: &mut Delivery) {
    let Effects { hooks, amended, events, last_hooks } = finished.effects;
    run_hooks(hooks);
    delivery.give(amended, events);
    run_hooks(last_hooks);
    finished.work.answer(finished.outcome);
}

fn run_hooks(hooks: Vec<Hook>) {
    for hook in hooks {
        guarded("a hook after a commit panicked", hook);
    }
}

/// Runs what others gave us to run: a panic of theirs ends nothing of ours.
pub(crate) fn guarded(what: &'static str, action: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(action)).is_err() {
        tracing::error!("{what}");
    }
}
