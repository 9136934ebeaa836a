//! What follows a commit, in the order of commits, away from the writer thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use parking_lot::RwLock;
use relais_protocol::event::Event;

use crate::error::StoreError;
use crate::head::SharedHead;
use crate::log::Amended;
use crate::tx::{Effects, Hook, WriteTx};

/// Where committed events go.
pub trait EventSink: Send + Sync {
    /// Called once per committed event, in the order of `seq` and without gaps, by one thread. Must be quick
    /// and must not wait for the store.
    fn committed(&self, event: Arc<Event>);

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

/// A closure on its way through the writer, and its caller who waits.
pub(crate) trait Work: Send {
    /// Runs the closure; returns whether its changes are to be kept.
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool;

    /// Tells the caller: the closure's own result, or why it does not count.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A closure whose fate is decided.
pub(crate) struct Finished {
    pub(crate) work: Box<dyn Work>,
    pub(crate) outcome: Result<(), StoreError>,
    pub(crate) effects: Effects,
}

/// What the writer hands over.
pub(crate) enum Batch {
    /// A group, after its commit.
    Group(Vec<Finished>),
    /// Events of the log that another writer committed, or this one without learning of it.
    CaughtUp(Vec<Event>),
    /// Earlier events that those amended which are caught up next.
    Amended(Vec<Amended>),
}

/// Works through what the writer hands over, until the writer is gone.
pub(crate) fn run(batches: &Receiver<Batch>, sink: &SharedSink, head: &SharedHead) {
    for batch in batches {
        let sink = sink.read().clone();
        match batch {
            Batch::Group(group) => {
                for finished in group {
                    complete(finished, sink.as_ref(), head);
                }
            }
            Batch::Amended(amended) => amend(amended, sink.as_ref()),
            Batch::CaughtUp(events) => {
                for event in events {
                    if let Some(sink) = &sink {
                        guarded("the event sink panicked", || sink.caught_up(&event));
                    }
                    publish(Arc::new(event), sink.as_ref(), head);
                }
            }
        }
    }
}

fn complete(finished: Finished, sink: Option<&Arc<dyn EventSink>>, head: &SharedHead) {
    let Effects { hooks, amended, events, last_hooks } = finished.effects;
    run_hooks(hooks);
    amend(amended, sink);
    for event in events {
        publish(event, sink, head);
    }
    run_hooks(last_hooks);
    finished.work.answer(finished.outcome);
}

fn run_hooks(hooks: Vec<Hook>) {
    for hook in hooks {
        guarded("a hook after a commit panicked", hook);
    }
}

fn amend(amended: Vec<Amended>, sink: Option<&Arc<dyn EventSink>>) {
    let Some(sink) = sink else { return };
    for (seq, data) in amended {
        guarded("the event sink panicked", || sink.amended(seq, data));
    }
}

fn publish(event: Arc<Event>, sink: Option<&Arc<dyn EventSink>>, head: &SharedHead) {
    let seq = event.seq;
    if let Some(sink) = sink {
        guarded("the event sink panicked", || sink.committed(event));
    }
    head.advance(seq);
    if let Some(sink) = sink {
        guarded("the event sink panicked", || sink.advanced(seq));
    }
}

fn guarded(what: &'static str, action: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(action)).is_err() {
        tracing::error!("{what}");
    }
}
