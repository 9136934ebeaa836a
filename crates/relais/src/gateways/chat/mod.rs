//! The chat over sockets: its own WebSocket at `/ws/chat`, and Socket.IO in the namespaces `/` and `/chat`.
//!
//! Both pass client commands to [`crate::features::chat::Chat::handle`], and both deliver the same events under the same
//! names: a client of one sees what a client of the other writes.

mod asyncapi;
mod channels;
mod followers;
mod frames;
mod names;
mod namespace;
mod socket;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use relais_hub::{CloseCode, CloseReason};

use super::DialectFeature;
use crate::AppError;
use crate::auth::Principal;
use crate::feature::Feature;
use crate::features::chat::Me;
use namespace::ChatNamespace;
use socket::open_socket;

/// The chat's WebSocket and its namespaces.
pub(super) const DIALECT: DialectFeature = DialectFeature {
    feature: Feature {
        french: &["/ws/chat"],
        sockets: |_| Router::new().route("/ws/chat", get(open_socket)),
        asyncapi: asyncapi::part,
        ..Feature::named("chat")
    },
    namespaces: |app, namespaces| {
        let chat = Arc::new(ChatNamespace::new(app.clone()));
        namespaces.add("/", Arc::<ChatNamespace>::clone(&chat));
        namespaces.add("/chat", chat);
    },
};

/// Whether a credential belongs to the user already on the connection.
fn is_of(me: &Me, principal: &Principal) -> bool {
    *principal.id() == *me.topic.as_str()
}

/// The close code for a connection whose user is rejected.
fn close_code(error: &AppError) -> CloseCode {
    match error.status() {
        StatusCode::UNAUTHORIZED => CloseCode::NotAuthenticated,
        StatusCode::SERVICE_UNAVAILABLE => CloseCode::TryLater,
        status if status.is_server_error() => CloseCode::Internal,
        _ => CloseCode::Forbidden,
    }
}

fn missed_something() -> CloseReason {
    CloseReason::new(CloseCode::ServiceRestart, "a conversation could not be followed: reconnect and resume")
}
