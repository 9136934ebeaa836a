//! One connection: handling its messages.

use std::sync::Arc;

use parking_lot::Mutex;
use relais_hub::{CloseCode, CloseReason, Dialect, Flow};
use relais_protocol::engineio::{Frame, Text, Version};
use relais_protocol::event::Channel;
use relais_protocol::socketio::{DecodeError, Input, Parser, SendError, Session, SessionError};
use tokio::sync::oneshot;

use super::dialect::Reads;
use super::entrance::Entrance;
use super::server::{Registered, SocketIo};
use super::{Incoming, Namespace, Socket};
use crate::auth::Principal;
use crate::config::Recovery;
use crate::gateways::engineio::{Arrival, Client, Conversation, Opened};
use crate::gateways::too_fast;
use crate::token_bucket::{TokenBucket, per_second};

/// One connection.
pub(super) struct Talk {
    pub(super) server: Arc<SocketIo>,
    pub(super) client: Client,
    parser: Parser,
    /// Whether the query of its first request asks for recovery.
    asks_to_recover: bool,
    state: Mutex<State>,
}

struct State {
    session: Session,
    bucket: TokenBucket,
    principal: Principal,
    members: Vec<Member>,
    /// Acknowledgements of the client that callers are waiting for.
    asked: Vec<(u64, oneshot::Sender<Incoming>)>,
    /// Whether a namespace requires the client to authenticate.
    must_say_who: bool,
    closed: bool,
}

/// The client's membership of a namespace.
pub(super) struct Member {
    pub(super) socket_id: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) registered: Arc<Registered>,
    pub(super) dialect: Arc<dyn Dialect>,
    pub(super) channels: Vec<Channel>,
    /// Whether events carry offsets.
    pub(super) offsets: bool,
}

/// A [`Talk`], as seen by the transport.
struct Conversing(Arc<Talk>);

impl Conversation for Conversing {
    fn message(&self, message: Frame) -> Flow {
        self.0.message(message)
    }

    fn closed(&self) {
        self.0.close();
    }
}

impl Talk {
    pub(super) fn open(server: &Arc<SocketIo>, arrival: Arrival) -> Opened {
        let Arrival { client, principal, query } = arrival;
        let has = |name: &str, value: &str| query.iter().any(|(key, found)| key == name && found == value);
        let parser = if has("parser", "msgpack") { Parser::Msgpack } else { Parser::Default };
        let now = client.hub().clock().instant();
        let (session, implicit) = Session::open(server.rules(client.version(), parser), now);
        let bucket = TokenBucket::new(per_second(server.settings.events_per_s));
        let (members, asked) = (Vec::new(), Vec::new());
        let state = State { session, bucket, principal, members, asked, must_say_who: false, closed: false };
        let talk = Arc::new(Self {
            server: Arc::clone(server),
            client,
            parser,
            asks_to_recover: has("recovery", "1"),
            state: Mutex::new(state),
        });
        let first = implicit.map_or(Flow::Continue, |input| talk.act(input));
        Opened { conversation: Arc::new(Conversing(talk)), first }
    }

    fn message(self: &Arc<Self>, message: Frame) -> Flow {
        let clock = self.client.hub().clock();
        let now = clock.instant();
        let input = {
            let mut state = self.state.lock();
            if !state.bucket.take(clock.steady()) {
                return Flow::Close(too_fast(self.server.settings.events_per_s));
            }
            let late = state.session.tick(now).unwrap_or_default();
            late.iter().for_each(|input| state.give_up(input));
            state.session.message(message, now)
        };
        match input {
            Ok(None) => Flow::Continue,
            Ok(Some(input)) => {
                metrics::counter!("relais_socketio_packets_total").increment(1);
                self.act(input)
            }
            Err(error) => Flow::Close(reason(&error)),
        }
    }

    fn act(self: &Arc<Self>, input: Input) -> Flow {
        match input {
            Input::Connect { namespace, auth, recovery } => {
                let entrance = Entrance { talk: Arc::clone(self), namespace, auth, asked: recovery };
                Flow::Await(Box::pin(entrance.enter()))
            }
            Input::Event { namespace, id, data, attachments } => {
                let Some((feature, socket)) = self.member(&namespace) else { return Flow::Continue };
                let incoming = Incoming::new(data, attachments, id.is_some());
                Flow::Await(Box::pin(Arc::clone(self).answer(feature, socket, id, incoming)))
            }
            Input::Acknowledged { id, data, attachments, .. } => {
                let asked = self.state.lock().take_asked(id);
                if let Some(asked) = asked {
                    // The caller may have given up.
                    let _ = asked.send(Incoming::new(data, attachments, false));
                }
                Flow::Continue
            }
            Input::NotAcknowledged { id, .. } => {
                drop(self.state.lock().take_asked(id));
                Flow::Continue
            }
            Input::Disconnected { namespace } => self.left(&namespace),
        }
    }

