//! What a feature brings.

use std::borrow::Cow;
use std::net::IpAddr;

use futures_util::future::BoxFuture;
use relais_hub::Subscription;
use relais_protocol::engineio::Text;
use relais_protocol::event::{Cursor, Event};

use super::{Incoming, Reply, Socket};
use crate::auth::Principal;

/// One namespace: `/`, `/chat`, ….
///
/// For each client [`connect`](Self::connect) comes first; if it lets the client in, then
/// [`connected`](Self::connected), then [`event`](Self::event) any number of times, and
/// [`disconnected`](Self::disconnected) once, last. The calls of one connection come one after the other: an
/// event waits until the one before it is done.
pub trait Namespace: Send + Sync + 'static {
    /// Whether a client may come in, and what it hears. Nothing may be kept for it before
    /// [`connected`](Self::connected): it may be gone by then.
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>>;

    /// The client is in.
    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        let _ = (socket, welcome);
        Box::pin(std::future::ready(()))
    }

    /// The client sent an event. If it asked for an acknowledgement, it gets the reply, or an empty one.
    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>>;

    /// A client shows a token later than on its connection: it is let in, or stays in for as long as that lasts.
    fn identify(&self, socket: Socket, token: String) -> BoxFuture<'static, Result<(), crate::AppError>> {
        let _ = (socket, token);
        Box::pin(std::future::ready(Err(crate::auth::credentials_required())))
    }

    /// Another name under which clients are told the same event once more, after it; none for most.
    fn former_name(&self, event: &Event) -> Option<&'static str> {
        let _ = event;
        None
    }

    /// The client left, or its connection ended.
    fn disconnected(&self, socket: &Socket) {
        let _ = socket;
    }

    /// How an event of a channel is told: its name, and its arguments as JSON values with commas between them.
    /// None if clients here do not hear of it. Called on the hub's thread, once for everybody.
    fn tell<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        Some((Cow::Borrowed(&*event.name), Cow::Borrowed(&*event.data)))
    }
}

/// A client that wants to come in.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Which namespace.
    pub namespace: String,
    /// Who it is, as far as its HTTP request and other namespaces of its connection have said.
    pub principal: Principal,
    /// The `auth` object, JSON.
    pub auth: Option<Text>,
    /// Where it connects from.
    pub address: IpAddr,
    /// Whether it asks to go on after a lost connection.
    pub recovering: bool,
}

/// What a client that is let in gets.
#[derive(Clone, Default)]
pub struct Admission {
    /// Who it is: [`ConnectRequest::principal`], unless its `auth` object says more. A connection belongs to one
    /// principal: somebody else is refused.
    pub principal: Principal,
    /// What it hears from now on, or since the connection that it goes on with. What a client should recover
    /// belongs here; channels that it joins later are not part of that. The feature says what they are, not the client, so
    /// `hub.subscriptions_per_session_max` does not count them.
    pub channels: Vec<Subscription>,
    /// The last event that it has seen, if it does not go on with a connection that was lost: what came since is sent.
    pub since: Option<Cursor>,
    /// Seconds after which the connection is closed with 4001 unless [`Socket::identify`] was called.
    pub identify_within_s: Option<u32>,
}

/// How a client came in.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// It has got, or is getting, everything that it missed: it needs no fresh snapshot.
    pub recovered: bool,
    /// The end of the log before [`Namespace::connect`] was asked: what that looked up is at least as new.
    pub head: Cursor,
    /// The `auth` object, JSON.
    pub auth: Option<Text>,
}

/// Why a client is not let in: `connect_error` on its side.
#[derive(Clone, Debug)]
pub struct Refused {
    /// For people.
    pub message: String,
    /// For programs.
    pub data: Option<serde_json::Value>,
}

impl Refused {
    /// With a stable code.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { message: message.into(), data: Some(serde_json::json!({ "code": code })) }
    }
}

impl From<crate::AppError> for Refused {
    fn from(error: crate::AppError) -> Self {
        Self::new(error.code(), error.french())
    }
}
