//! The server's side of one connection, as a state machine: inputs are what arrives, with the time; outputs are
//! [`Action`]s for the caller to do in their order. It does no I/O and starts no timer: the caller asks
//! [`Session::next_deadline`] and calls [`Session::tick`] then.
//!
//! | state | GET | POST | WebSocket opens | `2probe` | `5` | `send` |
//! |---|---|---|---|---|---|---|
//! | polling | held, or answered with what waits; a second one closes | read; a second one closes | → probing | – | – | answers the held GET, else waits |
//! | probing, before `2probe` | as polling | as polling | the new one is closed | `3probe`, the held GET gets NOOP | the probe is closed → polling | as polling |
//! | probing, after it | answered at once, with NOOP if nothing waits | as polling | the new one is closed | the probe is closed → polling | → websocket, which gets what waits | as polling |
//! | websocket | refused | refused | the new one is closed | closes | closes | written at once |
//! | closing (by us, while no GET waits) | answered with what waits and CLOSE → closed | refused | closed | – | – | refused |
//! | closed | refused | refused | closed | – | – | refused |
//!
//! A probe that is closed, says anything else, or takes longer than `upgrade_timeout` leaves the session in
//! polling. What is sent keeps its order across the upgrade: it waits in one queue, bounded in bytes, from which
//! first the GETs and then the WebSocket are served.

mod heartbeat;
mod polling;
mod websocket;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Frame, Handshake, Kind, Packet, Payload, PayloadLimits, Refusal, Text, Version};
use heartbeat::Heartbeat;
use polling::Polling;

/// The caller's name for an HTTP request of this session.
pub type RequestId = u64;
/// The caller's name for a WebSocket of this session.
pub type SocketId = u64;

/// The rules of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The client's version.
    pub version: Version,
    /// A client of version 3 that takes text only (`b64=1`).
    pub base64: bool,
    /// Whether the WebSocket is offered to a polling client.
    pub upgrade: bool,
    /// Time between two heartbeats; the first comes after it, not at once.
    pub ping_interval: Duration,
    /// How long the answer to a heartbeat may take.
    pub ping_timeout: Duration,
    /// How long a WebSocket may take to be probed and to take over.
    pub upgrade_timeout: Duration,
    /// What a payload may hold; its bytes are the limit of a WebSocket frame too.
    pub payload: PayloadLimits,
    /// Bytes that may wait for a polling client before it is given up.
    pub queue_bytes: usize,
}

impl Config {
    /// The usual rules for a client of `version`.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            base64: false,
            upgrade: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            payload: PayloadLimits::default(),
            queue_bytes: 1 << 20,
        }
    }
}

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer this request.
    Answer(RequestId, Response),
    /// Write this to the WebSocket: a frame of its kind, its bytes as they are.
    Write(SocketId, Frame),
    /// Close the WebSocket with this code.
    CloseSocket(SocketId, u16),
    /// The client sent a message, in this order.
    Message(Frame),
    /// This WebSocket is now the transport.
    Upgraded(SocketId),
    /// The session is over: forget it. Nothing follows for the client.
    Closed(CloseReason),
}

/// The answer to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// 200 with the packets, to a GET.
    Packets(Payload),
    /// 200 with the body `ok`, to a POST.
    Ok,
    /// 400 with [`Refusal::to_json`].
    Refused(Refusal),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client sent a close packet or closed its WebSocket.
    #[error("the client closed")]
    Client,
    /// [`Session::close`] was called.
    #[error("the server closed")]
    Server,
    /// A heartbeat was not answered, or none came.
    #[error("no heartbeat within pingTimeout")]
    PingTimeout,
    /// A second GET or POST while the first is under way ("HTTP long-polling").
    #[error("two requests of one kind at once: a client has one GET and one POST under way")]
    ConcurrentRequests,
    /// A packet or payload that cannot be read or that a client may not send.
    #[error("a packet that cannot be read, or that a client may not send here")]
    Protocol,
    /// A payload or frame larger than `maxPayload`.
    #[error("a payload larger than the maxPayload of the handshake")]
    TooLarge,
    /// More is waiting for a polling client than it may.
    #[error("more bytes wait for the client than queue_bytes allows")]
    SlowClient,
}

impl CloseReason {
    /// The close code of the WebSocket (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Client | Self::Server | Self::PingTimeout => 1000,
            Self::ConcurrentRequests | Self::Protocol => 1002,
            Self::TooLarge => 1009,
            Self::SlowClient => 1008,
        }
    }
}

/// Nothing more can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is closing or closed.
    #[error("the session is closed: nothing more can be sent on it")]
    Closed,
    /// The message did not fit; the session is closed with [`CloseReason::SlowClient`].
    #[error("more than {0} bytes wait for the client: the session was closed")]
    QueueFull(usize),
}

#[derive(Debug)]
enum State {
    Polling(Polling),
    WebSocket(SocketId),
    /// We closed, and the client learns it with its next GET, until then.
    Closing(Instant),
    Closed,
}

/// One connection. See the module's documentation for the contract.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    heartbeat: Heartbeat,
    /// What waits for a GET, or for the WebSocket to take over.
    queue: VecDeque<Frame>,
    queued_bytes: usize,
}

