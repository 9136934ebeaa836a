//! HTTP long-polling (section "HTTP long-polling").

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream as _};
use relais_hub::{CloseCode, CloseReason, QueueBody, Transport};
use relais_protocol::engineio::{
    Action, CloseReason as EngineReason, Frame, Payload, Refusal, RequestId, Response,
    Session as EngineSession, Version,
};

use super::body::{BodyError, is_binary, read_body};
use super::connection::{Connection, Outcome, State, Turn, follow};
use super::endpoint::{address, new_id};
use super::query::Query;
use super::registry::Registry;
use super::{Arrival, Endpoint, Settings, reply, wire};
use crate::tasks::spawn;

/// The request that opens a connection is its only one.
const OPENING: RequestId = 0;
/// Bytes that may be queued in the protocol's own queue for a client that sends without polling.
const UNHEARD_BYTES: usize = 64 * 1024;

/// A GET without an id: a new connection.
pub(super) async fn open(endpoint: Arc<Endpoint>, request: Request, query: Query) -> HttpResponse {
    let (principal, request) = match endpoint.caller(request).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let address = address(&request.into_parts().0);
    let client = match endpoint.admit(&principal, address, &query, Transport::Queue) {
        Ok(client) => client,
        Err(error) => return error.into_response(),
    };
    // From here on the session ends with its body.
    let body = QueueBody::new(Arc::clone(client.session()));
    let sid: Arc<str> = match new_id() {
        Ok(sid) => sid.into(),
        Err(error) => return error.into_response(),
    };
    let mut actions = Vec::new();
    let rules = endpoint.rules(&query);
    let engine = EngineSession::open_polling(rules, &sid, OPENING, client.instant(), &mut actions);
    let registry = Arc::downgrade(&endpoint.registry);
    let connection = Connection::new(sid, principal.clone(), client.clone(), engine, Some(body), registry);
    endpoint.registry.add(&connection);
    let opened = endpoint.application.open(Arrival { client, principal, query: query.pairs });
    connection.begin(opened.conversation);
    if let Some(reason) = follow(opened.first).await {
        connection.client.close(reason);
    }
    match actions.pop() {
        Some(Action::Answer(OPENING, response)) => reply::of(response),
        _ => reply::refused(Refusal::BadRequest),
    }
}

/// A GET of a connection: answered with what is queued, or when something is. One that crosses the POST by which its
/// client closes is answered as if it had come before.
pub(super) async fn get(registry: &Registry, connection: &Arc<Connection>) -> HttpResponse {
    let refused = match next_answer(connection).await {
        Ok(packets @ Response::Packets(_)) => return reply::of(packets),
        Ok(refusal) => connection.reply(refusal),
        Err(unknown) => unknown,
    };
    registry.take_last_get(connection.sid(), connection.client.instant()).map_or(refused, last_get)
}

/// The answer to a GET of a connection, or that the connection has ended.
async fn next_answer(connection: &Arc<Connection>) -> Result<Response, HttpResponse> {
    connection.probe_is_read().await;
    let session = connection.client.session();
    session.touch();
    let mut request = Waiting::new(connection);
    let mut answer = {
        let mut state = connection.state.lock();
        if !session.is_open() && !has_last_words(connection, &mut state) {
            drop(state);
            return Err(unknown(connection));
        }
        Connection::await_answer(&mut state, request.number)
    };
    let mut asked = false;
    let response = poll_fn(|cx| {
        let mut actions = Vec::new();
        let mut state = connection.state.lock();
        take_from_hub(connection, &mut state, cx, &mut actions);
        if !std::mem::replace(&mut asked, true) {
            state.engine.poll_get(request.number, connection.client.instant(), &mut actions);
        }
        let outcome = connection.carry_out(&mut state, actions, None);
        drop(state);
        if outcome.closed.is_some() {
            connection.finish();
        }
        Pin::new(&mut answer).poll(cx)
    });
    let response = response.await;
    request.is_answered = true;
    response.map_err(|_| unknown(connection))
}

/// To a request whose credential ended with the connection: the reason for the latter. What is still queued there is
/// discarded.
pub(super) fn sent_away(connection: &Connection) -> HttpResponse {
    {
        let mut state = connection.state.lock();
        let waiting = state.body.as_mut().and_then(QueueBody::take_waiting).unwrap_or_default();
        if let Some(farewell) = wire::read(connection.client.version(), waiting).closed {
            state.farewell = Some(farewell);
        }
    }
    unknown(connection)
}

