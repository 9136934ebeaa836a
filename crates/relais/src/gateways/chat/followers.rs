//! What one connection of somebody hears, and for how long they are there.

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
    /// Says something after what was published before.
    fn tell(&self, name: &str, fields: &Value);
}

/// The conversations of somebody, as one connection of theirs hears them.
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

/// What a connection hears.
pub(super) type Followers<R> = Follower<R, Conversations>;

impl<R: Recipient> Followers<R> {
    pub(super) fn of(app: &App, recipient: R, me: Me, listening: Listening) -> Arc<Self> {
        Self::new(recipient, Conversations { chat: app.service::<Chat>().clone(), me, listening })
    }

    /// Says how everybody is whom one sees come and go, and to a client that `comes_back` who types no more: it is not part
    /// of what a connection missed.
    pub(super) async fn tell_present(&self, comes_back: bool) -> Result<(), AppError> {
        let Conversations { chat, me, .. } = &self.membership;
        chat.tell_present(me, comes_back, |name, fields| self.subscriber.tell(name, fields)).await
    }
}

/// As a device of its owner.
struct Hearing<R>(Arc<Followers<R>>);

impl<R: Recipient> Device for Hearing<R> {
    fn join(&self, conversation: Topic, since: Cursor) {
        self.0.let_in(conversation, since);
    }
}

/// Somebody on one connection, from when they have said who they are.
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

/// Notes that somebody is here and hands them to `keep`, which says whether their connection still stands. It runs to
/// its end even if the connection drops what it was doing, so that nobody stays who has left.
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
