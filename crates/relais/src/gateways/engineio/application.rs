//! What an endpoint is given: who comes, and what messages mean.

use std::sync::Arc;

use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use relais_hub::{Flow, Session};
use relais_protocol::engineio::Frame;

use super::Client;
use crate::AppError;
use crate::auth::Principal;

/// Who comes.
pub trait Callers: Send + Sync + 'static {
    /// Who makes the request that opens a connection; an error refuses it.
    fn caller<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>>;

    /// Who makes a later request of a connection, which names it by its id; an error refuses it.
    fn presenter<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        self.caller(request)
    }

    /// Whether every client has to say who it is: one that has not makes room for others where places are short.
    fn expects_names(&self) -> bool {
        false
    }

    /// `session` belongs to `principal` now: its credential may end it later.
    fn identified(&self, principal: &Principal, session: &Arc<Session>) {
        let _ = (principal, session);
    }
}

/// A client that has just come.
pub struct Arrival {
    /// What can be said to it.
    pub client: Client,
    /// Who it is, as far as the request said.
    pub principal: Principal,
    /// The query of the request that opened the connection.
    pub query: Vec<(String, String)>,
}

/// A connection's beginning.
pub struct Opened {
    /// Who takes its messages.
    pub conversation: Arc<dyn Conversation>,
    /// What happens before the first of them.
    pub first: Flow,
}

/// What the messages of an endpoint's connections mean.
pub trait Application: Send + Sync + 'static {
    /// A client came. It has the handshake already.
    fn open(&self, arrival: Arrival) -> Opened;

    /// Seconds after which a connection that was not identified to the hub is closed; none if that is no matter.
    fn identify_within_s(&self) -> Option<u32> {
        None
    }
}

/// One connection's side of an [`Application`].
pub trait Conversation: Send + Sync + 'static {
    /// A message, one at a time and in order: the next comes when the work that this one gives is done.
    fn message(&self, message: Frame) -> Flow;

    /// The connection is over. Called once, and never while a POST's message is being worked on: that work goes on
    /// to its end although the client is gone.
    fn closed(&self);
}
