//! The handle that the application holds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use relais_protocol::event::{Channel, Cursor, Event};
use relais_protocol::time::SharedClock;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::close::{CloseCode, CloseReason};
use crate::config::HubConfig;
use crate::dialect::{Dialect, Filter};
use crate::engine::Engine;
use crate::error::{OpenError, SubscribeError};
use crate::identity::Identity;
use crate::inbox::{Command, Join};
use crate::log::{EventLog, LogError};
use crate::presence::{Presence, PresenceWatcher};
use crate::queue::QueueBody;
use crate::recovery::{Replay, replay};
use crate::session::{JoinPoint, Session, SessionSpec};
use crate::shared::Shared;
use crate::stats::HubStats;
use crate::subscription::{Joined, StartPosition, Subscription};
use crate::transport::{Transport, configure};

/// The handle of the hub; clones share it. When the last one is dropped the hub stops.
#[derive(Clone)]
pub struct Hub {
    thread: Arc<Thread>,
}

/// Stops the hub's thread when the last handle is dropped.
struct Thread {
    shared: Arc<Shared>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.inbox.stop();
    }
}

impl Hub {
    /// Starts the hub's thread. `head` is the position of the last event already in the log.
    ///
    /// # Panics
    /// If the operating system cannot create the thread.
    #[must_use]
    pub fn start(
        config: HubConfig,
        head: Cursor,
        log: Arc<dyn EventLog>,
        presence: Arc<dyn PresenceWatcher>,
    ) -> Self {
        let shared = Arc::new(Shared::new(config, head, log));
        let engine = Engine::new(Arc::clone(&shared), presence);
        let thread = std::thread::Builder::new().name("hub".into()).spawn(move || engine.run());
        drop(thread.expect("the system gives a thread at start"));
        Self { thread: Arc::new(Thread { shared }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.thread.shared
    }

    /// The clock that it was started with.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.shared().config.clock
    }

    fn push(&self, command: Command) {
        self.shared().inbox.push(command);
    }

    /// Publishes a committed event, in `seq` order, from one thread. An ephemeral event (`seq` 0) may be published from
    /// any thread; for a slow session only the latest of its topic and name is queued.
    ///
    /// Never blocks. An ephemeral event is dropped while the inbox is full; a durable one is always accepted, so its
    /// publisher checks [`Hub::has_room`] first.
    pub fn publish(&self, event: Arc<Event>) {
        if !self.shared().inbox.publish(event, None) {
            self.shared().figures.ephemeral_dropped.fetch_add(1, Relaxed);
        }
    }

    /// Whether the inbox has room for durable events. Its limit is exceeded by at most what a publisher that checks
    /// before each event adds.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared().inbox.has_room()
    }

    /// Runs `publish`, which publishes several events: the hub delivers them together instead of the first one alone.
    pub fn publish_together(&self, publish: impl FnOnce()) {
        let _cork = self.shared().inbox.cork();
        publish();
    }

    /// Publishes an ephemeral event of which a slow session receives the latest per topic, name and `key`. Returns
    /// whether there was room: a publisher that will soon have a newer value need not retry.
    pub fn publish_latest(&self, event: Arc<Event>, key: Arc<str>) -> bool {
        let taken = self.shared().inbox.publish(event, Some(key));
        if !taken {
            self.shared().figures.ephemeral_dropped.fetch_add(1, Relaxed);
        }
        taken
    }

    /// From here on, recoveries of the event `seq` return it with this data. Frames already queued for a session are
    /// unchanged. Always accepted, like a durable event of [`Hub::publish`].
    pub fn amend(&self, seq: u64, data: Arc<str>) {
        self.shared().inbox.amend(seq, data);
    }

    /// Opens a session.
    ///
    /// # Errors
    /// [`OpenError`] if a limit is reached, the hub is draining, or the socket is closed.
    pub fn open(&self, spec: SessionSpec) -> Result<Arc<Session>, OpenError> {
        let shared = self.shared();
        if let Transport::Socket(stream) = &spec.transport {
            configure(stream, &shared.config)?;
        }
        shared.admission.lock().admit(&spec.identity, spec.address, &shared.config)?;
        let identify_within_s = spec.identify_within_s;
        let id = shared.next_session.fetch_add(1, Relaxed);
        let session = Arc::new(Session::new(spec, id, shared));
        shared.inbox.push_unhurried(Command::Open { session: Arc::clone(&session), identify_within_s });
        Ok(session)
    }

