//! The server side of one connection, as a state machine: inputs are what arrives, with the time; outputs are
//! [`Action`]s for the caller to carry out in order. It does no I/O and starts no timer: the caller asks
//! [`Session::next_deadline`] and then calls [`Session::tick`].
//!
//! | state | GET | POST | WebSocket opens | `2probe` | `5` | `send` |
//! |---|---|---|---|---|---|---|
//! | polling | held, or answered with the queue; a second one closes | read; a second one closes | → probing | – | – | answers the held GET, else queues |
//! | probing, before `2probe` | as polling | as polling | the new one is closed | `3probe`, the held GET gets NOOP | the probe is closed → polling | as polling |
//! | probing, after it | answered at once, with NOOP if the queue is empty | as polling | the new one is closed | the probe is closed → polling | → websocket, which gets the queue | as polling |
//! | websocket | refused | refused | the new one is closed | closes | closes | written at once |
//! | closing (by the server, while no GET is held) | answered with the queue and CLOSE → closed, or refused → closed | refused | closed | – | – | refused |
//! | closed | refused | refused | closed | – | – | refused |
//!
//! A probe that is closed, sends anything else, or takes longer than `upgrade_timeout` leaves the session in polling.
//! Order is kept across the upgrade: packets wait in one queue, bounded in bytes, which is drained by GETs first and
//! then by the WebSocket.

mod action;
mod answer_size;
mod config;
mod heartbeat;
mod polling;
mod websocket;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::{Frame, Handshake, Kind, Packet, Text, Version};
pub use action::{Action, CloseReason, RequestId, Response, SendError, SocketId};
use answer_size::AnswerSize;
pub use config::Config;
use heartbeat::Heartbeat;
use polling::Polling;

#[derive(Debug)]
enum State {
    Polling(Polling),
    WebSocket(SocketId),
    /// Closed by the server; the client is notified by its next GET, within this deadline.
    Closing {
        until: Instant,
        /// Whether that GET is refused once the queue is drained.
        refuses: bool,
    },
    Closed,
}

/// One connection. See the module documentation for the contract.
#[derive(Debug)]
pub struct Session {
    /// Shared: a server has many connections with the same settings.
    config: Arc<Config>,
    state: State,
    heartbeat: Heartbeat,
    /// Frames waiting for a GET, or for the upgrade to WebSocket.
    queue: VecDeque<Frame>,
    queued_bytes: usize,
    /// How much of the queue one response to a GET carries.
    answer_size: AnswerSize,
}

