//! The application of an endpoint: authentication, and the meaning of messages.

use std::sync::Arc;

use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use relais_hub::{Flow, Session};
use relais_protocol::engineio::Frame;

use super::Client;
use crate::AppError;
use crate::auth::Principal;

/// Authenticates clients.
pub trait Callers: Send + Sync + 'static {
    /// The principal of the request that opens a connection; an error refuses it.
    fn caller<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>>;

    /// The principal of a later request of a connection, which names it by its id; an error refuses it.
    fn presenter<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        self.caller(request)
    }

    /// Whether every client has to authenticate: an unauthenticated one may be closed to make room for others.
    fn expects_names(&self) -> bool {
        false
    }

    /// `session` belongs to `principal` now: its credential may end it later.
    fn identified(&self, principal: &Principal, session: &Arc<Session>) {
        let _ = (principal, session);
    }
}

/// A new client.
pub struct Arrival {
    /// The handle to send to it.
    pub client: Client,
    /// The principal, as far as the request shows.
    pub principal: Principal,
    /// The query of the request that opened the connection.
    pub query: Vec<(String, String)>,
}

/// The start of a connection.
pub struct Opened {
    /// Receives its messages.
    pub conversation: Arc<dyn Conversation>,
    /// Runs before the first of them.
    pub first: Flow,
}

/// Handles the connections of an endpoint.
pub trait Application: Send + Sync + 'static {
    /// A client has connected. It has the handshake already.
    fn open(&self, arrival: Arrival) -> Opened;

    /// Seconds after which a connection that was not identified to the hub is closed; none for no limit.
    fn identify_within_s(&self) -> Option<u32> {
        None
    }
}

/// One connection's side of an [`Application`].
pub trait Conversation: Send + Sync + 'static {
    /// A message, one at a time and in order: the next is delivered when the returned work is done.
    fn message(&self, message: Frame) -> Flow;

    /// The connection has ended. Called once, and never while a POST's message is being handled: that work completes
    /// although the client is gone.
    fn closed(&self);
}
