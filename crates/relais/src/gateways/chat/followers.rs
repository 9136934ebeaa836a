//! The subscriptions of one connection, and the user's presence on it.

use std::sync::Arc;

use relais_hub::Subscription;
use relais_protocol::event::{Channel, Cursor, Topic};
use serde_json::Value;

use super::channels::Listening;
use crate::features::chat::{Chat, Device, DeviceId, Me};
use crate::gateways::membership::{Follower, Membership, Subscriber};
use crate::tasks::spawn;
use crate::{App, AppError};

/// A connection of the chat.
pub(super) trait Recipient: Subscriber {
    /// Sends a message, ordered after what has been published before.
    fn send(&self, name: &str, fields: &Value);
}

/// A user's conversations, as one of their connections subscribes to them.
pub(super) struct Conversations {
    chat: Chat,
    me: Me,
    listening: Listening,
}

impl Membership for Conversations {
    async fn topics(&self) -> Result<Vec<Topic>, AppError> {
        self.chat.heard(&self.me).await
    }

    async fn ask(&self, conversation: &Topic) -> Result<Subscription, AppError> {
        self.chat.require_member(&self.me, conversation.key()).await?;
        Ok(self.listening.to(conversation))
    }

    fn is_own(&self, channel: &Channel) -> bool {
        matches!(channel, Channel::Topic(topic) if *topic == self.me.topic)
    }
}

/// The subscriptions of a connection.
pub(super) type Followers<R> = Follower<R, Conversations>;

impl<R: Recipient> Followers<R> {
    pub(super) fn of(app: &App, recipient: R, me: Me, listening: Listening) -> Arc<Self> {
        Self::new(recipient, Conversations { chat: app.service::<Chat>().clone(), me, listening })
    }

    /// Sends the presence of every user whose presence is visible to this one and, to a client that `comes_back`, who
    /// is typing no longer: that is not among the events that a connection recovers.
    pub(super) async fn send_present(&self, comes_back: bool) -> Result<(), AppError> {
        let Conversations { chat, me, .. } = &self.membership;
        chat.publish_present(me, comes_back, |name, fields| self.subscriber.send(name, fields)).await
    }
}

/// A connection as a device of its user.
struct Hearing<R>(Arc<Followers<R>>);

impl<R: Recipient> Device for Hearing<R> {
    fn join(&self, conversation: Topic, since: Cursor) {
        self.0.let_in(conversation, since);
    }
}

/// An authenticated user on one connection.
pub(super) struct Here<R> {
    pub(super) me: Me,
    pub(super) device: DeviceId,
    pub(super) followers: Arc<Followers<R>>,
}

impl<R> Clone for Here<R> {
    fn clone(&self) -> Self {
        Self { me: self.me.clone(), device: self.device, followers: Arc::clone(&self.followers) }
    }
}

/// Registers the user's arrival and passes it to `keep`, which returns whether the connection is still open. It runs to
/// completion even if the connection drops the future, so that no user who has left remains registered.
pub(super) async fn arrive<R: Recipient>(
    followers: &Arc<Followers<R>>,
    keep: impl FnOnce(Here<R>) -> bool + Send + 'static,
) -> Result<(), AppError> {
    let followers = Arc::clone(followers);
    let arriving = spawn("arrival", async move {
        let (chat, me) = (followers.membership.chat.clone(), followers.membership.me.clone());
        let device = chat.arrive(&me, Arc::new(Hearing(Arc::clone(&followers)))).await?;
        if !keep(Here { me: me.clone(), device, followers }) {
            chat.depart(&me, device).await;
        }
        Ok(())
    });
    arriving.await.map_err(AppError::internal)?
}
