//! The one ordered queue through which everything reaches the hub's thread.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use relais_protocol::event::{Channel, Event, Topic};
use tokio::sync::oneshot;

use crate::close::CloseReason;
use crate::dialect::Dialect;
use crate::error::SubscribeError;
use crate::identity::Identity;
use crate::presence::Presence;
use crate::session::{JoinPoint, Session};
use crate::subscription::Subscription;

/// Commands of the hub's thread.
pub(crate) enum Command {
    Publish {
        event: Arc<Event>,
        key: Option<Arc<str>>,
    },
    /// A published event has different data from here on.
    Amend {
        seq: u64,
        data: Arc<str>,
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
    Compress(Arc<Session>),
    /// The session must identify itself within this time, without extending an earlier deadline, or need not.
    IdentifyWithin {
        session: Arc<Session>,
        seconds: Option<u32>,
    },
    Leave {
        session: Arc<Session>,
        dialect: u16,
        channel: Channel,
    },
    /// The offset of a topic according to the log, for a stream that has not seen an event yet.
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
        /// Only sessions of this sign-in.
        sign_in: Option<Arc<str>>,
        reason: CloseReason,
    },
    Snapshot {
        session: Arc<Session>,
        frame: Bytes,
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

/// A request to join channels from here on.
pub(crate) struct Join {
    pub session: Arc<Session>,
    pub subscriptions: Vec<Subscription>,
    pub dialect: Arc<dyn Dialect>,
    /// Whether the session's limit counts them.
    pub limited: bool,
    pub reply: oneshot::Sender<Result<JoinPoint, SubscribeError>>,
}

/// Why [`Inbox::take`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Commands,
    Deadline,
    Stopped,
}

/// Events that one thread publishes before the hub's thread is woken even so.
const CORKED_EVENTS_MAX: u32 = 64;

thread_local! {
    /// The address of the inbox that this thread has corked, 0 for none, and the events held back.
    static CORKED: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Wakes the hub's thread, if needed, when it is dropped.
pub(crate) struct Cork<'a> {
    inbox: &'a Inbox,
    outer: (usize, u32),
}

impl Drop for Cork<'_> {
    fn drop(&mut self) {
        let (_, held) = CORKED.replace(self.outer);
        if held > 0 {
            self.inbox.filled.notify_one();
        }
    }
}

/// The hub's inbox. It defines the order of everything: an event queued before a join is not live for the new member,
/// one queued after it is.
///
/// Events, and amendments of them, are bounded by their bytes: durable ones by their publisher, which checks first. The
/// other commands are bounded by the number of sessions and of requests that await their answer.
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    filled: Condvar,
    bytes_max: usize,
    /// How often a thread began to wait; for tests.
    #[cfg(test)]
    waits: std::sync::atomic::AtomicU32,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    bytes: usize,
    stopped: bool,
}

