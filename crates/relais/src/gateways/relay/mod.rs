//! The relay's WebSocket and event stream.

mod asyncapi;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::StreamExt as _;
use relais_hub::{
    CloseCode, CloseReason, Dialect, Filter, Flow, From as Place, Joined, QueueBody, Receiver, Session,
    SessionSpec, Transport, run_socket,
};
use relais_protocol::event::{Channel, Cursor, Event};
use relais_protocol::websocket::Limits;
use utoipa::OpenApi as _;

use super::opening::open_session;
use super::upgrade::{Handshake, Upgraded};
use super::{DialectFeature, belongs_to, dialects, identity};
use crate::auth::http::Caller;
use crate::auth::{Access, Principal};
use crate::feature::Feature;
use crate::features::relay::http::changes::ListenQuery;
use crate::features::relay::{Relay, TOPIC_FAMILY, frame};
use crate::{App, AppError};

/// The relay's WebSocket and event stream.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    routes: |_| {
        Router::new().route("/api/files/ws", get(open_socket)).route("/api/files/events", get(open_stream))
    },
    openapi: || vec![RelayStreamApi::openapi()],
    asyncapi: asyncapi::part,
    ..Feature::named("relay")
});

/// The OpenAPI document of the event stream.
#[derive(utoipa::OpenApi)]
#[openapi(paths(open_stream))]
pub struct RelayStreamApi;

/// What a listener of the relay asked for and may have.
struct Listener {
    principal: Principal,
    access: Access,
    place: Place,
}

impl Listener {
    fn new(app: &App, principal: Principal, query: &ListenQuery) -> Result<Self, AppError> {
        let access = query.wanted(app, &principal)?;
        let place = query.since.map_or(Place::Now, Place::Cursor);
        Ok(Self { principal, access, place })
    }

    fn open(
        &self,
        app: &App,
        address: SocketAddr,
        dialect: Arc<dyn Dialect>,
        transport: Transport,
    ) -> Result<Arc<Session>, AppError> {
        let spec = SessionSpec {
            identity: identity(&self.principal),
            address: address.ip(),
            dialect,
            transport,
            identify_within_s: None,
        };
        let session = open_session(app.hub(), spec)?;
        belongs_to(app, &self.principal, &session);
        Ok(session)
    }

    /// Joins; `welcome` makes the bytes of the first frame from its JSON.
    async fn join(
        &self,
        app: &App,
        session: &Arc<Session>,
        welcome: impl FnOnce(&serde_json::Value, Cursor) -> Bytes + Send,
    ) -> Result<(), AppError> {
        let (now, place) = (app.clock().now(), self.place);
        let preface = move |joined: &Joined| {
            // While events are still to be replayed the client stands where it said, not at the head: it may
            // lose the connection again before they arrive.
            let (cursor, recovered) = match place {
                Place::Cursor(since) if joined.recovered => (since, Some(true)),
                Place::Now => (joined.cursor, None),
                Place::Cursor(_) | Place::Position(_) => (joined.cursor, Some(joined.recovered)),
            };
            welcome(&frame::connection(now, cursor, recovered), cursor)
        };
        let channel = Channel::Family(TOPIC_FAMILY.into());
        app.hub().subscribe(session, channel, filter(&self.access), self.place, preface).await?;
        Ok(())
    }
}

/// Nobody is sent what they may not read. Without a restriction there is no filter: everybody shares one
/// buffer.
fn filter(access: &Access) -> Option<Arc<dyn Filter>> {
    match access.clone() {
        Access::All => None,
        only @ Access::Only(_) => Some(Arc::new(move |event: &Event| only.contains(event.topic.key()))),
    }
}

/// A client of the relay only listens: what it says is ignored, as it always was.
struct Silent;

impl Receiver for Silent {
    fn text(&mut self, _session: &Arc<Session>, _text: &str) -> Flow {
        Flow::Continue
    }

    fn binary(&mut self, _session: &Arc<Session>, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }
}

