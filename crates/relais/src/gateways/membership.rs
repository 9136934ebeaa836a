//! Connections follow what their person is in: they join topics as the person is let in, and leave as they are put out.
//!
//! Being let in and out is committed at any moment, also while a connection joins. Two rules make up for that. Whoever
//! joins is asked for their right before and once more when they listen ([`admit`]): who is put out later is noticed by
//! the hub, which takes them out. And one connection makes one change at a time ([`Follower`]), so that what was found
//! out before somebody was let in again does not take them out afterwards.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::{SubscribeError, Subscription};
use relais_protocol::event::{Channel, Cursor, Topic};

use super::Errands;
use crate::AppError;

/// Topics that one connection is let into and has not joined yet, at most. Beyond it ends, and its client resumes.
const PENDING_MAX: usize = 10_000;

/// Has somebody hear what they may. `ask` says what that is, before and once more when they listen: whoever is put out
/// from then on is noticed by the hub. If they may no longer, `undo` takes back what `join` has done.
///
/// # Errors
/// Those of `ask` and `join`; nothing new is heard then.
pub(super) async fn admit<A, J, Right, Done>(
    ask: impl Fn() -> A,
    join: impl FnOnce(Right) -> J,
    undo: impl FnOnce(Done),
) -> Result<Done, AppError>
where
    A: Future<Output = Result<Right, AppError>>,
    J: Future<Output = Result<Done, AppError>>,
{
    let right = ask().await?;
    let done = join(right).await?;
    match ask().await {
        Ok(_) => Ok(done),
        Err(error) => {
            undo(done);
            Err(error)
        }
    }
}

/// A connection, as far as it can hear topics.
pub(super) trait Subscriber: Send + Sync + 'static {
    /// Hears one more topic, from the event after `since`. Says whether everything from there on comes.
    fn join(
        &self,
        subscription: Subscription,
        since: Cursor,
    ) -> impl Future<Output = Result<bool, SubscribeError>> + Send;

    /// Stops hearing a channel.
    fn leave(&self, channel: &Channel);

    /// Ends the connection: it would miss something. Its client comes back and resumes. Must not wait.
    fn give_up(&self);
}

/// Who is in which topics, as a feature knows it, for one person.
pub(super) trait Membership: Send + Sync + 'static {
    /// The topics that the person is in.
    fn topics(&self) -> impl Future<Output = Result<Vec<Topic>, AppError>> + Send;

    /// How they hear a topic.
    ///
    /// # Errors
    /// 404 if they are not in it.
    fn ask(&self, topic: &Topic) -> impl Future<Output = Result<Subscription, AppError>> + Send;

    /// Whether they hear a channel without being in anything, such as their own.
    fn is_own(&self, channel: &Channel) -> bool;
}

/// One connection and what its person is in.
pub(super) struct Follower<S, M> {
    pub(super) subscriber: S,
    pub(super) membership: M,
    errands: Errands,
    /// Held for one change, from the first question to the last step.
    turn: tokio::sync::Mutex<()>,
    pending: Mutex<Pending>,
}

/// What the person was let into and the connection has still to join.
struct Pending {
    topics: VecDeque<(Topic, Cursor)>,
    /// Whether somebody sees to them: an errand, or whoever lets the connection in.
    is_attended: bool,
}

impl<S: Subscriber, M: Membership> Follower<S, M> {
    /// A connection that is coming in: what its person is let into waits until it [is](Self::open).
    pub(super) fn new(subscriber: S, membership: M) -> Arc<Self> {
        let pending = Mutex::new(Pending { topics: VecDeque::new(), is_attended: true });
        let turn = tokio::sync::Mutex::default();
        Arc::new(Self { subscriber, membership, errands: Errands::here(), turn, pending })
    }

    /// Hears a topic from the event after `since`; it may do so already.
    ///
    /// # Errors
    /// 404 if the person is not in it: they may have been put out while they joined.
    pub(super) async fn join(&self, topic: &Topic, since: Cursor) -> Result<(), AppError> {
        let _turn = self.turn.lock().await;
        self.join_in_turn(topic, since).await
    }

    async fn join_in_turn(&self, topic: &Topic, since: Cursor) -> Result<(), AppError> {
        let join = |subscription| async move {
            match self.subscriber.join(subscription, since).await {
                Err(SubscribeError::AlreadySubscribed(_)) => Ok(Joined::Before),
                joined => Ok(if joined? { Joined::Now } else { Joined::WithGap }),
            }
        };
        let undo = |joined| {
            if joined != Joined::Before {
                self.subscriber.leave(&Channel::Topic(topic.clone()));
            }
        };
        if admit(|| self.membership.ask(topic), join, undo).await? == Joined::WithGap {
            self.subscriber.give_up();
        }
        Ok(())
    }

    /// The connection hears `heard`, which was looked up when the log was at `head` or later: makes up for what changed
    /// since then, and follows from here on.
    ///
    /// # Errors
    /// What the database reports; the connection follows nothing then and has to end.
    pub(super) async fn open(self: &Arc<Self>, heard: &[Channel], head: Cursor) -> Result<(), AppError> {
        let turn = self.turn.lock().await;
        let topics = self.membership.topics().await?;
        let is_in: HashSet<&Topic> = topics.iter().collect();
        let stays = |channel: &Channel| match channel {
            Channel::Topic(topic) if is_in.contains(topic) => true,
            channel => self.membership.is_own(channel),
        };
        heard.iter().filter(|channel| !stays(channel)).for_each(|channel| self.subscriber.leave(channel));
        let heard: HashSet<&Channel> = heard.iter().collect();
        for topic in topics.iter().filter(|topic| !heard.contains(&Channel::Topic((*topic).clone()))) {
            match self.join_in_turn(topic, head).await {
                // Whose person was put out again meanwhile.
                Err(error) if error.is_not_found() => {}
                joined => joined?,
            }
        }
        drop(turn);
        self.catch_up().await;
        Ok(())
    }

    /// The person was let into a topic: the connection hears it from the event after `since`. Does not wait; called in
    /// the order of the log, on any thread.
    pub(super) fn let_in(self: &Arc<Self>, topic: Topic, since: Cursor) {
        let mut pending = self.pending.lock();
        if pending.topics.len() >= PENDING_MAX {
            pending.topics.clear();
            drop(pending);
            tracing::warn!(
                "a connection was let into more than {PENDING_MAX} topics before it could join them"
            );
            return self.subscriber.give_up();
        }
        pending.topics.push_back((topic, since));
        if !std::mem::replace(&mut pending.is_attended, true) {
            let follower = Arc::clone(self);
            self.errands.run(async move { follower.catch_up().await });
        }
    }

    /// Joins what its person was let into, one after the other.
    async fn catch_up(&self) {
        while let Some((topic, since)) = self.next_pending() {
            match self.join(&topic, since).await {
                Ok(()) => {}
                // Its person is out again.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::debug!(%error, %topic, "a connection cannot follow a topic");
                    self.subscriber.give_up();
                }
            }
        }
    }

    fn next_pending(&self) -> Option<(Topic, Cursor)> {
        let mut pending = self.pending.lock();
        let next = pending.topics.pop_front();
        pending.is_attended = next.is_some();
        next
    }
}

/// How a connection hears a topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// As before.
    Before,
    Now,
    /// Without some of what came before.
    WithGap,
}

#[cfg(test)]
mod tests;