    /// Assigns a session its principal after authentication.
    ///
    /// # Errors
    /// [`OpenError::TooManyForPrincipal`]; the session keeps its old identity.
    pub fn identify(&self, session: &Arc<Session>, identity: Identity) -> Result<(), OpenError> {
        let identity = Arc::new(identity);
        session.change_identity(&identity)?;
        self.push(Command::Identify { session: Arc::clone(session), identity });
        Ok(())
    }

    /// Subscribes to one channel and replays what was missed.
    ///
    /// The bytes of `preface` (complete frames, may be empty) are sent first, then the replayed events, then live ones:
    /// in order, each once.
    ///
    /// # Errors
    /// [`SubscribeError`]; the session is then not subscribed, and `preface` was not called.
    pub async fn subscribe(
        &self,
        session: &Arc<Session>,
        channel: Channel,
        filter: Option<Arc<dyn Filter>>,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        self.subscribe_all(session, vec![Subscription { channel, filter }], from, preface).await
    }

    /// Subscribes to several channels at one position of the log, so that one cursor resumes them all: missed events
    /// are replayed in log order, an event covered by several channels once.
    ///
    /// Dropping the future before it completes closes the session with 1011: frames may be held that can no longer be
    /// ordered.
    ///
    /// # Errors
    /// [`SubscribeError`]; the session is then in none of these channels, and `preface` was not called.
    pub async fn subscribe_all(
        &self,
        session: &Arc<Session>,
        subscriptions: Vec<Subscription>,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        let dialect = Arc::clone(&session.dialect);
        self.subscribe_all_as(session, &dialect, subscriptions, from, preface).await
    }

    /// As [`subscribe_all`](Self::subscribe_all), but the events of these channels are encoded in `dialect` instead of
    /// the session's own. A session may subscribe to one channel in several dialects.
    ///
    /// # Errors
    /// As [`subscribe_all`](Self::subscribe_all).
    pub async fn subscribe_all_as(
        &self,
        session: &Arc<Session>,
        dialect: &Arc<dyn Dialect>,
        subscriptions: Vec<Subscription>,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        self.enter(session, dialect, subscriptions, from, true, preface).await
    }

    /// As [`subscribe_all_as`](Self::subscribe_all_as), for channels that follow from the memberships of the session's
    /// principal rather than from a request: [`HubConfig::subscriptions_per_session_max`] does not count them, so that
    /// every member receives the events of its channels.
    ///
    /// # Errors
    /// As [`subscribe_all`](Self::subscribe_all).
    pub async fn subscribe_members_as(
        &self,
        session: &Arc<Session>,
        dialect: &Arc<dyn Dialect>,
        subscriptions: Vec<Subscription>,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        self.enter(session, dialect, subscriptions, from, false, preface).await
    }

    /// As [`subscribe_members_as`](Self::subscribe_members_as), in the session's own dialect.
    ///
    /// # Errors
    /// As [`subscribe_all`](Self::subscribe_all).
    pub async fn subscribe_members(
        &self,
        session: &Arc<Session>,
        subscriptions: Vec<Subscription>,
        from: StartPosition,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        let dialect = Arc::clone(&session.dialect);
        self.enter(session, &dialect, subscriptions, from, false, preface).await
    }

    async fn enter(
        &self,
        session: &Arc<Session>,
        dialect: &Arc<dyn Dialect>,
        subscriptions: Vec<Subscription>,
        from: StartPosition,
        limited: bool,
        preface: impl FnOnce(&Joined) -> Bytes + Send,
    ) -> Result<Joined, SubscribeError> {
        check_start(&subscriptions, from)?;
        self.reach(from).await?;
        let mut point = self.join(session, dialect, subscriptions.clone(), limited).await?;
        self.learn_offset(&subscriptions, &mut point).await?;
        let found = replay(self.shared(), &**dialect, &subscriptions, from, &point).await?;
        let recovered = found.is_some();
        let Replay { frames, events } = found.unwrap_or(Replay { frames: Vec::new(), events: 0 });
        let frames = frames.into_iter().map(|frames| session.as_agreed(frames));
        let epoch = self.shared().epoch;
        let cursor = Cursor { epoch, seq: point.head_seq };
        let joined = Joined { epoch, offset: point.offset, cursor, recovered, replayed: events };
        let mut all = Vec::with_capacity(frames.len() + 1);
        all.push(preface(&joined));
        all.extend(frames);
        point.release(all);
        Ok(joined)
    }