/// To a request of a connection that has ended.
fn unknown(connection: &Connection) -> HttpResponse {
    if connection.is_ended() {
        connection.finish_unheard();
    }
    let farewell = connection.farewell();
    farewell.map_or_else(|| reply::refused(Refusal::UnknownSession), |farewell| reply::ended(&farewell))
}

/// A GET of a client that has closed: it crossed the closing POST.
pub(super) fn last_get(version: Version) -> HttpResponse {
    let body = match version {
        Version::V3 => "1:6",
        Version::V4 => "6",
    };
    reply::of(Response::Packets(Payload { body: Bytes::from_static(body.as_bytes()), binary: false }))
}

/// Moves the hub's queue to packets, unless earlier ones are still pending.
fn take_from_hub(
    connection: &Connection,
    state: &mut State,
    cx: &mut Context<'_>,
    actions: &mut Vec<Action>,
) {
    let Some(body) = state.body.as_mut().filter(|_| state.engine.queued_bytes() == 0) else { return };
    match Pin::new(body).poll_next(cx) {
        Poll::Ready(Some(waiting)) => state.admit(
            wire::read(connection.client.version(), waiting),
            connection.client.instant(),
            actions,
        ),
        Poll::Ready(None) => state.engine.close(connection.client.instant(), actions),
        Poll::Pending => {}
    }
}

/// Whether a closing connection still has something to send. It is then ready for a GET.
fn has_last_words(connection: &Connection, state: &mut State) -> bool {
    let waiting = state.body.as_mut().and_then(QueueBody::take_waiting).unwrap_or_default();
    let waiting = wire::read(connection.client.version(), waiting);
    let has_news = waiting.has_news();
    if !has_news && let Some(farewell) = waiting.closed {
        state.farewell = Some(farewell);
    } else if has_news {
        // Without a GET nothing is answered yet.
        state.admit(waiting, connection.client.instant(), &mut Vec::new());
    }
    has_news
}

/// The hub has ended a connection: a pending GET gets the remaining packets, and the reason is recorded.
fn hear_out(connection: &Connection) {
    let mut actions = Vec::new();
    let mut state = connection.state.lock();
    let waiting = state.body.as_mut().and_then(QueueBody::take_waiting).unwrap_or_default();
    state.admit(wire::read(connection.client.version(), waiting), connection.client.instant(), &mut actions);
    connection.carry_out(&mut state, actions, None);
}

/// A POST of a connection: the client's packets, answered when they are handled.
pub(super) async fn post(
    endpoint: &Endpoint,
    connection: &Arc<Connection>,
    request: Request,
) -> HttpResponse {
    let session = connection.client.session();
    if !session.is_open() {
        return unknown(connection);
    }
    // Not counted as activity: heartbeats reach only a client that polls.
    let mut waiting = Waiting::new(connection);
    let response = take_post(endpoint, connection, waiting.number, request).await;
    waiting.is_answered = true;
    response
}

async fn take_post(
    endpoint: &Endpoint,
    connection: &Arc<Connection>,
    number: RequestId,
    request: Request,
) -> HttpResponse {
    let (answer, accepted, closed) = {
        let mut actions = Vec::new();
        let mut state = connection.state.lock();
        let answer = Connection::await_answer(&mut state, number);
        let accepted = state.engine.poll_post(number, &mut actions);
        let outcome = connection.carry_out(&mut state, actions, None);
        (answer, accepted, outcome.closed.is_some())
    };
    if closed {
        connection.finish();
    }
    let reply = |response| connection.reply(response);
    let answer = answer.map(|answer| answer.map_or_else(|_| unknown(connection), reply));
    if !accepted {
        return answer.await;
    }
    let binary = is_binary(request.headers());
    match read_body(request, &endpoint.settings).await {
        // It may have ended while the body was in transit, with the rights of its sender.
        Ok(_) if !connection.client.session().is_open() => {
            hear_out(connection);
            let answer = unknown(connection);
            connection.finish();
            answer
        }
        Ok(body) => match deal_with(endpoint, connection, number, body, binary).await {
            Some(response) => response,
            None => answer.await,
        },
        Err(BodyError::TooLarge) => refuse_body(connection, number, &endpoint.settings),
        Err(BodyError::Lost) => {
            connection.finish();
            reply::refused(Refusal::BadRequest)
        }
    }
}

