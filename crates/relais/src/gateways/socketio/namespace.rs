//! The interface that a feature implements.

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
/// For each client [`connect`](Self::connect) is called first; if it accepts the client, [`connected`](Self::connected)
/// follows, then [`event`](Self::event) any number of times, and [`disconnected`](Self::disconnected) once, last. Calls
/// for one connection are sequential: an event waits until the previous one is done.
pub trait Namespace: Send + Sync + 'static {
    /// Whether a client is accepted, and what it is subscribed to. No state may be kept for it before
    /// [`connected`](Self::connected): it may be gone by then.
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>>;

    /// The client has joined.
    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        let _ = (socket, welcome);
        Box::pin(std::future::ready(()))
    }

    /// The client sent an event. If it requested an acknowledgement, it receives the reply, or an empty one.
    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>>;

    /// A client presents a token later than on its connection: it is accepted, or may stay until that expires.
    fn identify(&self, socket: Socket, token: String) -> BoxFuture<'static, Result<(), crate::AppError>> {
        let _ = (socket, token);
        Box::pin(std::future::ready(Err(crate::auth::credentials_required())))
    }

    /// Another name under which clients receive the same event once more, after it; `None` for most.
    fn former_name(&self, event: &Event) -> Option<&'static str> {
        let _ = event;
        None
    }

    /// The client left, or its connection ended.
    fn disconnected(&self, socket: &Socket) {
        let _ = socket;
    }

    /// The encoding of an event: its name, and its arguments as comma-separated JSON values. `None` if it is not
    /// delivered to clients of this namespace. Called on the hub's thread, once for all clients.
    fn frame<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        Some((Cow::Borrowed(&*event.name), Cow::Borrowed(&*event.data)))
    }
}

/// A client's request to join.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The namespace.
    pub namespace: String,
    /// Its principal, as far as known from its HTTP request and the other namespaces of its connection.
    pub principal: Principal,
    /// The `auth` object, JSON.
    pub auth: Option<Text>,
    /// Its address.
    pub address: IpAddr,
    /// Whether it asks to recover after a lost connection.
    pub recovering: bool,
}

/// What an accepted client is given.
#[derive(Clone, Default)]
pub struct Admission {
    /// Its principal: [`ConnectRequest::principal`], unless the `auth` object specifies more. A connection belongs to
    /// one principal: another one is refused.
    pub principal: Principal,
    /// Its subscriptions, from now on or since the connection that it recovers. What a client should recover belongs
    /// here; channels that it joins later are not part of that. They are chosen by the feature, not by the client, so
    /// `hub.subscriptions_per_session_max` does not count them.
    pub channels: Vec<Subscription>,
    /// The last event that it has seen, if it does not recover a lost connection: later events are sent.
    pub since: Option<Cursor>,
    /// Seconds after which the connection is closed with 4001 unless [`Socket::identify`] was called.
    pub identify_within_s: Option<u32>,
}

/// How a client joined.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// It has received, or is receiving, everything that it missed: it needs no fresh snapshot.
    pub recovered: bool,
    /// The head of the log before [`Namespace::connect`] was called: what that looked up is at least as recent.
    pub head: Cursor,
    /// The `auth` object, JSON.
    pub auth: Option<Text>,
}

/// Why a client is refused: `connect_error` on its side.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Human-readable.
    pub message: String,
    /// Machine-readable.
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