impl Session {
    /// A session that starts with a GET, which is answered with the handshake.
    pub fn open_polling(
        config: impl Into<Arc<Config>>,
        sid: &str,
        get: RequestId,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Self {
        let mut session = Self::new(config.into(), State::Polling(Polling::default()), now);
        session.push(session.handshake(sid, session.config.upgrade));
        session.answer_packets(get, out);
        session
    }

    /// A session that starts with a WebSocket, whose first frame is the handshake.
    pub fn open_websocket(
        config: impl Into<Arc<Config>>,
        sid: &str,
        ws: SocketId,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Self {
        let session = Self::new(config.into(), State::WebSocket(ws), now);
        out.push(Action::Write(ws, session.handshake(sid, false)));
        session
    }

    fn new(config: Arc<Config>, state: State, now: Instant) -> Self {
        let heartbeat = Heartbeat::new(&config, now);
        let answer_size = AnswerSize::new(now);
        Self { config, state, heartbeat, queue: VecDeque::new(), queued_bytes: 0, answer_size }
    }

    fn handshake(&self, sid: &str, upgrade: bool) -> Frame {
        let Config { ping_interval, ping_timeout, .. } = *self.config;
        Handshake { sid, upgrade, ping_interval, ping_timeout, max_payload: self.config.payload.bytes }
            .to_frame()
    }

    /// Sends a packet; build messages with [`Frame::message`] or prefix them with the type `4`.
    ///
    /// # Errors
    /// [`SendError`]: the packet will not be delivered.
    pub fn send(&mut self, frame: Frame, out: &mut Vec<Action>) -> Result<(), SendError> {
        match &self.state {
            State::WebSocket(ws) => {
                out.push(Action::Write(*ws, self.on_socket(frame)));
                Ok(())
            }
            State::Closing { .. } | State::Closed => Err(SendError::Closed),
            State::Polling(_) => {
                // An empty queue accepts a frame of any size; otherwise a large one could never be sent.
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

    /// Sends packets that the caller has held back for a polling client, whose GET is answered with all that fit
    /// together. The caller has already bounded them, so `queue_bytes` does not apply.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn send_all(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
        out: &mut Vec<Action>,
    ) -> Result<(), SendError> {
        match &self.state {
            State::WebSocket(ws) => {
                let ws = *ws;
                out.extend(frames.into_iter().map(|frame| Action::Write(ws, self.on_socket(frame))));
                Ok(())
            }
            State::Closing { .. } | State::Closed => Err(SendError::Closed),
            State::Polling(_) => {
                frames.into_iter().for_each(|frame| self.push(frame));
                self.serve_held_get(out);
                Ok(())
            }
        }
    }

    /// Sends a packet only if it can be sent at once; otherwise drops it and returns `false`.
    pub fn send_volatile(&mut self, frame: Frame, out: &mut Vec<Action>) -> bool {
        self.is_writable() && self.send(frame, out).is_ok()
    }

    /// Whether a packet would be sent at once.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        match &self.state {
            State::Polling(polling) => polling.get.is_some(),
            State::WebSocket(_) => true,
            State::Closing { .. } | State::Closed => false,
        }
    }

    /// Closes the session. A polling client is notified by the held GET, or by its next one.
    pub fn close(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.close_by(false, now, out);
    }

    /// Like [`close`](Self::close), but a polling client is notified by a GET that is refused once the queue is
    /// drained, so that the response can carry a reason, for which a close packet has no room.
    pub fn close_refusing(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.close_by(true, now, out);
    }

    fn close_by(&mut self, refuses: bool, now: Instant, out: &mut Vec<Action>) {
        match &mut self.state {
            State::WebSocket(ws) => {
                out.push(Action::CloseSocket(*ws, CloseReason::Server.close_code()));
                self.end(CloseReason::Server, out);
            }
            State::Polling(polling) => {
                let get = polling.get.take();
                self.drop_requests(out);
                if !refuses {
                    self.push(Frame::Text("1".into()));
                }
                self.state = State::Closing { until: now + self.config.ping_timeout, refuses };
                if let Some(get) = get {
                    self.poll_get(get, now, out);
                }
            }
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// When [`Session::tick`] is due; `None` once the session is closed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Polling(Polling { probe: Some(probe), .. }) => {
                Some(self.heartbeat.deadline().min(probe.deadline))
            }
            State::Polling(_) | State::WebSocket(_) => Some(self.heartbeat.deadline()),
            State::Closing { until, .. } => Some(*until),
            State::Closed => None,
        }
    }

    /// Does what is due at `now`; may be called at any time.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Action>) {
        match &self.state {
            State::Closed => return,
            State::Closing { until, .. } if now >= *until => return self.end(CloseReason::Server, out),
            State::Closing { .. } => return,
            State::Polling(Polling { probe: Some(probe), .. }) if now >= probe.deadline => {
                self.drop_probe(CloseReason::Protocol.close_code(), out);
            }
            State::Polling(_) | State::WebSocket(_) => {}
        }
        match self.heartbeat.due(&self.config, now) {
            heartbeat::Due::Nothing => {}
            // A session closed because its queue is full is reported through `out`.
            heartbeat::Due::Ping => drop(self.send(Frame::Text("2".into()), out)),
            heartbeat::Due::Dead => self.fail(CloseReason::PingTimeout, out),
        }
    }

    /// Whether the session has ended and can be forgotten.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes queued for the client.
    #[must_use]
    pub const fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Handles a packet on any transport; `Err` is the reason that ends the session.
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
            // Version 4 reversed the heartbeat; the other types are only for servers or probes.
            (Kind::Ping | Kind::Pong | Kind::Open | Kind::Upgrade, _) => return Err(CloseReason::Protocol),
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(frame);
    }

    /// Ends the session at once and answers its pending requests.
    fn fail(&mut self, reason: CloseReason, out: &mut Vec<Action>) {
        match &mut self.state {
            State::WebSocket(ws) => out.push(Action::CloseSocket(*ws, reason.close_code())),
            State::Polling(polling) => {
                // A client that closed already knows; any other is notified by the packet.
                let last = if reason == CloseReason::Client { "6" } else { "1" };
                if let Some(get) = polling.get.take() {
                    self.answer_only(get, Frame::Text(last.into()), out);
                }
                self.drop_requests(out);
            }
            State::Closing { .. } => {}
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