    async fn answer(
        self: Arc<Self>,
        feature: Arc<dyn Namespace>,
        socket: Socket,
        id: Option<u64>,
        incoming: Incoming,
    ) -> Flow {
        let namespace = socket.namespace().to_owned();
        let reply = feature.event(socket, incoming).await;
        if let Some(id) = id {
            let reply = reply.unwrap_or_default();
            self.say(|session| session.acknowledge(&namespace, id, &reply.arguments, reply.attachments));
        }
        Flow::Continue
    }

    /// The client left a namespace. A connection that is in no namespace any more has some time to join another; with
    /// version 3, leaving `/` closes the connection.
    fn left(self: &Arc<Self>, namespace: &str) -> Flow {
        self.leave(|member| &*member.namespace == namespace);
        if self.client.version() == Version::V3 && namespace == "/" {
            return Flow::Close(CloseCode::Normal.into());
        }
        if self.state.lock().session.is_deserted() {
            let within = self.server.settings.connect_within_s;
            self.client.hub().identify_within(self.client.session(), Some(within));
        }
        Flow::Continue
    }

    /// The client is in a namespace, which may require it to authenticate within this many seconds. Leaving and
    /// rejoining does not extend the time: only a client that has authenticated, or was never required to, may stay.
    pub(super) fn expect_name(&self, within_s: Option<u32>, principal: &Principal) {
        let may_stay = {
            let mut state = self.state.lock();
            state.must_say_who |= within_s.is_some();
            !(state.must_say_who && principal.is_anonymous())
        };
        if may_stay || within_s.is_some() {
            self.client.hub().identify_within(self.client.session(), within_s);
        }
    }

    /// Removes the client from a namespace.
    pub(super) fn leave(self: &Arc<Self>, is_meant: impl Fn(&Member) -> bool) {
        let member = {
            let mut state = self.state.lock();
            let place = state.members.iter().position(is_meant);
            place.map(|place| state.members.swap_remove(place))
        };
        if let Some(member) = member {
            for channel in &member.channels {
                self.client.hub().unsubscribe_as(self.client.session(), &*member.dialect, channel.clone());
            }
            let socket = Socket::new(Arc::clone(self), &member.namespace, &member.socket_id);
            member.registered.feature.disconnected(&socket);
        }
    }

    fn close(self: &Arc<Self>) {
        let members = {
            let mut state = self.state.lock();
            state.closed = true;
            state.asked = Vec::new();
            std::mem::take(&mut state.members)
        };
        for member in members {
            let socket = Socket::new(Arc::clone(self), &member.namespace, &member.socket_id);
            member.registered.feature.disconnected(&socket);
        }
    }

    /// The dialect options of the client in a namespace; `recovers` if there is something to recover in it.
    pub(super) fn reads(&self, asks: bool, recovers: bool) -> Reads {
        // Protocol 4 has no private ids.
        let may = recovers && self.client.version() == Version::V4;
        let offsets = match self.server.settings.recovery {
            Recovery::Always => may,
            Recovery::Asked => may && (asks || self.asks_to_recover),
            Recovery::Never => false,
        };
        Reads { parser: self.parser, version: self.client.version(), offsets }
    }

    /// Who the client is.
    pub(super) fn principal(&self) -> Principal {
        self.state.lock().principal.clone()
    }

    pub(super) fn set_principal(&self, principal: Principal) {
        self.state.lock().principal = principal;
    }