    /// A client that comes from another server of the same log may have received more than this one has published yet:
    /// that is published first. How a position compares with the others is known only after the client has joined.
    async fn reach(&self, from: StartPosition) -> Result<(), LogError> {
        let may_be_ahead = match from {
            StartPosition::Now => false,
            StartPosition::Cursor(cursor) => {
                cursor.epoch == self.shared().epoch && cursor.seq > self.head().seq
            }
            StartPosition::Position(position) => position.epoch == self.shared().epoch,
        };
        if may_be_ahead { self.shared().log.catch_up().await } else { Ok(()) }
    }

    async fn join(
        &self,
        session: &Arc<Session>,
        dialect: &Arc<dyn Dialect>,
        subscriptions: Vec<Subscription>,
        limited: bool,
    ) -> Result<JoinPoint, SubscribeError> {
        let (reply, answer) = oneshot::channel();
        let (session, dialect) = (Arc::clone(session), Arc::clone(dialect));
        self.push(Command::Join(Box::new(Join { session, subscriptions, dialect, limited, reply })));
        answer.await.unwrap_or(Err(SubscribeError::Stopped))
    }

    /// Reads from the log the offset of a topic without events since its stream was created.
    async fn learn_offset(
        &self,
        subscriptions: &[Subscription],
        point: &mut JoinPoint,
    ) -> Result<(), SubscribeError> {
        let [Subscription { channel: Channel::Topic(topic), .. }] = subscriptions else {
            point.offset = None;
            return Ok(());
        };
        if point.offset.is_none() {
            let offset = self.shared().log.position(topic, point.head_seq).await?;
            point.offset = Some(offset);
            self.shared().inbox.push_unhurried(Command::Offset { topic: topic.clone(), offset });
        }
        Ok(())
    }

    /// Leaves a channel; does nothing if the session is not in it.
    pub fn unsubscribe(&self, session: &Arc<Session>, channel: Channel) {
        let dialect = session.dialect_number;
        self.push(Command::Leave { session: Arc::clone(session), dialect, channel });
    }

    /// Leaves a channel that was joined with [`subscribe_all_as`](Self::subscribe_all_as).
    pub fn unsubscribe_as(&self, session: &Arc<Session>, dialect: &dyn Dialect, channel: Channel) {
        let dialect = self.shared().dialect_number(dialect.name());
        self.push(Command::Leave { session: Arc::clone(session), dialect, channel });
    }

    /// Moves a session that was opened with a queue to the socket of its upgraded connection: what is queued is written
    /// there, after the frames in `first`. Run its read side with [`run_socket`](crate::run_socket).
    ///
    /// # Errors
    /// An error of the socket, or that the session is closed; the session ends.
    pub fn upgrade(&self, body: QueueBody, stream: TcpStream, first: Bytes) -> io::Result<Arc<Session>> {
        configure(&stream, &self.shared().config)?;
        body.session().take_stream(stream, first)?;
        Ok(body.into_session())
    }

    /// Compresses what is sent to the session from here on (RFC 7692, each message on its own), as negotiated in its
    /// WebSocket handshake. An event is compressed once for all sessions with the same form. Only for dialects of
    /// WebSocket frames.
    pub fn compress(&self, session: &Arc<Session>) {
        session.set_compressed();
        self.push(Command::Compress(Arc::clone(session)));
    }

    /// Closes the session with 4001 unless [`identify`](Self::identify) is called within so many seconds from now. An
    /// earlier deadline stays in force; `None` removes it.
    pub fn identify_within(&self, session: &Arc<Session>, seconds: Option<u32>) {
        let session = Arc::clone(session);
        self.shared().inbox.push_unhurried(Command::IdentifyWithin { session, seconds });
    }

    /// Removes every session of `principal` from `channel` at once and notifies them in their dialect.
    pub fn revoke(&self, principal: &str, channel: Channel) {
        self.push(Command::Revoke { principal: principal.into(), channel });
    }

