//! What one connection of somebody hears, and for how long they are there.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::{SubscribeError, Subscription};
use relais_protocol::event::{Channel, Cursor, Topic};
use serde_json::Value;

use super::channels::Listening;
use crate::features::chat::{Chat, Device, DeviceId, Me};
use crate::gateways::Errands;
use crate::{App, AppError};

/// A connection, as far as it can listen.
pub(super) trait Line: Send + Sync + 'static {
    /// Listens to one more channel, from the event after `since`. Says whether everything from there on comes.
    fn join(
        &self,
        subscription: Subscription,
        since: Cursor,
    ) -> impl Future<Output = Result<bool, SubscribeError>> + Send;

    /// Stops listening to a channel.
    fn leave(&self, channel: &Channel);

    /// Says something after what was published before.
    fn tell(&self, name: &str, fields: &Value);

    /// Ends the connection: it would miss something. Its client comes back and resumes.
    fn give_up(&self);
}

/// What a connection hears. Conversations that begin while it is coming in wait until it is in.
pub(super) struct Followers<L> {
    line: L,
    chat: Chat,
    me: Me,
    listening: Listening,
    errands: Errands,
    waiting: Mutex<Option<Vec<(Topic, Cursor)>>>,
}

impl<L: Line> Followers<L> {
    pub(super) fn new(app: &App, line: L, me: Me, listening: Listening) -> Arc<Self> {
        let (chat, errands, waiting) =
            (app.service::<Chat>().clone(), Errands::here(), Mutex::new(Some(Vec::new())));
        Arc::new(Self { line, chat, me, listening, errands, waiting })
    }

    /// Listens to a conversation; it may do so already.
    ///
    /// # Errors
    /// 404 if one is not in it: somebody may have been taken out while they were coming in.
    pub(super) async fn join(&self, conversation: &Topic, since: Cursor) -> Result<(), AppError> {
        self.chat.require_member(&self.me, conversation.key()).await?;
        let joined = self.line.join(self.listening.to(conversation), since).await;
        // Asked again once it listens: whoever is taken out from here on is noticed by the hub.
        if let Err(error) = self.chat.require_member(&self.me, conversation.key()).await {
            if error.is_not_found() {
                self.line.leave(&Channel::Topic(conversation.clone()));
            }
            return Err(error);
        }
        match joined {
            Ok(true) | Err(SubscribeError::AlreadySubscribed(_)) => Ok(()),
            Ok(false) => {
                self.line.give_up();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The connection listens to `heard`, which was looked up when the log was at `head` or later: makes up for what
    /// changed since then.
    pub(super) async fn open(self: &Arc<Self>, heard: &[Channel], head: Cursor) -> Result<(), AppError> {
        let waiting = self.waiting.lock().take();
        let conversations = self.chat.heard(&self.me).await?;
        let own = Channel::Topic(self.me.topic.clone());
        let is_in: HashSet<&Topic> = conversations.iter().collect();
        let stays = |channel: &Channel| match channel {
            Channel::Topic(topic) => *channel == own || is_in.contains(topic),
            Channel::Family(_) => false,
        };
        heard.iter().filter(|channel| !stays(channel)).for_each(|channel| self.line.leave(channel));
        let heard: HashSet<&Channel> = heard.iter().collect();
        let begun = conversations.iter().filter(|topic| !heard.contains(&Channel::Topic((*topic).clone())));
        for conversation in begun {
            match self.join(conversation, head).await {
                // Whose person was taken out again meanwhile.
                Err(error) if error.is_not_found() => {}
                joined => joined?,
            }
        }
        for (conversation, since) in waiting.into_iter().flatten() {
            self.listen(conversation, since);
        }
        Ok(())
    }

    /// Says how everybody is whom one sees come and go, and to a client that `comes_back` who types no more: it is not part
    /// of what a connection missed.
    pub(super) async fn tell_present(&self, comes_back: bool) -> Result<(), AppError> {
        self.chat.tell_present(&self.me, comes_back, |name, fields| self.line.tell(name, fields)).await
    }

    fn listen(self: &Arc<Self>, conversation: Topic, since: Cursor) {
        let followers = Arc::clone(self);
        self.errands.run(async move {
            match followers.join(&conversation, since).await {
                Ok(()) => {}
                // Its person is out again.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    tracing::debug!(%error, %conversation, "a connection cannot follow a conversation");
                    followers.line.give_up();
                }
            }
        });
    }
}

/// As a device of its owner.
struct Hearing<L>(Arc<Followers<L>>);

impl<L: Line> Device for Hearing<L> {
    fn join(&self, conversation: Topic, since: Cursor) {
        if let Some(waiting) = &mut *self.0.waiting.lock() {
            waiting.push((conversation, since));
            return;
        }
        self.0.listen(conversation, since);
    }
}

/// Somebody on one connection, from when they have said who they are.
pub(super) struct Here<L> {
    pub(super) me: Me,
    pub(super) device: DeviceId,
    pub(super) followers: Arc<Followers<L>>,
}

impl<L> Clone for Here<L> {
    fn clone(&self) -> Self {
        Self { me: self.me.clone(), device: self.device, followers: Arc::clone(&self.followers) }
    }
}

/// Notes that somebody is here and hands them to `keep`, which says whether their connection still stands. It runs to
/// its end even if the connection drops what it was doing, so that nobody stays who has left.
pub(super) async fn arrive<L: Line>(
    followers: &Arc<Followers<L>>,
    keep: impl FnOnce(Here<L>) -> bool + Send + 'static,
) -> Result<(), AppError> {
    let followers = Arc::clone(followers);
    let arriving = tokio::spawn(async move {
        let (chat, me) = (followers.chat.clone(), followers.me.clone());
        let device = chat.arrive(&me, Arc::new(Hearing(Arc::clone(&followers)))).await?;
        if !keep(Here { me: me.clone(), device, followers }) {
            chat.depart(&me, device).await;
        }
        Ok(())
    });
    arriving.await.map_err(AppError::internal)?
}
