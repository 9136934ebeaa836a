//! The handle that the application holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relais_protocol::event::{Channel, Cursor, Epoch, Event, Position};

use crate::close::CloseReason;
use crate::config::HubConfig;
use crate::dialect::Filter;
use crate::error::{OpenError, SubscribeError};
use crate::log::EventLog;
use crate::presence::{Presence, PresenceWatcher};
use crate::session::{Identity, Session, SessionSpec};
use crate::stats::HubStats;

/// The handle of the hub; clones share it. When the last one is dropped the hub stops.
#[derive(Clone)]
pub struct Hub {}

/// Where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the next event.
    Now,
    /// After the last event the client has seen.
    Cursor(Cursor),
    /// After the last event of this topic that the client has seen; for a single topic only.
    Position(Position),
}

/// One channel to listen to.
#[derive(Clone)]
pub struct Subscription {
    /// What to listen to.
    pub channel: Channel,
    /// Which of its events; all if absent.
    pub filter: Option<Arc<dyn Filter>>,
}

/// The outcome of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The life of the log.
    pub epoch: Epoch,
    /// The topic's offset at the join, for a subscription to a single topic.
    pub offset: Option<u64>,
    /// The place in the whole log at the join: what comes live is after it, what was replayed is up to it.
    pub cursor: Cursor,
    /// Whether everything after the place the client named was replayed. Always true from [`From::Now`]; if
    /// false, nothing was replayed and the client needs a fresh snapshot.
    pub recovered: bool,
    /// How many events were replayed.
    pub replayed: usize,
}

impl Hub {
    /// Starts the hub's thread. `head` is the place of the last event that is already in the log.
    #[must_use]
    pub fn start(
        config: HubConfig,
        head: Cursor,
        log: Arc<dyn EventLog>,
        presence: Arc<dyn PresenceWatcher>,
    ) -> Self {
        let _ = (config, head, log, presence);
        Self {}
    }

    /// Hands over a committed event, in `seq` order, from one thread. An ephemeral event (`seq` 0) may come
    /// from any thread; for a slow session only the newest of its topic and name waits.
    ///
    /// Blocks while the inbox is full if the event is durable; drops it if it is ephemeral.
    pub fn publish(&self, event: Arc<Event>) {
        let _ = event;
    }

    /// Hands over an ephemeral event of which a slow session gets the newest per topic, name and `key`.
    pub fn publish_latest(&self, event: Arc<Event>, key: Arc<str>) {
        let _ = (event, key);
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`OpenError`] if a limit is reached, the hub is draining, or the socket is gone.
    pub fn open(&self, spec: SessionSpec) -> Result<Arc<Session>, OpenError> {
        let _ = spec;
        Err(OpenError::Draining)
    }

    /// Gives a session its principal once it has said who it is.
    ///
    /// # Errors
    /// [`OpenError::TooManyForPrincipal`]; the session keeps its old identity.
    pub fn identify(&self, session: &Session, identity: Identity) -> Result<(), OpenError> {
        let _ = (session, identity);
        Ok(())
    }

    /// Joins one channel and replays what was missed.
    ///
    /// The bytes of `preface` (complete frames, may be empty) go first, then the replayed events, then live
    /// ones: in order, each once.
    ///
    /// # Errors
    /// [`SubscribeError`]; the session is then not in the channel, and `preface` was not called.
    pub async fn subscribe(
        &self,
        session: &Arc<Session>,
        channel: Channel,
        filter: Option<Arc<dyn Filter>>,
        from: From,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        self.subscribe_all(session, vec![Subscription { channel, filter }], from, preface).await
    }

    /// Joins several channels at one place of the log, so that one cursor resumes them all: what was missed
    /// is replayed in the order of the log, an event that several channels cover once.
    ///
    /// # Errors
    /// [`SubscribeError`]; the session is then in none of these channels, and `preface` was not called.
    pub async fn subscribe_all(
        &self,
        session: &Arc<Session>,
        subscriptions: Vec<Subscription>,
        from: From,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        let _ = (session, subscriptions, from, preface);
        Err(SubscribeError::Stopped)
    }

    /// Leaves a channel; nothing happens if the session is not in it.
    pub fn unsubscribe(&self, session: &Session, channel: Channel) {
        let _ = (session, channel);
    }

    /// Takes every session of `principal` out of `channel` at once and tells them in their dialect.
    pub fn revoke(&self, principal: &str, channel: Channel) {
        let _ = (principal, channel);
    }

    /// Closes every session of `principal`: signed out, locked or removed.
    pub fn close_principal(&self, principal: &str, reason: CloseReason) {
        let _ = (principal, reason);
    }

    /// Sends complete frame bytes to one session, after all frames that already wait for it.
    pub fn send(&self, session: &Session, frame: Bytes) {
        let _ = (session, frame);
    }

    /// Closes a session after the frames that already wait for it.
    pub fn close(&self, session: &Session, reason: CloseReason) {
        let _ = (session, reason);
    }

    /// Who is in a channel, in alphabetical order; the whole list, once what was asked before is done.
    pub async fn presence(&self, channel: &Channel) -> Vec<Presence> {
        let _ = channel;
        Vec::new()
    }

    /// What the hub holds and has done.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        HubStats::default()
    }

    /// The place of the last durable event that was published.
    #[must_use]
    pub fn head(&self) -> Cursor {
        Cursor { epoch: Epoch(0), seq: 0 }
    }

    /// One second passes, under [`Ticks::Manual`](crate::Ticks::Manual).
    pub fn tick(&self) {}

    /// Returns when everything that was asked before is done and written.
    pub async fn settled(&self) {}

    /// Refuses new sessions, tells every session to reconnect, evenly over `spread`, and returns when all
    /// have ended or had [`HubConfig::close_timeout_s`] to do so.
    pub async fn drain(&self, spread: Duration) {
        let _ = spread;
    }
}
