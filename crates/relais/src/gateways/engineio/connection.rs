//! One connection and the state shared by its requests and its socket.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use axum::response::Response as HttpResponse;
use parking_lot::{Mutex, MutexGuard};
use relais_hub::{CloseCode, CloseReason, Flow, QueueBody};
use relais_protocol::engineio::{Action, Frame, RequestId, Response, Session, SocketId};
use tokio::sync::{mpsc, oneshot};

use super::farewell::Farewell;
use super::registry::Registry;
use super::{Client, Conversation, reply, wire};
use crate::auth::Principal;

/// How long a request waits for a WebSocket beside it to be read. That takes no time unless the client delays it.
const SOCKET_READ_WITHIN: Duration = Duration::from_secs(1);

/// Requests that data received on an upgrading socket be read; dropped when that is done.
pub(super) type ReadRequest = oneshot::Sender<()>;

/// One connection.
pub(super) struct Connection {
    sid: Arc<str>,
    /// The principal and credential of the request that opened it.
    opener: Principal,
    pub(super) client: Client,
    conversation: OnceLock<Arc<dyn Conversation>>,
    pub(super) state: Mutex<State>,
    /// Numbers for requests and sockets.
    numbers: AtomicU64,
    finished: AtomicBool,
    registry: Weak<Registry>,
    _counted: Counted,
}

/// What requests and sockets change.
pub(super) struct State {
    pub(super) engine: Session,
    /// The outbound queue of a polling client; none once it has a WebSocket.
    pub(super) body: Option<QueueBody>,
    /// Pending requests: a GET and a POST at most.
    answers: Vec<(RequestId, oneshot::Sender<Response>)>,
    /// The upgrading socket, and how to close it.
    pub(super) probe: Option<(SocketId, oneshot::Sender<u16>)>,
    /// Where read requests to that socket are sent, from the moment its request arrived.
    pub(super) probe_reads: Option<mpsc::Sender<ReadRequest>>,
    /// Why the connection ends, once that is known.
    pub(super) farewell: Option<Farewell>,
    /// Whether messages of a POST are being delivered; the rest of the connection waits meanwhile.
    is_handing_on: bool,
    /// Dropped when that is done: the upgraded socket waits for it.
    next_turn: Option<oneshot::Sender<()>>,
    is_over: bool,
}

/// Actions of the protocol that remain to be done.
#[derive(Default)]
pub(super) struct Outcome {
    /// Messages to be delivered, in order.
    pub(super) messages: Vec<Frame>,
    /// Frames for a socket, in order, and the index at which it became the transport.
    pub(super) writes: Vec<Frame>,
    pub(super) upgraded_after: Option<usize>,
    /// The answer to the current POST, held back until its messages are delivered.
    pub(super) held_answer: Option<Response>,
    /// Whether another request was answered.
    pub(super) answered: bool,
    /// The close reason.
    pub(super) closed: Option<CloseReason>,
}