    /// Adds a membership of a namespace; false if the connection has ended.
    pub(super) fn add_member(&self, member: Member) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            // Most connections are in one namespace for their whole life.
            state.members.reserve_exact(1);
            state.members.push(member);
        }
        !state.closed
    }

    /// Applies `change` to the membership with this id, if it still exists.
    pub(super) fn with_member<T>(&self, socket_id: &str, change: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut state = self.state.lock();
        state.members.iter_mut().find(|member| &*member.socket_id == socket_id).map(change)
    }

    /// Unsubscribes the channels of a client that has left meanwhile, except those of a later member.
    pub(super) fn unsubscribe_left(&self, namespace: &str, dialect: &dyn Dialect, channels: Vec<Channel>) {
        let unheard: Vec<Channel> = {
            let state = self.state.lock();
            let here = state.members.iter().find(|member| &*member.namespace == namespace);
            let heard = |channel: &Channel| here.is_some_and(|member| member.channels.contains(channel));
            channels.into_iter().filter(|channel| !heard(channel)).collect()
        };
        for channel in unheard {
            self.client.hub().unsubscribe_as(self.client.session(), dialect, channel);
        }
    }

    fn member(self: &Arc<Self>, namespace: &str) -> Option<(Arc<dyn Namespace>, Socket)> {
        let state = self.state.lock();
        let member = state.members.iter().find(|member| &*member.namespace == namespace)?;
        let socket = Socket::new(Arc::clone(self), &member.namespace, &member.socket_id);
        Some((Arc::clone(&member.registered.feature), socket))
    }

    /// The frames that the session builds with `words`.
    pub(super) fn words(
        &self,
        words: impl FnOnce(&mut Session) -> Result<Vec<Frame>, SendError>,
    ) -> Result<Vec<Frame>, SendError> {
        words(&mut self.state.lock().session)
    }

    /// Like [`words`](Self::words), for a client that may have left.
    pub(super) fn words_of(
        &self,
        socket: &Socket,
        words: impl FnOnce(&mut Session) -> Result<Vec<Frame>, SendError>,
    ) -> Result<Vec<Frame>, SendError> {
        let mut state = self.state.lock();
        state.require(socket)?;
        words(&mut state.session)
    }

    /// Sends the frames that the session builds with `words`; an error is only logged.
    pub(super) fn say(&self, words: impl FnOnce(&mut Session) -> Result<Vec<Frame>, SendError>) {
        match self.words(words) {
            Ok(frames) => self.client.send(&frames),
            Err(error) => tracing::debug!(%error, "something could not be said to a client"),
        }
    }

    /// Sends an event that requests an acknowledgement, and returns a receiver for it.
    pub(super) fn ask(
        &self,
        socket: &Socket,
        name: &str,
        arguments: &str,
    ) -> Result<oneshot::Receiver<Incoming>, SendError> {
        let (sender, answer) = oneshot::channel();
        let frames = {
            let mut state = self.state.lock();
            state.require(socket)?;
            let (namespace, now) = (socket.namespace(), self.client.hub().clock().instant());
            let late = state.session.tick(now).unwrap_or_default();
            late.iter().for_each(|input| state.give_up(input));
            let (id, frames) = state.session.emit_with_ack(namespace, name, arguments, Vec::new(), now)?;
            state.asked.push((id, sender));
            frames
        };
        self.client.send(&frames);
        Ok(answer)
    }
}

impl State {
    fn require(&self, socket: &Socket) -> Result<(), SendError> {
        let is_in = self.members.iter().any(|member| &*member.socket_id == socket.id());
        if is_in { Ok(()) } else { Err(SendError::State(socket.namespace().to_owned())) }
    }

    fn take_asked(&mut self, id: u64) -> Option<oneshot::Sender<Incoming>> {
        let place = self.asked.iter().position(|(asked, _)| *asked == id)?;
        Some(self.asked.swap_remove(place).1)
    }

    fn give_up(&mut self, late: &Input) {
        if let Input::NotAcknowledged { id, .. } = late {
            drop(self.take_asked(*id));
        }
    }
}

/// The close code for a connection that violated the protocol.
fn reason(error: &SessionError) -> CloseReason {
    let code = match error {
        SessionError::Decode(
            DecodeError::TooLarge { .. }
            | DecodeError::TooManyAttachments(_)
            | DecodeError::AttachmentsTooLarge(_)
            | DecodeError::NamespaceTooLong(_)
            | DecodeError::TooDeep(_)
            | DecodeError::TooManyElements(_),
        ) => CloseCode::TooBig,
        SessionError::TooManyNamespaces(_) | SessionError::TooManyAcks(_) => CloseCode::Policy,
        SessionError::ConnectTimeout(_) => CloseCode::NotAuthenticated,
        _ => CloseCode::Protocol,
    };
    CloseReason::new(code, error.to_string())
}

/// The text of an `auth` object.
pub(super) fn text(auth: Option<&Text>) -> Option<&str> {
    auth.map(Text::as_str)
}