impl Session {
    /// A session that begins with a GET, which is answered with the handshake.
    pub fn open_polling(
        config: Config,
        sid: &str,
        get: RequestId,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Self {
        let mut session = Self::new(config, State::Polling(Polling::default()), now);
        session.push(session.handshake(sid, config.upgrade));
        session.answer_packets(get, out);
        session
    }

    /// A session that begins with a WebSocket, whose first frame is the handshake.
    pub fn open_websocket(
        config: Config,
        sid: &str,
        ws: SocketId,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Self {
        let session = Self::new(config, State::WebSocket(ws), now);
        out.push(Action::Write(ws, session.handshake(sid, false)));
        session
    }

    fn new(config: Config, state: State, now: Instant) -> Self {
        let heartbeat = Heartbeat::new(&config, now);
        Self { config, state, heartbeat, queue: VecDeque::new(), queued_bytes: 0 }
    }

    fn handshake(&self, sid: &str, upgrade: bool) -> Frame {
        let Config { ping_interval, ping_timeout, .. } = self.config;
        Handshake { sid, upgrade, ping_interval, ping_timeout, max_payload: self.config.payload.bytes }
            .to_frame()
    }

    /// Sends a packet; make messages with [`Frame::message`] or write the type `4` in front.
    ///
    /// # Errors
    /// [`SendError`]: it will not arrive.
    pub fn send(&mut self, frame: Frame, out: &mut Vec<Action>) -> Result<(), SendError> {
        match &self.state {
            State::WebSocket(ws) => {
                out.push(Action::Write(*ws, self.on_socket(frame)));
                Ok(())
            }
            State::Closing(_) | State::Closed => Err(SendError::Closed),
            State::Polling(_) => {
                // An empty queue takes a frame of any size, or a large one could never be sent.
                if !self.queue.is_empty() && self.queued_bytes + frame.len() > self.config.queue_bytes {
                    self.fail(CloseReason::SlowClient, out);
                    return Err(SendError::QueueFull(self.config.queue_bytes));
                }
                self.push(frame);
                self.serve_held_get(out);
                Ok(())
            }
        }
    }

    /// Sends a packet only if it would leave at once; otherwise it is dropped, which `false` says.
    pub fn send_volatile(&mut self, frame: Frame, out: &mut Vec<Action>) -> bool {
        self.is_writable() && self.send(frame, out).is_ok()
    }

    /// Whether a packet would leave at once.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match &self.state {
            State::Polling(polling) => polling.get.is_some(),
            State::WebSocket(_) => true,
            State::Closing(_) | State::Closed => false,
        }
    }

    /// Ends the session. A polling client learns it with the GET that waits, or with its next.
    pub fn close(&mut self, now: Instant, out: &mut Vec<Action>) {
        match &mut self.state {
            State::WebSocket(ws) => {
                out.push(Action::CloseSocket(*ws, CloseReason::Server.close_code()));
                self.end(CloseReason::Server, out);
            }
            State::Polling(polling) => {
                let get = polling.get.take();
                self.drop_requests(out);
                self.push(Frame::Text("1".into()));
                self.state = State::Closing(now + self.config.ping_timeout);
                if let Some(get) = get {
                    self.poll_get(get, out);
                }
            }
            State::Closing(_) | State::Closed => {}
        }
    }

    /// When [`Session::tick`] is due; `None` once it is closed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Polling(Polling { probe: Some(probe), .. }) => {
                Some(self.heartbeat.deadline().min(probe.deadline))
            }
            State::Polling(_) | State::WebSocket(_) => Some(self.heartbeat.deadline()),
            State::Closing(deadline) => Some(*deadline),
            State::Closed => None,
        }
    }

    /// Does what is due at `now`; may be called at any time.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        match &self.state {
            State::Closed => return,
            State::Closing(deadline) if now >= *deadline => return self.end(CloseReason::Server, out),
            State::Closing(_) => return,
            State::Polling(Polling { probe: Some(probe), .. }) if now >= probe.deadline => {
                self.drop_probe(CloseReason::Protocol.close_code(), out);
            }
            State::Polling(_) | State::WebSocket(_) => {}
        }
        match self.heartbeat.due(&self.config, now) {
            heartbeat::Due::Nothing => {}
            // A session that is given up for its full queue is reported through `out`.
            heartbeat::Due::Ping => drop(self.send(Frame::Text("2".into()), out)),
            heartbeat::Due::Dead => self.fail(CloseReason::PingTimeout, out),
        }
    }

    /// Whether the session is over and can be forgotten.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes that wait for the client.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// What every transport does with a packet; `Err` is what ends the session.
    fn packet(&mut self, packet: Packet, now: Instant, out: &mut Vec<Action>) -> Result<(), CloseReason> {
        self.heartbeat.heard(&self.config, &packet, now);
        match (packet.kind, self.config.version) {
            (Kind::Message, _) => out.push(Action::Message(packet.data)),
            (Kind::Pong, Version::V4) | (Kind::Noop, _) => {}
            (Kind::Ping, Version::V3) => {
                let Frame::Text(data) = packet.data else { return Err(CloseReason::Protocol) };
                let pong = Frame::Text(Text::from(format!("3{}", data.as_str())));
                self.send(pong, out).map_err(|_| CloseReason::SlowClient)?;
            }
            (Kind::Close, _) => return Err(CloseReason::Client),
            // Version 4 turned the heartbeat round; the rest only a server or a probe says.
            (Kind::Ping | Kind::Pong | Kind::Open | Kind::Upgrade, _) => return Err(CloseReason::Protocol),
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Ends the session at once and releases whoever waits for it.
    fn fail(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        match &mut self.state {
            State::WebSocket(ws) => out.push(Action::CloseSocket(*ws, reason.close_code())),
            State::Polling(polling) => {
                // A client that closes knows; any other learns it from the packet.
                let last = if reason == CloseReason::Client { "6" } else { "1" };
                if let Some(get) = polling.get.take() {
                    self.answer_only(get, Frame::Text(last.into()), out);
                }
                self.drop_requests(out);
            }
            State::Closing(_) => {}
            State::Closed => return,
        }
        self.end(reason, out);
    }

    fn end(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        self.state = State::Closed;
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        out.push(Action::Closed(reason));
    }
}
