//! Connections that are WebSockets, from the start or by an upgrade.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response as HttpResponse};
use bytes::Bytes;
use relais_hub::{Flow, Leftover, Receiver, Session, run_socket};
use relais_protocol::engineio::{Action, Frame, Session as EngineSession, SocketId};
use relais_protocol::websocket::Limits;
use tokio::net::TcpStream;

use super::connection::{Connection, FinishOnDrop, follow};
use super::endpoint::new_id;
use super::query::Query;
use super::{Arrival, Endpoint};
use crate::auth::Principal;
use crate::gateways::upgrade::{Handshake, Upgraded};
use crate::web::Guest;

/// Delivers a socket's messages to its connection.
pub(super) struct Reader {
    pub(super) connection: Arc<Connection>,
    pub(super) ws: SocketId,
}

impl Receiver for Reader {
    fn text(&mut self, _: &Arc<Session>, text: &str) -> Flow {
        self.connection.socket_frame(self.ws, Frame::Text(text.to_owned().into()))
    }

    fn binary(&mut self, _: &Arc<Session>, bytes: &[u8]) -> Flow {
        self.connection.socket_frame(self.ws, Frame::Binary(Bytes::copy_from_slice(bytes)))
    }
}

/// A WebSocket without an id: a new connection.
pub(super) async fn open(endpoint: Arc<Endpoint>, request: Request, query: Query) -> HttpResponse {
    let (principal, mut request) = match endpoint.caller(request).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let mut handshake = match Handshake::new(&mut request) {
        Ok(handshake) => handshake,
        Err(error) => return error.into_response(),
    };
    let (address, deflate) = (handshake.address, handshake.agree_deflate(endpoint.settings.deflate));
    let (response, stream) = handshake.accept();
    // Boxed and separate, so that an idle connection keeps only what it needs to read.
    let entered = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let limits = Limits { deflate, ..limits(&endpoint) };
        let connection = enter(&endpoint, principal, address, query, (stream, guest), deflate).await?;
        Some((connection, leftover, limits))
    });
    crate::gateways::spawn_connection(async move {
        if let Some((connection, leftover, limits)) = entered.await {
            run(connection, OPENING, leftover, limits).await;
        }
    });
    response
}

/// The socket that opens a connection has no other beside it.
const OPENING: SocketId = 0;

async fn enter(
    endpoint: &Endpoint,
    principal: Principal,
    address: SocketAddr,
    query: Query,
    (stream, guest): (TcpStream, Guest),
    deflate: bool,
) -> Option<Arc<Connection>> {
    // A refused client has been notified.
    let client = endpoint.admit_socket(&principal, address.ip(), &query, Arc::new(stream), guest).ok()?;
    if deflate {
        endpoint.hub.compress(client.session());
    }
    let sid: Arc<str> = new_id().ok()?.into();
    let mut actions = Vec::new();
    let rules = endpoint.rules(&query);
    let engine = EngineSession::open_websocket(rules, &sid, OPENING, client.instant(), &mut actions);
    for action in &actions {
        if let Action::Write(_, frame) = action {
            client.send_written(frame);
        }
    }
    let registry = Arc::downgrade(&endpoint.registry);
    let connection = Connection::new(sid, principal.clone(), client.clone(), engine, None, registry);
    let opened = endpoint.application.open(Arrival { client, principal, query: query.pairs });
    connection.begin(opened.conversation);
    if let Some(reason) = follow(opened.first).await {
        connection.client.close(reason);
    }
    Some(connection)
}

/// Runs the read side until the connection ends.
pub(super) async fn run(connection: Arc<Connection>, ws: SocketId, leftover: Leftover, limits: Limits) {
    let session = Arc::clone(connection.client.session());
    let finish = FinishOnDrop(Arc::clone(&connection));
    let ended = run_socket(session, leftover, Reader { connection, ws }, limits).await;
    tracing::debug!(?ended, "an Engine.IO connection ended");
    drop(finish);
}

/// Limits of what a client sends.
pub(super) fn limits(endpoint: &Endpoint) -> Limits {
    let bytes = endpoint.settings.payload.bytes;
    Limits { frame_bytes: bytes, message_bytes: bytes, ..Limits::default() }
}