/// The relay's WebSocket. Refused with an HTTP status before the upgrade if the caller may not listen.
pub(super) async fn open_socket(
    State(app): State<App>,
    Caller(principal): Caller,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Result<Response, AppError> {
    let mut handshake = Handshake::new(&mut request)?;
    let listener = Listener::new(&app, principal, &ListenQuery::parse(query.as_deref())?)?;
    let (address, deflate) = (handshake.address, handshake.agree_deflate(app.config().hub.compression));
    let (response, stream) = handshake.accept();
    // Boxed and apart, so that an idle connection keeps only what it needs to read.
    let entered = Box::pin(async move {
        let Upgraded { stream, leftover, .. } = stream.await?;
        let session = enter(&app, &listener, address, stream, deflate).await?;
        Some((session, leftover, limits(&app, deflate), app.service::<Relay>().count_listener()))
    });
    super::spawn(async move {
        if let Some((session, leftover, limits, counted)) = entered.await {
            run_socket(session, leftover, Silent, limits).await;
            drop(counted);
        }
    });
    Ok(response)
}

async fn enter(
    app: &App,
    listener: &Listener,
    address: SocketAddr,
    stream: tokio::net::TcpStream,
    deflate: bool,
) -> Option<Arc<Session>> {
    let refused = |error: AppError| tracing::debug!(%error, "a listener was refused");
    let transport = Transport::socket(stream);
    let session = listener.open(app, address, dialects::relay_socket(), transport).map_err(refused).ok()?;
    if deflate {
        app.hub().compress(&session);
    }
    if let Err(error) = listener.join(app, &session, |welcome, _| dialects::text_frame(welcome)).await {
        refused(error);
        app.hub().close(&session, CloseReason::from(CloseCode::Internal));
    }
    Some(session)
}

/// Limits of what a client sends.
pub(super) fn limits(app: &App, deflate: bool) -> Limits {
    let bytes = u32::try_from(app.config().hub.message_bytes).unwrap_or(u32::MAX);
    Limits { frame_bytes: bytes, message_bytes: bytes, deflate, ..Limits::default() }
}

/// The relay's events as a stream of server-sent events.
#[utoipa::path(get, path = "/api/files/events", tag = "relay",
    params(("since" = Option<String>, Query, description = "Cursor to resume from; `Last-Event-ID` wins over it"),
        ("societe" = Option<Vec<String>>, Query, description = "Only these sociétés"),
        ("last-event-id" = Option<String>, Header, description = "Cursor of the last event that was received")),
    responses(
        (status = 200, content_type = "text/event-stream", description = "First `connection`, then each event with its cursor as `id`; a comment now and then keeps the connection alive; `close` says whether to reconnect"),
        (status = 400, description = "`invalid_parameter`"), (status = 403, description = "`forbidden`")))]
pub(super) async fn open_stream(
    State(app): State<App>,
    Caller(principal): Caller,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let mut query = ListenQuery::parse(query.as_deref())?;
    query.since = last_event_id(&headers)?.or(query.since);
    let listener = Listener::new(&app, principal, &query)?;
    let session = listener.open(&app, address, dialects::relay_stream(), Transport::Queue)?;
    let body = QueueBody::new(Arc::clone(&session));
    let welcome = |frame: &serde_json::Value, cursor: Cursor| {
        dialects::stream_block(Some(&cursor.to_string()), "connection", frame.to_string().as_bytes()).into()
    };
    listener.join(&app, &session, welcome).await?;
    Ok(stream_response(body))
}

/// The place that a browser's `EventSource` sends back by itself.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, AppError> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let message = format!("En-tête Last-Event-ID invalide : {text:?} n'est pas un curseur de ce serveur");
        AppError::bad_request("invalid_parameter", message)
    })
}

/// A response that goes on as long as the session.
pub(super) fn stream_response(body: QueueBody) -> Response {
    let chunks = body.map(Ok::<_, std::convert::Infallible>);
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
