//! One live connection of a principal.
//!
//! A session queues commands about itself in the [inbox](crate::inbox), which it reaches through their
//! [shared](crate::shared) state, and the commands name sessions. This is the only dependency cycle of this crate: a
//! close from elsewhere must reach the hub's thread, whose order decides.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use relais_protocol::websocket::compress_frames;
use tokio::net::TcpStream;

use crate::close::{CloseCode, CloseReason};
use crate::dialect::Dialect;
use crate::error::OpenError;
use crate::frame_batch::FrameBatch;
use crate::identity::Identity;
use crate::inbox::{Command, Cork};
use crate::outbox::{Delivered, Drained, Outbox, State};
use crate::shared::Shared;
use crate::transport::Transport;

/// How long the kernel keeps unsent data of a connection that has ended.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Identifies a session within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What a session is opened with.
pub struct SessionSpec {
    /// Who it belongs to.
    pub identity: Identity,
    /// Where the client connects from.
    pub address: IpAddr,
    /// Its dialect.
    pub dialect: Arc<dyn Dialect>,
    /// Where its bytes are written.
    pub transport: Transport,
    /// Closes the session with 4001 unless [`Hub::identify`](crate::Hub::identify) was called within so many
    /// seconds.
    pub identify_within_s: Option<u32>,
}

/// One live connection of a principal: opened by [`Hub::open`](crate::Hub::open), ended by
/// [`run_socket`](crate::run_socket) or [`QueueBody`](crate::QueueBody) when either side closes.
pub struct Session {
    id: SessionId,
    address: IpAddr,
    pub(crate) dialect: Arc<dyn Dialect>,
    /// Where its bytes are written; a queue has none, or none yet.
    stream: OnceLock<Arc<TcpStream>>,
    shared: Arc<Shared>,
    identity: Mutex<Arc<Identity>>,
    /// Order of writes is decided under this lock, and the non-blocking write itself happens under it.
    outbox: Mutex<Outbox>,
    /// The task that drains the outbox.
    waker: AtomicWaker,
    /// Second of the last activity.
    active_at_s: AtomicU32,
    /// Second in which the current incomplete message began; 0 if there is none.
    message_since_s: AtomicU32,
    /// Bytes of it received so far.
    message_bytes: AtomicU32,
    /// Where the hub's thread keeps this session.
    slot: AtomicU32,
    pub(crate) dialect_number: u16,
    /// Whether frames to it are compressed.
    compressed: AtomicBool,
    /// Whether it still counts against the limits.
    admitted: AtomicBool,
}

impl Session {
    pub(crate) fn new(spec: SessionSpec, id: u64, shared: &Arc<Shared>) -> Self {
        Self {
            id: SessionId(id),
            address: spec.address,
            dialect_number: shared.dialect_number(spec.dialect.name()),
            dialect: spec.dialect,
            stream: match spec.transport {
                Transport::Socket(stream) => OnceLock::from(stream),
                Transport::Queue => OnceLock::new(),
            },
            identity: Mutex::new(Arc::new(spec.identity)),
            outbox: Mutex::new(Outbox::new()),
            waker: AtomicWaker::new(),
            active_at_s: AtomicU32::new(shared.now_s.load(Relaxed)),
            message_since_s: AtomicU32::new(0),
            message_bytes: AtomicU32::new(0),
            slot: AtomicU32::new(u32::MAX),
            compressed: AtomicBool::new(false),
            admitted: AtomicBool::new(true),
            shared: Arc::clone(shared),
        }
    }