impl Connection {
    pub(super) fn new(
        sid: Arc<str>,
        opener: Principal,
        client: Client,
        engine: Session,
        body: Option<QueueBody>,
        registry: Weak<Registry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sid,
            opener,
            client,
            conversation: OnceLock::new(),
            state: Mutex::new(State {
                engine,
                body,
                answers: Vec::new(),
                probe: None,
                probe_reads: None,
                farewell: None,
                is_handing_on: false,
                next_turn: None,
                is_over: false,
            }),
            numbers: AtomicU64::new(1),
            finished: AtomicBool::new(false),
            registry,
            _counted: Counted::new(),
        })
    }

    pub(super) fn sid(&self) -> &Arc<str> {
        &self.sid
    }

    /// Whether a later request may take part. Its id alone does not do where a credential opened the connection: the same
    /// person or key has to show one, a newer token and another session of theirs included. A connection that nobody's
    /// request opened has its id and nothing else to show; somebody who signs in meanwhile goes on with it, unless it
    /// has become another's.
    pub(super) fn is_open_to(&self, presenter: &Principal) -> bool {
        if !self.opener.is_anonymous() {
            return self.opener.id() == presenter.id();
        }
        let owner = self.client.session().identity();
        presenter.is_anonymous() || owner.anonymous || owner.principal == presenter.id()
    }

    /// Whether an authenticated caller asks to continue a connection that was opened anonymously: its messages and
    /// subscriptions so far were anonymous.
    pub(super) fn is_strange_to(&self, presenter: &Principal) -> bool {
        !presenter.is_anonymous() && self.client.session().identity().anonymous
    }

    pub(super) fn begin(&self, conversation: Arc<dyn Conversation>) {
        let _ = self.conversation.set(conversation);
    }

    /// A new number for a request or a socket.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    /// Whether the hub has ended it and nothing is left to send.
    pub(super) fn is_ended(&self) -> bool {
        let session = self.client.session();
        !session.is_open() && session.queued_bytes() == 0
    }

    pub(super) fn await_answer(state: &mut State, request: RequestId) -> oneshot::Receiver<Response> {
        let (sender, answer) = oneshot::channel();
        state.answers.push((request, sender));
        answer
    }

    /// Carries out the actions of the protocol, and returns what is left to do once the lock is released. The answer to
    /// `holding` is part of that.
    pub(super) fn carry_out(
        &self,
        state: &mut MutexGuard<'_, State>,
        actions: Vec<Action>,
        holding: Option<RequestId>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for action in actions {
            match action {
                Action::Answer(request, response) if Some(request) == holding => {
                    outcome.held_answer = Some(response);
                }
                Action::Answer(request, response) => {
                    outcome.answered = true;
                    if let Some(place) = state.answers.iter().position(|(known, _)| *known == request) {
                        // A client that is gone needs no answer.
                        let _ = state.answers.swap_remove(place).1.send(response);
                    }
                }
                Action::Message(frame) => outcome.messages.push(frame),
                Action::Write(_, frame) => outcome.writes.push(frame),
                Action::Upgraded(_) => outcome.upgraded_after = Some(outcome.writes.len()),
                Action::CloseSocket(ws, code) => {
                    if let Some((_, close)) = state.probe.take_if(|(probing, _)| *probing == ws) {
                        let _ = close.send(code);
                    }
                }
                Action::Closed(reason) => {
                    let reason = reply::reason(reason);
                    state.farewell.get_or_insert_with(|| Farewell::from(&reason));
                    outcome.closed = Some(reason);
                }
            }
        }
        outcome
    }

    /// A frame of the WebSocket that is the transport.
    pub(super) fn socket_frame(&self, ws: SocketId, frame: Frame) -> Flow {
        let mut actions = Vec::new();
        let mut state = self.state.lock();
        state.engine.ws_frame(ws, frame, self.client.instant(), &mut actions);
        let outcome = self.carry_out(&mut state, actions, None);
        drop(state);
        outcome.writes.iter().for_each(|frame| self.client.send_written(frame));
        if let Some(reason) = outcome.closed {
            return Flow::Close(reason);
        }
        outcome.messages.into_iter().next().map_or(Flow::Continue, |message| self.hand_on(message))
    }

    /// Delivers a message to the application.
    pub(super) fn hand_on(&self, message: Frame) -> Flow {
        match self.conversation.get() {
            Some(conversation) => conversation.message(message),
            None => Flow::Continue,
        }
    }

    /// The hub has ended it while no request was pending: the idle timeout, unless it gave another reason.
    pub(super) fn finish_unheard(&self) {
        if self.finished.load(Relaxed) {
            return;
        }
        let reason =
            CloseReason::new(CloseCode::ServiceRestart, "nothing was heard for pingInterval + pingTimeout");
        self.state.lock().farewell.get_or_insert_with(|| Farewell::from(&reason));
        self.finish();
    }

    /// The connection has ended: its application is notified, its place released. Only the first call has an effect.
    pub(super) fn finish(&self) {
        if self.finished.swap(true, Relaxed) {
            return;
        }
        let (body, is_last, farewell) = {
            let mut state = self.state.lock();
            state.is_over = true;
            (state.body.take(), !state.is_handing_on, state.farewell.take())
        };
        if let Some(registry) = self.registry.upgrade() {
            // Recorded first, so that a request finds one or the other.
            if let Some(farewell) = farewell.filter(|farewell| !farewell.is_normal()) {
                registry.note_end(&self.sid, farewell, self.client.instant());
            }
            registry.remove(&self.sid);
        }
        drop(body);
        if is_last {
            self.announce_closed();
        }
    }

    fn announce_closed(&self) {
        if let Some(conversation) = self.conversation.get() {
            conversation.closed();
        }
    }

    /// The answer as HTTP; a refusal says why the connection ended if it did.
    pub(super) fn reply(&self, response: Response) -> HttpResponse {
        let farewell = match response {
            Response::Refused(_) => self.farewell(),
            Response::Packets(_) | Response::Ok => None,
        };
        farewell.map_or_else(|| reply::of(response), |farewell| reply::ended(&farewell))
    }

    /// Why it ended, unless that is known to be normal.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        let known = self.state.lock().farewell.clone().filter(|farewell| !farewell.is_normal());
        known.or_else(|| self.registry.upgrade()?.farewell(&self.sid))
    }

    /// Returns when everything received so far on an upgrading WebSocket has been read: a client that sent `5` there
    /// and then sends a request has changed its transport before that.
    pub(super) async fn probe_is_read(&self) {
        let Some(reads) = self.state.lock().probe_reads.clone() else { return };
        let (request, done) = oneshot::channel();
        if reads.try_send(request).is_ok() {
            // It is dropped, never sent.
            let _ = tokio::time::timeout(SOCKET_READ_WITHIN, done).await;
        }
    }

    /// Returns when the messages of the last POST are delivered.
    pub(super) async fn turn(&self) {
        let turn = {
            let mut state = self.state.lock();
            let (sender, turn) = oneshot::channel();
            state.next_turn = Some(sender).filter(|_| state.is_handing_on);
            turn
        };
        // It is dropped, never sent.
        let _ = turn.await;
    }
}

