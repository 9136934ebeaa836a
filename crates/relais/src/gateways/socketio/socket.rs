//! One client in one namespace, as a feature sees it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{CloseReason, Joined, Session, StartPosition, SubscribeError, Subscription};
use relais_protocol::event::{Channel, Cursor};
use relais_protocol::socketio::SendError;

use super::Incoming;
use super::conversation::Talk;
use super::entrance::belong;
use super::recovery::without_offset;
use crate::AppError;
use crate::auth::Principal;

/// One client in one namespace. Cheap to clone; nothing is sent after the client has left, even if it has rejoined:
/// that is another socket.
#[derive(Clone)]
pub struct Socket {
    talk: Arc<Talk>,
    namespace: Arc<str>,
    id: Arc<str>,
}

/// Why a client is subscribed to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// By request: `hub.subscriptions_per_session_max` counts it.
    Asked,
    /// As a member, for instance of a conversation: not counted, so that every member receives the events of their
    /// conversations.
    Belongs,
}

/// Why there is no acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The event could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The client left, or did not answer in time.
    #[error("the client left or did not answer in time")]
    NoAnswer,
}

impl Socket {
    pub(super) fn new(talk: Arc<Talk>, namespace: &Arc<str>, id: &Arc<str>) -> Self {
        Self { talk, namespace: Arc::clone(namespace), id: Arc::clone(id) }
    }