    /// Closes every session of `principal`: it was locked or removed, or its rights changed.
    pub fn close_principal(&self, principal: &str, reason: impl Into<CloseReason>) {
        let reason = reason.into();
        self.push(Command::ClosePrincipal { principal: principal.into(), sign_in: None, reason });
    }

    /// Closes the sessions of `principal` that belong to this sign-in, and no others.
    pub fn close_sign_in(&self, principal: &str, sign_in: &str, reason: impl Into<CloseReason>) {
        let (sign_in, reason) = (Some(sign_in.into()), reason.into());
        self.push(Command::ClosePrincipal { principal: principal.into(), sign_in, reason });
    }

    /// Closes every session.
    pub async fn close_all(&self, reason: impl Into<CloseReason>) {
        let reason = reason.into();
        self.sessions().await.iter().for_each(|session| session.close(&reason));
    }

    async fn sessions(&self) -> Vec<Arc<Session>> {
        let (reply, answer) = oneshot::channel();
        self.push(Command::Sessions { reply });
        answer.await.unwrap_or_default()
    }

    /// Sends complete frame bytes to one session, after all frames already queued for it.
    pub fn send(&self, session: &Arc<Session>, frame: Bytes) {
        session.send(frame);
    }

    /// Sends a session the complete current state, in complete frames: after every event published before, and before
    /// those published later. Whatever its size, it does not make the session a slow consumer.
    pub fn send_snapshot(&self, session: &Arc<Session>, frame: Bytes) {
        self.push(Command::Snapshot { session: Arc::clone(session), frame });
    }

    /// Closes a session after the frames already queued for it.
    pub fn close(&self, session: &Arc<Session>, reason: impl Into<CloseReason>) {
        session.close(&reason.into());
    }

    /// The members of a channel, in alphabetical order, once all earlier commands are executed.
    pub async fn presence(&self, channel: &Channel) -> Vec<Presence> {
        let (reply, answer) = oneshot::channel();
        self.push(Command::Presence { channel: channel.clone(), reply });
        answer.await.unwrap_or_default()
    }

    /// The number of principals with sessions here whose names begin with `prefix`.
    #[must_use]
    pub fn count_present(&self, prefix: &str) -> usize {
        self.shared().admission.lock().present(prefix)
    }

    /// The hub's statistics.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        self.shared().figures.snapshot()
    }

    /// The position of the last durable event that was published.
    #[must_use]
    pub fn head(&self) -> Cursor {
        Cursor { epoch: self.shared().epoch, seq: self.shared().figures.head_seq.load(Relaxed) }
    }

    /// Advances one second, under [`Ticks::Manual`](crate::Ticks::Manual).
    pub fn tick(&self) {
        self.push(Command::Tick);
    }

    /// Returns when all earlier commands are executed, and their frames written or queued.
    pub async fn settled(&self) {
        let (reply, answer) = oneshot::channel();
        self.push(Command::Settled { reply });
        let _ = answer.await;
    }

    /// Refuses new sessions, asks every session to reconnect, evenly over `spread`, and returns when all have ended or
    /// [`HubConfig::close_timeout_s`] has passed.
    pub async fn drain(&self, spread: Duration) {
        self.shared().admission.lock().draining = true;
        let sessions = self.sessions().await;
        let steps = u32::try_from(spread.as_millis() / DRAIN_STEP.as_millis()).unwrap_or(u32::MAX).max(1);
        let per_step = sessions.len().div_ceil(steps as usize).max(1);
        for some in sessions.chunks(per_step) {
            some.iter().for_each(|session| session.close(&CloseCode::ServiceRestart.into()));
            if !spread.is_zero() {
                tokio::time::sleep(spread / steps).await;
            }
        }
        let (reply, answer) = oneshot::channel();
        self.push(Command::WhenEmpty { reply });
        let _ = answer.await;
    }
}

/// How often a drain closes some sessions.
const DRAIN_STEP: Duration = Duration::from_millis(20);

fn check_start(subscriptions: &[Subscription], from: StartPosition) -> Result<(), SubscribeError> {
    match (from, subscriptions) {
        (StartPosition::Position(_), [Subscription { channel: Channel::Topic(_), .. }]) => Ok(()),
        (StartPosition::Position(_), [Subscription { channel, .. }, ..]) => {
            Err(SubscribeError::NotATopic(channel.clone()))
        }
        _ => Ok(()),
    }
}