    /// Its name in logs.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Where the client connects from.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Who it belongs to now.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.lock())
    }

    /// Until it is dropped, what this thread publishes is delivered together.
    pub(crate) fn cork(&self) -> Cork<'_> {
        self.shared.inbox.cork()
    }

    /// Whether it still accepts frames: neither closing nor closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.outbox.lock().state == State::Open
    }

    /// Whether the server closes it and asks the client to reconnect: because its rights changed, or the server is
    /// stopping.
    #[must_use]
    pub fn is_sent_away(&self) -> bool {
        let away = CloseCode::ServiceRestart;
        matches!(self.outbox.lock().state, State::Closing(code) | State::Closed(Some(code)) if code == away)
    }

    /// Bytes queued for the client.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.lock().bytes()
    }

    /// Changes the principal it belongs to and is counted for; refused if the new principal has too many sessions.
    pub(crate) fn change_identity(&self, identity: &Arc<Identity>) -> Result<(), OpenError> {
        let mut admission = self.shared.admission.lock();
        // A session that has ended is no longer counted.
        if self.admitted.load(Relaxed) {
            admission.exchange(&self.identity(), identity, self.address, &self.shared.config)?;
        }
        *self.identity.lock() = Arc::clone(identity);
        Ok(())
    }

    pub(crate) fn stream(&self) -> Option<&TcpStream> {
        self.stream.get().map(|stream| &**stream)
    }

    /// Writes to `stream` from now on: first `first`, then what is queued.
    pub(crate) fn take_stream(&self, stream: TcpStream, first: Bytes) -> io::Result<()> {
        let mut outbox = self.outbox.lock();
        if let State::Closed(_) = outbox.state {
            return Err(io::ErrorKind::NotConnected.into());
        }
        outbox.send_first(first);
        self.stream.set(Arc::new(stream)).map_err(|_| io::ErrorKind::AlreadyExists)?;
        let _ = outbox.drain(self.stream());
        drop(outbox);
        self.touch();
        self.waker.wake();
        Ok(())
    }

    pub(crate) fn set_compressed(&self) {
        self.compressed.store(true, Relaxed);
    }

    /// Encodes frames as negotiated with the client.
    pub(crate) fn as_agreed(&self, frames: Bytes) -> Bytes {
        if !self.compressed.load(Relaxed) {
            return frames;
        }
        let mut packed = Vec::with_capacity(frames.len());
        compress_frames(&frames, &mut packed);
        packed.into()
    }

    pub(crate) fn slot(&self) -> u32 {
        self.slot.load(Relaxed)
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Relaxed);
    }

    pub(crate) fn active_at_s(&self) -> u32 {
        self.active_at_s.load(Relaxed)
    }

    /// Records activity. Reads from a socket or a queue count by themselves, and so does a full socket that becomes
    /// writable.
    pub fn touch(&self) {
        self.active_at_s.store(self.shared.now_s.load(Relaxed), Relaxed);
    }

    /// Records the progress of an incomplete message, or that there is none.
    pub(crate) fn message_goes_on(&self, bytes: usize, is_under_way: bool) {
        if !is_under_way {
            return self.message_since_s.store(0, Relaxed);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.message_since_s.load(Relaxed) == 0 {
            self.message_since_s.store(self.shared.now_s.load(Relaxed).max(1), Relaxed);
            self.message_bytes.store(bytes, Relaxed);
        } else {
            let before = self.message_bytes.load(Relaxed);
            self.message_bytes.store(before.saturating_add(bytes), Relaxed);
        }
    }

    /// Records that `kept` bytes of an incomplete message are buffered, where `before` were. Returns why the session
    /// has to close, if that is too much.
    pub(crate) fn keeps(&self, kept: usize, before: usize) -> Option<CloseReason> {
        let (unfinished, config) = (&self.shared.unfinished_bytes, &self.shared.config);
        let all = if kept >= before {
            unfinished.fetch_add(kept - before, Relaxed) + (kept - before)
        } else {
            unfinished.fetch_sub(before - kept, Relaxed) - (before - kept)
        };
        if kept <= before {
            return None;
        }
        if kept > config.anonymous_message_bytes_max && self.identity().anonymous {
            let limit = config.anonymous_message_bytes_max;
            let text = format!("more than {limit} bytes of a message, and nobody has said who sends it");
            return Some(CloseReason::new(CloseCode::TooBig, text));
        }
        let is_too_much = all > config.unfinished_bytes_max;
        is_too_much.then(|| {
            CloseReason::new(CloseCode::TryLater, "too many messages are half sent: try again later")
        })
    }

    /// Whether an incomplete message arrives too slowly.
    pub(crate) fn is_stalled(&self, now_s: u32) -> bool {
        let (since_s, config) = (self.message_since_s.load(Relaxed), &self.shared.config);
        let for_s = now_s.saturating_sub(since_s);
        let least = u64::from(config.message_rate_min) * u64::from(for_s);
        since_s > 0 && for_s >= config.idle_timeout_s && u64::from(self.message_bytes.load(Relaxed)) < least
    }

    pub(crate) fn deliver(&self, frame_batch: &FrameBatch<'_>) -> Delivered {
        let mut outbox = self.outbox.lock();
        // A writer that already waits for room in the socket need not be woken.
        let awaits_room = self.stream().is_some() && !outbox.is_empty();
        let delivered = outbox.deliver(self.stream(), &*self.dialect, frame_batch, &self.shared.config);
        drop(outbox);
        match delivered {
            Delivered::Queued if awaits_room => {}
            Delivered::Queued | Delivered::Slow | Delivered::Broken => self.waker.wake(),
            Delivered::Written | Delivered::Gone => {}
        }
        delivered
    }

    /// Queues a personal frame after all others.
    pub(crate) fn send(self: &Arc<Self>, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        let frame = self.as_agreed(frame);
        let mut outbox = self.outbox.lock();
        if outbox.state != State::Open {
            return;
        }
        let kept = outbox.send(&*self.dialect, frame, &self.shared.config);
        let _ = outbox.drain(self.stream());
        drop(outbox);
        self.waker.wake();
        if !kept {
            self.shared.figures.slow_closed.fetch_add(1, Relaxed);
            self.announce_closing();
        }
    }

    /// Sends a frame with the complete current state.
    pub(crate) fn send_snapshot(&self, frame: Bytes) {
        let frame = self.as_agreed(frame);
        let mut outbox = self.outbox.lock();
        if outbox.state == State::Open && !frame.is_empty() {
            outbox.send_snapshot(frame);
            let _ = outbox.drain(self.stream());
            drop(outbox);
            self.waker.wake();
        }
    }

    /// Answers a ping, unless the client sends pings without reading.
    pub(crate) fn send_pong(&self, frame: Bytes) {
        let mut outbox = self.outbox.lock();
        if outbox.state == State::Open && outbox.bytes() + frame.len() <= self.shared.config.queue_bytes {
            outbox.send_urgent(&*self.dialect, frame);
            let _ = outbox.drain(self.stream());
        }
    }

    /// Sends a heartbeat. While frames are queued, only one that the client expects, and ahead of them: for other
    /// clients the queued frames are a sign of life.
    pub(crate) fn send_heartbeat(&self, frame: Bytes) {
        let mut outbox = self.outbox.lock();
        let due = outbox.is_empty() || self.dialect.heartbeats_are_awaited();
        if outbox.state == State::Open && due && !frame.is_empty() {
            outbox.send_urgent(&*self.dialect, frame);
            let drained = outbox.drain(self.stream());
            drop(outbox);
            if drained != Drained::Empty {
                self.waker.wake();
            }
        }
    }

    /// Starts to close; does nothing if it is closing already.
    pub(crate) fn close(self: &Arc<Self>, reason: &CloseReason) {
        if self.begin_close(reason) {
            self.announce_closing();
        }
    }

    /// [`close`](Self::close) without notifying the hub's thread, for that thread itself.
    pub(crate) fn begin_close(&self, reason: &CloseReason) -> bool {
        let mut outbox = self.outbox.lock();
        if outbox.state != State::Open {
            return false;
        }
        outbox.finish(&*self.dialect, reason);
        let _ = outbox.drain(self.stream());
        drop(outbox);
        self.waker.wake();
        true
    }

    fn announce_closing(self: &Arc<Self>) {
        self.shared.inbox.push(Command::Closing(Arc::clone(self)));
    }

    /// Holds live frames during a recovery; `false` if the session is not open.
    pub(crate) fn hold(&self) -> bool {
        let mut outbox = self.outbox.lock();
        let open = outbox.state == State::Open;
        if open {
            outbox.hold();
        }
        open
    }

    /// Queues the recovered frames ahead of the live frames that were held.
    pub(crate) fn release(&self, recovered: Vec<Bytes>) {
        let mut outbox = self.outbox.lock();
        outbox.release(recovered);
        let _ = outbox.drain(self.stream());
        drop(outbox);
        self.waker.wake();
    }

    pub(crate) fn state(&self) -> State {
        self.outbox.lock().state
    }

    /// Writes what is queued; ready when nothing is left, or the connection failed.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<State> {
        self.waker.register(cx.waker());
        let Some(stream) = self.stream() else { return Poll::Ready(self.state()) };
        loop {
            {
                let mut outbox = self.outbox.lock();
                let waited = outbox.bytes();
                let drained = outbox.drain(self.stream());
                if outbox.bytes() < waited {
                    // A full socket has become writable: the client reads.
                    self.touch();
                }
                if drained != Drained::Blocked {
                    return Poll::Ready(outbox.state);
                }
            }
            match stream.poll_write_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    self.outbox.lock().end();
                    return Poll::Ready(self.state());
                }
            }
        }
    }

    /// Takes everything queued in one chunk, for a queue transport; `None` at the end.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.waker.register(cx.waker());
        let mut outbox = self.outbox.lock();
        if let Some(chunk) = outbox.take_all() {
            self.touch();
            return Poll::Ready(Some(chunk));
        }
        match outbox.state {
            State::Open => Poll::Pending,
            State::Closing(_) | State::Closed(_) => Poll::Ready(None),
        }
    }

    /// What [`poll_take`](Self::poll_take) would take now.
    pub(crate) fn take_waiting(&self) -> Option<Bytes> {
        self.outbox.lock().take_all()
    }

    /// Ends the session at once: nothing more is written, its place is released.
    pub(crate) fn end(self: &Arc<Self>) {
        self.kill();
        self.shared.inbox.push(Command::Ended(Arc::clone(self)));
    }

    /// [`end`](Self::end) without notifying the hub's thread, for that thread itself.
    pub(crate) fn kill(&self) {
        self.outbox.lock().end();
        if let Some(stream) = self.stream() {
            // Unread data in the kernel's buffers must not stay there.
            let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT));
        }
        if self.admitted.swap(false, Relaxed) {
            self.shared.admission.lock().dismiss(&self.identity(), self.address);
        }
        self.waker.wake();
    }

    /// Signals that no more frames follow, so that the client closes.
    pub(crate) fn shut_down_write(&self) -> io::Result<()> {
        match self.stream() {
            Some(stream) => socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write),
            None => Ok(()),
        }
    }
}

/// The point at which a session joined: events after `head_seq` are delivered live, and their frames are held until
/// this is released.
pub(crate) struct JoinPoint {
    /// The session whose frames are held; taken by the release.
    session: Option<Arc<Session>>,
    pub head_seq: u64,
    /// The topic's offset there, if the hub knows it.
    pub offset: Option<u64>,
}

impl JoinPoint {
    pub(crate) fn new(session: Arc<Session>, head_seq: u64, offset: Option<u64>) -> Self {
        Self { session: Some(session), head_seq, offset }
    }

    /// Queues `recovered` ahead of the held live frames and releases them all.
    pub(crate) fn release(mut self, recovered: Vec<Bytes>) {
        if let Some(session) = self.session.take() {
            session.release(recovered);
        }
    }
}

impl Drop for JoinPoint {
    /// The frames held by an abandoned join can no longer be ordered: the client reconnects and resumes.
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&CloseCode::Internal.into());
            session.release(Vec::new());
        }
    }
}