impl Inbox {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            bytes_max,
            #[cfg(test)]
            waits: std::sync::atomic::AtomicU32::new(0),
        }
    }

    /// Queues an event. A durable one is always accepted: its publisher has checked [`Inbox::has_room`]. An ephemeral
    /// one is refused (`false`) without room.
    pub(crate) fn publish(&self, event: Arc<Event>, key: Option<Arc<str>>) -> bool {
        let (data_bytes, is_owed) = (event.data.len(), event.is_durable());
        let taken = self.push_counted(Command::Publish { event, key }, data_bytes, is_owed);
        if taken && !self.is_corked() {
            self.filled.notify_one();
        }
        taken
    }

    /// Whether there is room for an event. If not, the hub's thread is woken: it may not have been notified of what is
    /// queued.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = {
            let queue = self.queue.lock();
            queue.bytes < self.bytes_max || queue.stopped
        };
        if !has_room {
            self.filled.notify_one();
        }
        has_room
    }

    /// Queues an amendment of an event's data: nobody awaits it. Always accepted, like a durable event.
    pub(crate) fn amend(&self, seq: u64, data: Arc<str>) {
        let data_bytes = data.len();
        self.push_counted(Command::Amend { seq, data }, data_bytes, true);
    }

    /// Queues a command with data and counts its bytes; returns whether it did. One that is not `is_owed` needs room.
    fn push_counted(&self, command: Command, data_bytes: usize, is_owed: bool) -> bool {
        let bytes = size_of::<Command>() + data_bytes;
        let mut queue = self.queue.lock();
        let is_full = queue.bytes > 0 && queue.bytes + bytes > self.bytes_max;
        if queue.stopped || (is_full && !is_owed) {
            return false;
        }
        queue.bytes += bytes;
        queue.commands.push_back(command);
        true
    }

    /// Until the cork is dropped, events that this thread publishes do not wake the hub's thread one by one: the events
    /// of one read are delivered together, where an idle hub would write the first of them alone.
    pub(crate) fn cork(&self) -> Cork<'_> {
        Cork { inbox: self, outer: CORKED.replace((std::ptr::from_ref(self).addr(), 0)) }
    }

    /// Counts an event held back; false if the hub's thread must be woken now.
    fn is_corked(&self) -> bool {
        let (inbox, held) = CORKED.get();
        let corked = inbox == std::ptr::from_ref(self).addr();
        if corked {
            CORKED.set((inbox, held + 1));
        }
        corked && (held + 1) % CORKED_EVENTS_MAX != 0
    }

    /// Queues a command; dropped, with its reply, if the hub has stopped.
    pub(crate) fn push(&self, command: Command) {
        self.push_unhurried(command);
        self.filled.notify_one();
    }

    /// Queues a command that nobody awaits: it is executed before whatever wakes the hub's thread next, at the latest
    /// on the next second. Waking it costs more than such a command.
    pub(crate) fn push_unhurried(&self, command: Command) {
        let mut queue = self.queue.lock();
        if queue.stopped {
            drop(queue);
            drop(command);
            return;
        }
        queue.commands.push_back(command);
    }

    /// Moves everything into `commands`, which is empty; waits until there is something, or `deadline`.
    pub(crate) fn take(&self, commands: &mut VecDeque<Command>, deadline: Option<Instant>) -> Woken {
        let mut queue = self.queue.lock();
        while queue.commands.is_empty() {
            if queue.stopped {
                return Woken::Stopped;
            }
            #[cfg(test)]
            self.waits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match deadline {
                None => self.filled.wait(&mut queue),
                Some(deadline) => {
                    let late = self.filled.wait_until(&mut queue, deadline).timed_out();
                    // Commands queued without a wake-up are taken as well.
                    if late && queue.commands.is_empty() {
                        return Woken::Deadline;
                    }
                }
            }
        }
        std::mem::swap(&mut queue.commands, commands);
        queue.bytes = 0;
        Woken::Commands
    }

    /// Appends what has been queued since to `commands`.
    pub(crate) fn take_more(&self, commands: &mut VecDeque<Command>) {
        let mut queue = self.queue.lock();
        commands.append(&mut queue.commands);
        queue.bytes = 0;
    }

    /// Refuses everything from now on; what is in the queue is still taken.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use relais_protocol::event::Epoch;
    use relais_protocol::time::{Clock as _, SystemClock, Timestamp};

    use super::*;

    fn event(seq: u64) -> Arc<Event> {
        Arc::new(Event {
            topic: Topic::new("conversation:1").unwrap(),
            epoch: Epoch(1),
            offset: seq,
            seq,
            name: "said".into(),
            data: "{}".into(),
            at: Timestamp::from_millis(0),
        })
    }

    #[test]
    fn under_a_cork_every_sixty_fourth_event_wakes_the_hub() {
        let (inbox, other) = (Inbox::new(1024), Inbox::new(1024));
        let cork = inbox.cork();
        let waking: Vec<u32> = (1..=130).filter(|_| !inbox.is_corked()).collect();
        assert_eq!(waking, [64, 128]);
        assert!(!other.is_corked());
        drop(cork);
        assert!(!inbox.is_corked());
    }

    #[test]
    fn what_was_published_under_a_cork_is_taken_when_the_cork_goes() {
        let inbox = Inbox::new(1024 * 1024);
        std::thread::scope(|scope| {
            let hub = scope.spawn(|| {
                let (mut commands, mut taken) = (VecDeque::new(), 0);
                let deadline = SystemClock.instant() + Duration::from_secs(10);
                while taken < 3 && inbox.take(&mut commands, Some(deadline)) == Woken::Commands {
                    taken += commands.drain(..).count();
                }
                taken
            });
            let cork = inbox.cork();
            (1..=3).for_each(|seq| assert!(inbox.publish(event(seq), None)));
            drop(cork);
            assert_eq!(hub.join().unwrap(), 3);
        });
    }

    #[test]
    fn what_nobody_was_woken_for_is_taken_at_the_deadline() {
        let inbox = Inbox::new(1024);
        std::thread::scope(|scope| {
            // The command may be queued in any of these seconds: which one depends on the machine.
            let hub = scope.spawn(|| {
                let (mut commands, mut in_vain) = (VecDeque::new(), None);
                for _ in 0..60 {
                    let deadline = SystemClock.instant() + Duration::from_secs(1);
                    let waits = inbox.waits.load(Relaxed);
                    if inbox.take(&mut commands, Some(deadline)) == Woken::Commands {
                        let has_waited = inbox.waits.load(Relaxed) > waits;
                        assert!(!has_waited || SystemClock.instant() >= deadline, "it was woken");
                        return (commands.len(), in_vain);
                    }
                    in_vain = Some(deadline);
                }
                panic!("what is in the queue is never taken");
            });
            let began = SystemClock.instant();
            // It waits once it has let the queue go again.
            while inbox.waits.load(Relaxed) == 0 && SystemClock.instant() < began + Duration::from_secs(60) {
                std::thread::yield_now();
            }
            inbox.push_unhurried(Command::Tick);
            let is_in = SystemClock.instant();
            let (taken, in_vain) = hub.join().unwrap();
            assert_eq!(taken, 1);
            assert!(in_vain.is_none_or(|deadline| deadline <= is_in), "it was in, and was not taken");
        });
        assert_eq!(inbox.take(&mut VecDeque::new(), Some(SystemClock.instant())), Woken::Deadline);
    }

    #[test]
    fn what_amends_an_event_takes_room_like_an_event() {
        let inbox = Inbox::new(10_000);
        inbox.amend(1, "x".repeat(9_000).into());
        let ephemeral =
            Arc::new(Event { seq: 0, offset: 0, data: "x".repeat(2_000).into(), ..(*event(1)).clone() });
        assert!(!inbox.publish(Arc::clone(&ephemeral), None), "there is no room");
        assert!(inbox.has_room(), "for one more that is owed");
        inbox.amend(2, "x".repeat(9_000).into());
        assert!(!inbox.has_room());
        let mut commands = VecDeque::new();
        assert_eq!(inbox.take(&mut commands, None), Woken::Commands);
        assert_eq!(commands.len(), 2, "what is owed is taken without room");
        assert!(inbox.has_room());
        assert!(inbox.publish(ephemeral, None), "there is room again");
    }

    #[test]
    fn a_full_inbox_is_emptied_although_its_cork_is_on() {
        let inbox = Inbox::new(1);
        std::thread::scope(|scope| {
            let hub = scope.spawn(|| {
                let mut commands = VecDeque::new();
                let mut taken = 0;
                while inbox.take(&mut commands, None) == Woken::Commands {
                    taken += commands.drain(..).count();
                }
                taken
            });
            let cork = inbox.cork();
            for seq in 1..=100 {
                let began = SystemClock.instant();
                while !inbox.has_room() {
                    assert!(
                        SystemClock.instant() < began + Duration::from_secs(10),
                        "there is no room any more"
                    );
                    std::thread::yield_now();
                }
                assert!(inbox.publish(event(seq), None));
            }
            drop(cork);
            inbox.stop();
            assert_eq!(hub.join().unwrap(), 100);
        });
    }
}