    /// Its public id, as the client knows it. It reveals nothing about the connection's.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its principal.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.talk.principal()
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.talk.client.address()
    }

    /// The session of its connection.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.talk.client.session()
    }

    /// Authenticates the client.
    ///
    /// # Errors
    /// 403 or 409 if it authenticated as another principal before or had other rights, 503 for too many connections.
    pub fn identify(&self, principal: &Principal) -> Result<(), AppError> {
        belong(&self.talk, principal)
    }

    /// Sends an event to this client alone. `arguments` is comma-separated JSON values.
    ///
    /// # Errors
    /// [`SendError`]: the client has left, or the name is reserved.
    pub fn emit(&self, name: &str, arguments: &str) -> Result<(), SendError> {
        self.emit_with(name, arguments, Vec::new())
    }

    /// Like [`emit`](Self::emit), with the attachments that `{"_placeholder":true,"num":n}` in the arguments refers to.
    ///
    /// # Errors
    /// As [`emit`](Self::emit), and placeholders that do not match the attachments.
    pub fn emit_with(&self, name: &str, arguments: &str, attachments: Vec<Bytes>) -> Result<(), SendError> {
        let arguments = self.arguments(arguments);
        let frames = self
            .talk
            .words_of(self, |session| session.emit(&self.namespace, name, &arguments, attachments, None))?;
        self.talk.client.send(&frames);
        Ok(())
    }

    /// Like [`emit`](Self::emit), for a snapshot of the state: it is ordered after every event published before, and
    /// may be long.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn emit_snapshot(&self, name: &str, arguments: &str) -> Result<(), SendError> {
        let arguments = self.arguments(arguments);
        let frames = self
            .talk
            .words_of(self, |session| session.emit(&self.namespace, name, &arguments, Vec::new(), None))?;
        self.talk.client.send_snapshot(&frames);
        Ok(())
    }

    /// Like [`emit`](Self::emit), but only if nothing is queued for the client; returns whether it was sent.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn emit_volatile(&self, name: &str, arguments: &str) -> Result<bool, SendError> {
        let arguments = self.arguments(arguments);
        let frames = self
            .talk
            .words_of(self, |session| session.emit(&self.namespace, name, &arguments, Vec::new(), None))?;
        Ok(self.talk.client.send_volatile(&frames))
    }

    /// Sends an event and waits for the client's acknowledgement. Must not be awaited within
    /// [`event`](super::Namespace::event) or [`connected`](super::Namespace::connected), during which nothing else is
    /// read from this client: spawn it.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, name: &str, arguments: &str) -> Result<Incoming, AskError> {
        let answer = self.talk.ask(self, name, &self.arguments(arguments))?;
        let within = self.talk.server.settings.ack_timeout;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(AskError::NoAnswer),
        }
    }

    /// Subscribes to one more channel that the client requested, from its next event.
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn join(&self, subscription: Subscription) -> Result<(), SubscribeError> {
        self.join_from(vec![subscription], Because::Asked, StartPosition::Now, |_| Bytes::new())
            .await
            .map(drop)
    }

    /// Subscribes to more channels of which its principal is a member, from the event after `since` and in log order.
    /// Returns whether every event since then was or is being sent.
    ///
    /// # Errors
    /// [`SubscribeError`]; the client is then subscribed to none of them.
    pub async fn join_since(
        &self,
        subscriptions: Vec<Subscription>,
        since: Cursor,
    ) -> Result<bool, SubscribeError> {
        let (why, from) = (Because::Belongs, StartPosition::Cursor(since));
        let joined = self.join_from(subscriptions, why, from, |_| Bytes::new()).await?;
        Ok(joined.recovered)
    }

    /// Subscribes to more channels, confirmed by an event, with its name and arguments, before the events that it
    /// missed.
    ///
    /// # Errors
    /// As [`join_since`](Self::join_since).
    pub async fn join_welcomed(
        &self,
        subscriptions: Vec<Subscription>,
        why: Because,
        from: StartPosition,
        welcome: impl FnOnce(&Joined) -> (&'static str, String) + Send,
    ) -> Result<Joined, SubscribeError> {
        let written = |joined: &Joined| {
            let (name, arguments) = welcome(joined);
            let arguments = self.arguments(&arguments);
            let frames = self
                .talk
                .words_of(self, |session| session.emit(&self.namespace, name, &arguments, Vec::new(), None));
            // A client that has left is sent nothing.
            frames.map_or_else(|_| Bytes::new(), |frames| self.talk.client.written(&frames))
        };
        self.join_from(subscriptions, why, from, written).await
    }

    async fn join_from(
        &self,
        subscriptions: Vec<Subscription>,
        why: Because,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        let dialect = self.talk.with_member(&self.id, |member| Arc::clone(&member.dialect));
        let dialect = dialect.ok_or(SubscribeError::SessionClosed)?;
        let channels: Vec<Channel> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        let (hub, session) = (self.talk.client.hub(), self.talk.client.session());
        let joined = match why {
            Because::Asked => hub.subscribe_all_as(session, &dialect, subscriptions, from, preface).await?,
            Because::Belongs => {
                hub.subscribe_members_as(session, &dialect, subscriptions, from, preface).await?
            }
        };
        let added = self.talk.with_member(&self.id, |member| member.channels.extend_from_slice(&channels));
        if added.is_none() {
            self.talk.unsubscribe_left(&self.namespace, &*dialect, channels);
            return Err(SubscribeError::SessionClosed);
        }
        Ok(joined)
    }

    /// The channels that the client is subscribed to.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        self.talk.with_member(&self.id, |member| member.channels.clone()).unwrap_or_default()
    }

    /// Whether the client is still in the namespace.
    #[must_use]
    pub fn is_in(&self) -> bool {
        self.talk.with_member(&self.id, |_| ()).is_some()
    }

    /// Unsubscribes from a channel.
    pub fn leave(&self, channel: &Channel) {
        let dialect = self.talk.with_member(&self.id, |member| {
            member.channels.retain(|known| known != channel);
            Arc::clone(&member.dialect)
        });
        if let Some(dialect) = dialect {
            self.talk.client.hub().unsubscribe_as(self.session(), &*dialect, channel.clone());
        }
    }

    /// Removes the client from the namespace. Its library does not reconnect by itself.
    pub fn disconnect(&self) {
        if let Ok(frames) = self.talk.words_of(self, |session| session.disconnect(&self.namespace)) {
            self.talk.client.send(&frames);
            self.talk.leave(|member| member.socket_id == self.id);
        }
    }

    /// Closes the whole connection.
    pub fn close(&self, reason: impl Into<CloseReason>) {
        self.talk.client.close(reason);
    }

    fn arguments<'a>(&self, arguments: &'a str) -> std::borrow::Cow<'a, str> {
        match self.talk.with_member(&self.id, |member| member.offsets) {
            Some(true) => without_offset(arguments),
            _ => arguments.into(),
        }
    }
}
