//! The one ordered queue through which everything reaches the hub's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use relais_protocol::event::{Channel, Event, Topic};
use tokio::sync::oneshot;

use crate::close::CloseReason;
use crate::dialect::Dialect;
use crate::error::SubscribeError;
use crate::hub::Subscription;
use crate::presence::Presence;
use crate::recovery::JoinPoint;
use crate::session::{Identity, Session};

/// What the hub's thread is asked to do.
pub(crate) enum Command {
    Publish {
        event: Arc<Event>,
        key: Option<Arc<str>>,
    },
    Open {
        session: Arc<Session>,
        identify_within_s: Option<u32>,
    },
    Identify {
        session: Arc<Session>,
        identity: Arc<Identity>,
    },
    Join(Box<Join>),
    /// The session has so long to identify itself, or need not.
    IdentifyWithin {
        session: Arc<Session>,
        seconds: Option<u32>,
    },
    Leave {
        session: Arc<Session>,
        dialect: u16,
        channel: Channel,
    },
    /// The offset of a topic as the log knows it, for a stream that has not seen an event yet.
    Offset {
        topic: Topic,
        offset: u64,
    },
    Revoke {
        principal: Arc<str>,
        channel: Channel,
    },
    ClosePrincipal {
        principal: Arc<str>,
        reason: CloseReason,
    },
    Closing(Arc<Session>),
    Ended(Arc<Session>),
    Presence {
        channel: Channel,
        reply: oneshot::Sender<Vec<Presence>>,
    },
    Sessions {
        reply: oneshot::Sender<Vec<Arc<Session>>>,
    },
    WhenEmpty {
        reply: oneshot::Sender<()>,
    },
    Settled {
        reply: oneshot::Sender<()>,
    },
    Tick,
}

/// A request to be in some channels from here on.
pub(crate) struct Join {
    pub session: Arc<Session>,
    pub subscriptions: Vec<Subscription>,
    pub dialect: Arc<dyn Dialect>,
    pub reply: oneshot::Sender<Result<JoinPoint, SubscribeError>>,
}

/// Why [`Inbox::take`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Commands,
    Deadline,
    Stopped,
}

/// The hub's inbox. Its order is the order of everything: an event that was put in before a join is not live
/// for the joiner, one after it is.
///
/// Events are bounded by their bytes; the other commands by the number of sessions and of requests that
/// await their answer.
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    filled: Condvar,
    room: Condvar,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    bytes: usize,
    stopped: bool,
}

impl Inbox {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { queue: Mutex::default(), filled: Condvar::new(), room: Condvar::new(), bytes_max }
    }

    /// Puts in an event. A durable one waits for room; an ephemeral one is refused (`false`) without.
    pub(crate) fn publish(&self, event: Arc<Event>, key: Option<Arc<str>>) -> bool {
        let bytes = size_of::<Command>() + event.data.len();
        let mut queue = self.queue.lock();
        while queue.bytes > 0 && queue.bytes + bytes > self.bytes_max && !queue.stopped {
            if !event.is_durable() {
                return false;
            }
            self.room.wait(&mut queue);
        }
        if queue.stopped {
            return false;
        }
        queue.bytes += bytes;
        queue.commands.push_back(Command::Publish { event, key });
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Puts in a command; dropped, with its reply, if the hub has stopped.
    pub(crate) fn push(&self, command: Command) {
        let mut queue = self.queue.lock();
        if queue.stopped {
            drop(queue);
            drop(command);
            return;
        }
        queue.commands.push_back(command);
        drop(queue);
        self.filled.notify_one();
    }

    /// Moves everything into `commands`, which is empty; waits until there is something, or `deadline`.
    pub(crate) fn take(&self, commands: &mut VecDeque<Command>, deadline: Option<Instant>) -> Woken {
        let mut queue = self.queue.lock();
        while queue.commands.is_empty() {
            if queue.stopped {
                return Woken::Stopped;
            }
            match deadline {
                None => self.filled.wait(&mut queue),
                Some(deadline) => {
                    if self.filled.wait_until(&mut queue, deadline).timed_out() {
                        return Woken::Deadline;
                    }
                }
            }
        }
        std::mem::swap(&mut queue.commands, commands);
        queue.bytes = 0;
        drop(queue);
        self.room.notify_all();
        Woken::Commands
    }

    /// Refuses everything from now on; what is in the queue is still taken.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.filled.notify_all();
        self.room.notify_all();
    }
}
