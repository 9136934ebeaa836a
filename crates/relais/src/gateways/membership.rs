//! Connections follow the memberships of their user: they join topics as the user is added, and leave as they are
//! removed.
//!
//! Additions and removals are committed at any moment, also while a connection joins. Two rules account for that. The
//! right to join is checked before, and once more after the subscription ([`admit`]): a later removal reaches the hub,
//! which removes the connection. And a connection makes one change at a time ([`Follower`]), so that a check made
//! before a user was added again does not remove them afterwards.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::{SubscribeError, Subscription};
use relais_protocol::event::{Channel, Cursor, Topic};

use super::Errands;
use crate::AppError;

/// Maximum number of topics that a connection has still to join. Beyond it the connection ends, and its client resumes.
const PENDING_MAX: usize = 10_000;

/// Subscribes a user to what they may receive. `ask` returns what that is, before and once more after the subscription:
/// a later removal reaches the hub. If they no longer may, `undo` reverts what `join` has done.
///
/// # Errors
/// Those of `ask` and `join`; nothing new is subscribed then.
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

/// A connection, as a subscriber of topics.
pub(super) trait Subscriber: Send + Sync + 'static {
    /// Subscribes to one more topic, from the event after `since`. Returns whether everything from there on is
    /// delivered.
    fn join(
        &self,
        subscription: Subscription,
        since: Cursor,
    ) -> impl Future<Output = Result<bool, SubscribeError>> + Send;

    /// Unsubscribes from a channel.
    fn leave(&self, channel: &Channel);

    /// Ends the connection: it would miss events. Its client reconnects and resumes. Must not wait.
    fn give_up(&self);
}

/// The memberships of one user, as a feature knows them.
pub(super) trait Membership: Send + Sync + 'static {
    /// The topics that the user is a member of.
    fn topics(&self) -> impl Future<Output = Result<Vec<Topic>, AppError>> + Send;

    /// The subscription of the user to a topic.
    ///
    /// # Errors
    /// 404 if they are not a member.
    fn ask(&self, topic: &Topic) -> impl Future<Output = Result<Subscription, AppError>> + Send;

    /// Whether they receive a channel without any membership, such as their own.
    fn is_own(&self, channel: &Channel) -> bool;
}

/// One connection and the memberships of its user.
pub(super) struct Follower<S, M> {
    pub(super) subscriber: S,
    pub(super) membership: M,
    errands: Errands,
    /// Held for one change, from the first check to the last step.
    turn: tokio::sync::Mutex<()>,
    pending: Mutex<Pending>,
}

/// Topics that the user was added to and the connection has still to join.
struct Pending {
    topics: VecDeque<(Topic, Cursor)>,
    /// Whether a task handles them: an errand, or the opening of the connection.
    is_attended: bool,
}

impl<S: Subscriber, M: Membership> Follower<S, M> {
    /// A connection that is being opened: topics that its user is added to are pending until it [is](Self::open).
    pub(super) fn new(subscriber: S, membership: M) -> Arc<Self> {
        let pending = Mutex::new(Pending { topics: VecDeque::new(), is_attended: true });
        let turn = tokio::sync::Mutex::default();
        Arc::new(Self { subscriber, membership, errands: Errands::here(), turn, pending })
    }

    /// Subscribes to a topic from the event after `since`; it may be subscribed already.
    ///
    /// # Errors
    /// 404 if the user is not a member: they may have been removed while they joined.
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

    /// The connection is subscribed to `heard`, which was looked up when the log was at `head` or later: applies the
    /// changes since then, and follows from here on.
    ///
    /// # Errors
    /// A database error; the connection follows nothing then and has to end.
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
                // The user was removed again meanwhile.
                Err(error) if error.is_not_found() => {}
                joined => joined?,
            }
        }
        drop(turn);
        self.catch_up().await;
        Ok(())
    }

    /// The user was added to a topic: the connection receives it from the event after `since`. Does not wait; called in
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

    /// Joins the pending topics one after the other.
    async fn catch_up(&self) {
        while let Some((topic, since)) = self.next_pending() {
            match self.join(&topic, since).await {
                Ok(()) => {}
                // The user was removed again.
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

/// The outcome of a join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joined {
    /// As before.
    Before,
    Now,
    /// Without some earlier events.
    WithGap,
}

#[cfg(test)]
mod tests;
