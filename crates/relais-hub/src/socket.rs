//! The read side of a WebSocket, and its close.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use relais_protocol::websocket::{Decoder, Limits, Message, Opcode, ProtocolError, encode_frame};
use tokio::net::TcpStream;

use crate::close::{CloseCode, CloseReason};
use crate::outbox::State;
use crate::session::Session;

/// Bytes read at once. One buffer per thread serves all connections: an idle one has none of its own.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// What a dialect does with a client's messages.
///
/// Called on the connection's task, one message at a time and in order. The text is borrowed from the read
/// buffer: take what is needed.
pub trait Receiver: Send + Unpin + 'static {
    /// A complete text message.
    fn text(&mut self, session: &Arc<Session>, text: &str) -> Flow;

    /// A complete binary message. Refused with 1003 unless the dialect takes it.
    fn binary(&mut self, session: &Arc<Session>, bytes: &[u8]) -> Flow {
        let _ = (session, bytes);
        Flow::Close(CloseCode::Unsupported.into())
    }
}

/// What happens after a message.
pub enum Flow {
    /// The next message.
    Continue,
    /// Awaits this work before the next message. Frames to the client are sent meanwhile.
    Await(BoxFuture<'static, Flow>),
    /// The connection closes after the frames already queued.
    Close(CloseReason),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client closed, with this code if it gave one.
    ByClient(Option<u16>),
    /// The server closed, with this code.
    ByServer(CloseCode),
    /// The client broke the protocol.
    Protocol(ProtocolError),
    /// The connection was lost.
    Lost,
}

/// What is handed over with the stream of a WebSocket.
#[derive(Default)]
pub struct Leftover {
    bytes: Bytes,
    held: Option<Held>,
}

/// A resource that is released when a connection has ended, such as its place among all connections.
pub type Held = Box<dyn Any + Send>;

impl Leftover {
    /// `bytes` were read beyond the upgrade request; `held` is kept for as long as the connection lasts.
    #[must_use]
    pub fn new(bytes: Bytes, held: Option<Held>) -> Self {
        Self { bytes, held }
    }

    /// The bytes, and what is held.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Option<Held>) {
        (self.bytes, self.held)
    }
}

impl From<Bytes> for Leftover {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes, None)
    }
}

/// Runs the read side of `session` until the connection ends; the session is then removed from the hub, also if the
/// future is dropped earlier. `leftover` comes from the HTTP server.
///
/// # Panics
/// When polled, if the session's transport is not a socket.
pub fn run_socket<R: Receiver>(
    session: Arc<Session>,
    leftover: impl Into<Leftover>,
    receiver: R,
    limits: Limits,
) -> SocketRun<R> {
    let (leftover, held) = leftover.into().into_parts();
    SocketRun {
        session,
        receiver,
        decoder: Decoder::new(limits),
        kept: 0,
        // A copy: even an empty `Bytes` keeps the HTTP server's whole read buffer alive.
        backlog: leftover.to_vec(),
        work: None,
        phase: Phase::Talking,
        _held: held,
    }
}

/// The future of [`run_socket`].
pub struct SocketRun<R> {
    session: Arc<Session>,
    receiver: R,
    decoder: Decoder,
    /// Bytes of an incomplete message that are counted.
    kept: usize,
    /// Bytes received after a message whose work is in progress.
    backlog: Vec<u8>,
    work: Option<BoxFuture<'static, Flow>>,
    phase: Phase,
    _held: Option<Held>,
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Talking,
    /// The server's close frame is written; the client has until the close timeout to answer it.
    AwaitingClose(CloseCode),
    /// Nothing more is to be sent; what is queued is written, then the connection ends.
    Leaving(Ended),
    /// The same after a protocol error: what the client still sends is read and discarded, because closing a socket
    /// with unread bytes would destroy the server's close frame in transit.
    Discarding(Ended),
}

impl<R: Receiver> Future for SocketRun<R> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.get_mut();
        let session = Arc::clone(&this.session);
        let _cork = session.cork();
        let stream = session.stream().expect("run_socket needs a session with a socket");
        loop {
            let drained = this.session.poll_drain(cx);
            if let Some(ended) = this.after_drain(drained) {
                return Poll::Ready(ended);
            }
            if let Phase::Leaving(_) = this.phase {
                // Not empty yet: only the write side matters now.
                return Poll::Pending;
            }
            if let Some(work) = &mut this.work {
                let flow = ready!(work.as_mut().poll(cx));
                this.work = None;
                this.follow(flow);
                continue;
            }
            if !this.backlog.is_empty() {
                let mut backlog = std::mem::take(&mut this.backlog);
                this.feed(&mut backlog);
                continue;
            }
            match ready!(stream.poll_read_ready(cx)) {
                Ok(()) => this.read(stream),
                Err(_) => return Poll::Ready(this.lost()),
            }
        }
    }
}