fn refuse_body(connection: &Connection, number: RequestId, settings: &Settings) -> HttpResponse {
    let mut actions = Vec::new();
    let mut state = connection.state.lock();
    state.engine.post_refused(number, EngineReason::TooLarge, &mut actions);
    let outcome = connection.carry_out(&mut state, actions, Some(number));
    drop(state);
    if outcome.closed.is_some() {
        connection.finish();
    }
    let text =
        format!("a body has at most {} bytes here (maxPayload of the handshake)", settings.payload.bytes);
    reply::refused_because(StatusCode::PAYLOAD_TOO_LARGE, Refusal::BadRequest, &text)
}

/// Delivers the packets; none if the request was answered another way meanwhile.
async fn deal_with(
    endpoint: &Endpoint,
    connection: &Arc<Connection>,
    number: RequestId,
    body: Bytes,
    binary: bool,
) -> Option<HttpResponse> {
    let (outcome, turn) = {
        let mut actions = Vec::new();
        let mut state = connection.state.lock();
        if connection.client.version() == Version::V3 {
            keep_in_order(connection, &mut state, &mut actions);
        }
        state.engine.post_body(number, body, binary, connection.client.instant(), &mut actions);
        let outcome = connection.carry_out(&mut state, actions, Some(number));
        if outcome.closed.as_ref().is_some_and(|reason| reason.code == CloseCode::Normal) && !outcome.answered
        {
            // Under the lock, so that a GET that finds the session closed finds this.
            endpoint.registry.expect_last_get(connection);
        }
        let turn = (!outcome.messages.is_empty()).then(|| Turn::new(connection, &mut state));
        (outcome, turn)
    };
    let Outcome { messages, held_answer, closed, .. } = outcome;
    let (handed_on, stopped) = match turn {
        Some(turn) => hand_on(turn, messages).await,
        None => (true, None),
    };
    if closed.is_some() {
        connection.finish();
    }
    if let Some(reason) = stopped {
        let text = reason.text.to_string();
        connection.client.close(reason);
        return Some(reply::refused_because(StatusCode::BAD_REQUEST, Refusal::BadRequest, &text));
    }
    if !handed_on {
        return Some(cut_off(connection));
    }
    held_answer.map(reply::of)
}

/// To a POST during which the session ended: the reason. What is queued for the client is sent to the pending GET, or
/// to its last one.
fn cut_off(connection: &Connection) -> HttpResponse {
    let mut actions = Vec::new();
    let mut state = connection.state.lock();
    let waiting = state.body.as_mut().and_then(QueueBody::take_waiting).unwrap_or_default();
    state.admit(wire::read(connection.client.version(), waiting), connection.client.instant(), &mut actions);
    let outcome = connection.carry_out(&mut state, actions, None);
    drop(state);
    if outcome.closed.is_some() {
        connection.finish();
    }
    unknown(connection)
}

/// The protocol answers a ping of version 3 itself: what was queued in the hub before is sent before.
fn keep_in_order(connection: &Connection, state: &mut State, actions: &mut Vec<Action>) {
    if state.engine.queued_bytes() > UNHEARD_BYTES {
        return state.engine.close(connection.client.instant(), actions);
    }
    let waiting = state.body.as_mut().and_then(QueueBody::take_waiting).unwrap_or_default();
    state.admit(wire::read(connection.client.version(), waiting), connection.client.instant(), actions);
}

/// Delivers messages until the session is closed by the server: between two of them the rights of their sender may end.
/// Returns whether all were delivered, and why the connection ends if one of them ended it. Packets that have arrived
/// count as sent even if the client is then gone.
async fn hand_on(turn: Turn, messages: Vec<Frame>) -> (bool, Option<CloseReason>) {
    let work = spawn("messages", async move {
        for message in messages {
            if turn.connection().client.session().is_sent_away() {
                return (false, None);
            }
            if let Some(reason) = follow(turn.connection().hand_on(message)).await {
                return (true, Some(reason));
            }
        }
        (true, None)
    });
    work.await.unwrap_or((true, None))
}

/// A pending request. One that is dropped ends the session: nobody knows what of its answer arrived.
struct Waiting<'a> {
    connection: &'a Connection,
    number: RequestId,
    is_answered: bool,
}

impl<'a> Waiting<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, number: connection.number(), is_answered: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.connection.state.lock().forget(self.number);
        if !self.is_answered {
            self.connection.finish();
        }
    }
}
