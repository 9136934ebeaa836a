//! The relay's WebSocket and event stream.

mod asyncapi;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use relais_hub::{
    CloseCode, Filter, Flow, Joined, QueueBody, Session, SessionSpec, StartPosition, Transport,
};
use relais_protocol::event::{Channel, Cursor, Event};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dialects::{SocketDialect, StreamDialect};
use super::event_stream::{last_event_id, stream_response};
use super::opening::open_session;
use super::upgrade::Handshake;
use super::websocket::{Connection, Opened, Protocol, Terms, serve};
use super::{DialectFeature, belongs_to, dialects, identity, open_as};
use crate::app::Counted;
use crate::auth::http::Caller;
use crate::auth::{Access, Principal};
use crate::feature::Feature;
use crate::features::relay::http::changes::ListenQuery;
use crate::features::relay::{Relay, TOPIC_FAMILY, frame};
use crate::{App, AppError};

/// The relay's WebSocket and event stream.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    routes: || OpenApiRouter::new().routes(routes!(stream_changes)),
    sockets: |_| Router::new().route("/api/files/ws", get(open_socket)),
    asyncapi: asyncapi::part,
    ..Feature::named("relay")
});

/// What a listener of the relay asked for and may have.
struct Listener {
    principal: Principal,
    access: Access,
    place: StartPosition,
}

impl Listener {
    fn new(app: &App, principal: Principal, query: &ListenQuery) -> Result<Self, AppError> {
        let access = query.wanted(app.auth(), &principal)?;
        let place = query.since.map_or(StartPosition::Now, StartPosition::Cursor);
        Ok(Self { principal, access, place })
    }

    fn open_stream(&self, app: &App, address: SocketAddr) -> Result<Arc<Session>, AppError> {
        let spec = SessionSpec {
            identity: identity(&self.principal),
            address: address.ip(),
            dialect: StreamDialect::shared("relay-stream", frame::write_event),
            transport: Transport::Queue,
            identify_within_s: None,
        };
        let session = open_session(app.hub(), spec)?;
        belongs_to(app, &self.principal, &session);
        Ok(session)
    }

    /// Subscribes; `welcome` builds the bytes of the first frame from its JSON.
    async fn join(
        &self,
        app: &App,
        session: &Arc<Session>,
        welcome: impl FnOnce(&serde_json::Value, Cursor) -> Bytes + Send,
    ) -> Result<(), AppError> {
        let (now, place) = (app.clock().now(), self.place);
        let preface = move |joined: &Joined| {
            // While events are still being replayed the client's cursor is the one it sent, not the head: it may lose
            // the connection again before they arrive.
            let (cursor, recovered) = match place {
                StartPosition::Cursor(since) if joined.recovered => (since, Some(true)),
                StartPosition::Now => (joined.cursor, None),
                StartPosition::Cursor(_) | StartPosition::Position(_) => {
                    (joined.cursor, Some(joined.recovered))
                }
            };
            welcome(&frame::connection(now, cursor, recovered), cursor)
        };
        let channel = Channel::Family(TOPIC_FAMILY.into());
        app.hub().subscribe(session, channel, filter(&self.access), self.place, preface).await?;
        Ok(())
    }
}

/// No subscriber receives what it may not read. Without a restriction there is no filter, and all subscribers share one
/// buffer.
fn filter(access: &Access) -> Option<Arc<dyn Filter>> {
    match access.clone() {
        Access::All => None,
        only @ Access::Only(_) => Some(Arc::new(move |event: &Event| only.contains(event.topic.key()))),
    }
}

/// A client of the relay only receives: what it sends is ignored.
struct Silent {
    _counted: Counted,
}

impl Protocol for Silent {
    fn text(self: &Arc<Self>, _: &str) -> Flow {
        Flow::Continue
    }

    fn binary(self: &Arc<Self>, _: &[u8]) -> Flow {
        Flow::Continue
    }
}

/// The relay's WebSocket. Rejected with an HTTP status before the upgrade if the caller may not subscribe.
pub(super) async fn open_socket(
    State(app): State<App>,
    Caller(principal): Caller,
    RawQuery(query): RawQuery,
    handshake: Handshake,
) -> Result<Response, AppError> {
    let listener = Listener::new(&app, principal, &ListenQuery::parse(query.as_deref())?)?;
    let dialect = SocketDialect::shared("relay-socket", frame::write_event, dialects::unsubscribed);
    let terms = Terms::new(&app, dialect, listener.principal.clone());
    let open = move |Connection { app, session, .. }: Connection| {
        let protocol = Arc::new(Silent { _counted: app.service::<Relay>().count_listener() });
        let first = async move {
            match listener.join(&app, &session, |welcome, _| dialects::text_frame(welcome)).await {
                Ok(()) => Flow::Continue,
                Err(error) => {
                    tracing::debug!(%error, "a listener was refused");
                    Flow::Close(CloseCode::Internal.into())
                }
            }
        };
        Opened { protocol, first: Flow::Await(Box::pin(first)) }
    };
    Ok(serve(app, handshake, terms, open))
}

/// The relay's events as a stream of server-sent events.
#[utoipa::path(get, path = "/api/files/events", tag = "relay",
    params(("since" = Option<String>, Query, description = "Cursor to resume from; `Last-Event-ID` wins over it"),
        ("societe" = Option<Vec<String>>, Query, description = "Only these sociétés"),
        ("last-event-id" = Option<String>, Header, description = "Cursor of the last event that was received")),
    responses(
        (status = 200, content_type = "text/event-stream", description = "First `connection`, then each event with its cursor as `id`; a comment now and then keeps the connection alive; `close` says whether to reconnect"),
        (status = 400, description = "`invalid_parameter`"), (status = 403, description = "`forbidden`")))]
pub(super) async fn stream_changes(
    State(app): State<App>,
    Caller(principal): Caller,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let mut query = ListenQuery::parse(query.as_deref())?;
    query.since = last_event_id(&headers)?.or(query.since);
    let body = open_as(&app, principal, async |principal| {
        let listener = Listener::new(&app, principal, &query)?;
        let session = listener.open_stream(&app, address)?;
        let body = QueueBody::new(Arc::clone(&session));
        let welcome = |frame: &serde_json::Value, cursor: Cursor| {
            dialects::stream_block(Some(&cursor.to_string()), "connection", frame.to_string().as_bytes())
                .into()
        };
        listener.join(&app, &session, welcome).await?;
        Ok(body)
    });
    body.await.map(stream_response)
}