/// Held while the messages of a POST are being delivered.
pub(super) struct Turn(Arc<Connection>);

impl Turn {
    /// Begins under the lock under which the messages were taken.
    pub(super) fn new(connection: &Arc<Connection>, state: &mut State) -> Self {
        state.is_handing_on = true;
        state.engine.set_dealing(true);
        Self(Arc::clone(connection))
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let is_over = {
            let mut state = self.0.state.lock();
            state.is_handing_on = false;
            state.engine.set_dealing(false);
            state.next_turn = None;
            state.is_over
        };
        if is_over {
            self.0.announce_closed();
        }
    }
}

impl State {
    /// Moves what waits in the hub to the packets that wait for a GET, and answers the one that is there.
    pub(super) fn admit(&mut self, waiting: wire::Waiting, now: Instant, actions: &mut Vec<Action>) {
        // A connection that is closing needs no more packets.
        let _ = self.engine.send_all(waiting.packets, actions);
        match waiting.closed {
            Some(farewell) if farewell.is_normal() => self.engine.close(now, actions),
            Some(farewell) => {
                self.farewell = Some(farewell);
                self.engine.close_refusing(now, actions);
            }
            None => {}
        }
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        self.answers.retain(|(known, _)| *known != request);
        self.engine.request_gone(request);
    }
}

/// Runs `flow` to its end; returns the reason if that is a close.
pub(super) async fn follow(mut flow: Flow) -> Option<CloseReason> {
    loop {
        match flow {
            Flow::Continue => return None,
            Flow::Await(work) => flow = work.await,
            Flow::Close(reason) => return Some(reason),
        }
    }
}

/// Ends a connection when the task that ran it is gone.
pub(super) struct FinishOnDrop(pub(super) Arc<Connection>);

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Counts a connection in the metrics for as long as it exists.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("relais_engineio_connections").increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("relais_engineio_connections").decrement(1.0);
    }
}