impl<R: Receiver> SocketRun<R> {
    /// Runs `first` before the first message is read. Like any work, it ends with the session.
    #[must_use]
    pub fn after(mut self, first: Flow) -> Self {
        self.follow(first);
        self
    }

    /// Applies the state of the write side.
    fn after_drain(&mut self, drained: Poll<State>) -> Option<Ended> {
        match (drained, self.phase) {
            (Poll::Ready(State::Closed(_)), Phase::Leaving(ended) | Phase::Discarding(ended)) => Some(ended),
            (Poll::Ready(State::Closed(Some(code))), _) => Some(Ended::ByServer(code)),
            (Poll::Ready(State::Closed(None)), _) => Some(Ended::Lost),
            (Poll::Ready(_), Phase::Leaving(ended @ Ended::Protocol(_))) => {
                self.phase = Phase::Discarding(ended);
                self.session.shut_down_write().err().map(|_| ended)
            }
            (Poll::Ready(_), Phase::Leaving(ended)) => Some(ended),
            (Poll::Ready(State::Closing(code)), Phase::Talking) => {
                self.phase = Phase::AwaitingClose(code);
                // There is no one left to receive the result of the work in progress.
                self.work = None;
                self.backlog = Vec::new();
                self.session.shut_down_write().err().map(|_| Ended::ByServer(code))
            }
            (Poll::Ready(State::Open | State::Closing(_)) | Poll::Pending, _) => None,
        }
    }

    fn read(&mut self, stream: &TcpStream) {
        SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
            Ok(0) => {
                let ended = self.lost();
                self.phase = Phase::Leaving(ended);
                self.session.end();
            }
            Ok(n) => {
                self.session.touch();
                if !matches!(self.phase, Phase::Discarding(_)) {
                    self.feed(&mut scratch[..n]);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                let ended = self.lost();
                self.phase = Phase::Leaving(ended);
                self.session.end();
            }
        });
    }

    /// How a connection ended without a close frame from the client.
    fn lost(&self) -> Ended {
        match self.phase {
            Phase::Talking => Ended::Lost,
            Phase::AwaitingClose(code) => Ended::ByServer(code),
            Phase::Leaving(ended) | Phase::Discarding(ended) => ended,
        }
    }

    /// Handles the messages in `bytes`, up to one that needs work or ends the connection.
    fn feed(&mut self, bytes: &mut [u8]) {
        let arrived = bytes.len();
        let mut input = bytes;
        while self.work.is_none() && !matches!(self.phase, Phase::Leaving(_)) {
            let message = match self.decoder.next(&mut input) {
                Ok(Some(message)) => message,
                Ok(None) => return self.await_more(arrived),
                Err(error) => {
                    self.phase = Phase::Leaving(Ended::Protocol(error));
                    return self.session.close(&error.into());
                }
            };
            if matches!(message, Message::Text(_) | Message::Binary(_)) {
                self.session.message_goes_on(0, false);
            }
            let talking = self.phase == Phase::Talking && self.session.is_open();
            let flow = match message {
                Message::Text(text) if talking => self.receiver.text(&self.session, text),
                Message::Binary(bytes) if talking => self.receiver.binary(&self.session, bytes),
                Message::Ping(payload) => {
                    let mut pong = Vec::with_capacity(2 + payload.len());
                    encode_frame(Opcode::Pong, payload, &mut pong);
                    self.session.send_pong(pong.into());
                    Flow::Continue
                }
                Message::Close(close) => {
                    let code = close.map(|close| close.code);
                    return self.client_closes(code);
                }
                Message::Text(_) | Message::Binary(_) | Message::Pong(_) => Flow::Continue,
            };
            self.follow(flow);
        }
        if self.work.is_some() {
            self.backlog = input.to_vec();
        }
    }

    /// Everything received has been read.
    fn await_more(&mut self, arrived: usize) {
        let is_under_way = self.decoder.is_under_way();
        self.session.message_goes_on(arrived, is_under_way);
        let kept = if is_under_way { self.decoder.kept_bytes() } else { 0 };
        let before = std::mem::replace(&mut self.kept, kept);
        if kept != before
            && let Some(reason) = self.session.keeps(kept, before)
        {
            self.session.close(&reason);
        }
    }

    fn follow(&mut self, flow: Flow) {
        match flow {
            Flow::Continue => {}
            Flow::Await(work) => self.work = Some(work),
            Flow::Close(reason) => self.session.close(&reason),
        }
    }

    /// Answers the client's close frame, unless it is itself the answer.
    fn client_closes(&mut self, code: Option<u16>) {
        let ended = match self.phase {
            Phase::AwaitingClose(code) => Ended::ByServer(code),
            _ => Ended::ByClient(code),
        };
        self.phase = Phase::Leaving(ended);
        self.session.close(&CloseCode::Normal.into());
    }
}

impl<R> Drop for SocketRun<R> {
    fn drop(&mut self) {
        let _ = self.session.keeps(0, self.kept);
        self.session.end();
    }
}
