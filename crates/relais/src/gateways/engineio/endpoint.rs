//! An address at which connections are opened and served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relais_hub::{CloseCode, CloseReason, Hub, Session, SessionSpec, Transport as HubTransport};
use relais_protocol::engineio::{Config, PayloadLimits, Refusal, Version};
use relais_protocol::time::SharedClock;
use tokio::net::TcpStream;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::connection::Connection;
use super::farewell::Farewell;
use super::query::{Query, Transport};
use super::registry::{Registry, sweep};
use super::{Application, Callers, Client, dialect, polling, probe, reply, websocket};
use crate::AppError;
use crate::auth::Principal;
use crate::gateways::identity;
use crate::gateways::opening::{await_name, open_session};
use crate::tasks::spawn;
use crate::web::Guest;

/// Random bytes in an id: knowledge of the id grants access to the connection.
const ID_BYTES: usize = 18;

/// Shorter polling answers are not compressed, as in the official server.
const COMPRESSED_BYTES_MIN: u64 = 1024;
/// The answer to a client that shows a credential only on the WebSocket of its upgrade.
const LATE_CREDENTIAL: &str = "a credential that came after the connection was opened: connect again with it";

/// The rules of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The heartbeat interval announced to clients. The hub keeps it.
    pub ping_interval: Duration,
    /// The announced timeout of the answer to one. With the interval it is the silence after which the hub ends a
    /// session.
    pub ping_timeout: Duration,
    /// How long an upgrade from polling to WebSocket may take.
    pub upgrade_timeout: Duration,
    /// Limits of a message or a body.
    pub payload: PayloadLimits,
    /// Whether clients of version 3 are served.
    pub allow_v3: bool,
    /// Whether WebSockets may negotiate compression.
    pub deflate: bool,
}

/// An address at which connections are opened and served.
pub struct Endpoint {
    pub(super) hub: Hub,
    pub(super) settings: Settings,
    rules: Vec<Arc<Config>>,
    callers: Arc<dyn Callers>,
    pub(super) application: Arc<dyn Application>,
    pub(super) registry: Arc<Registry>,
}

impl Endpoint {
    /// An endpoint whose connections are sessions of `hub`.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn new(
        hub: Hub,
        settings: Settings,
        callers: Arc<dyn Callers>,
        application: Arc<dyn Application>,
    ) -> Arc<Self> {
        let registry = Arc::new(Registry::default());
        let sweeping = sweep(Arc::downgrade(&registry), SharedClock::clone(hub.clock()));
        spawn("engineio", sweeping);
        Arc::new(Self { hub, rules: all_rules(&settings), settings, callers, application, registry })
    }

    /// Its routes: `path`, which begins and ends with a slash, and the same without the last slash.
    pub fn router<S: Clone + Send + Sync + 'static>(self: &Arc<Self>, path: &str) -> Router<S> {
        let served = |endpoint: &Arc<Self>| {
            let endpoint = Arc::clone(endpoint);
            any(move |request: Request| async move { endpoint.serve(request).await })
        };
        // Polling answers, as the official server compresses them: those large enough to matter on a slow line.
        let compression = CompressionLayer::new()
            .quality(CompressionLevel::Fastest)
            .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN));
        let routes = Router::new().route(path, served(self)).route(path.trim_end_matches('/'), served(self));
        routes.layer(compression)
    }

    async fn serve(self: Arc<Self>, request: Request) -> Response {
        let query = request.uri().query().unwrap_or_default();
        let query = match Query::parse(query, self.settings.allow_v3) {
            Ok(query) => query,
            Err(refusal) => return reply::refused(refusal),
        };
        if query.jsonp {
            let text =
                "JSONP polling is not served: use polling by XMLHttpRequest or fetch, or the WebSocket";
            return reply::refused_because(StatusCode::BAD_REQUEST, Refusal::BadRequest, text);
        }
        let known = match &query.sid {
            Some(sid) => match self.registry.find(sid) {
                Some(connection) => Some(connection),
                None if request.method() == Method::GET => {
                    let last = self
                        .registry
                        .take_last_get(sid, self.hub.clock().instant())
                        .filter(|_| query.transport == Transport::Polling);
                    return last.map_or_else(|| self.unknown(sid), polling::last_get);
                }
                None => return self.unknown(sid),
            },
            None => None,
        };
        let request = match &known {
            Some(connection) => match self.presented(connection, request).await {
                Ok((presenter, _))
                    if query.transport == Transport::WebSocket && connection.is_strange_to(&presenter) =>
                {
                    let late = CloseReason::new(CloseCode::ServiceRestart, LATE_CREDENTIAL);
                    connection.client.close(late.clone());
                    return reply::ended(&Farewell::from(&late));
                }
                Ok((_, request)) => request,
                // The credential ended with the connection: the reason for the latter is more useful.
                Err(_) if !connection.client.session().is_open() => return polling::sent_away(connection),
                Err(refused) => return refused,
            },
            None => request,
        };
        let method = request.method().clone();
        match (query.transport, &method, known) {
            (Transport::WebSocket, &Method::GET, None) => websocket::open(self, request, query).await,
            (Transport::WebSocket, &Method::GET, Some(known)) => probe::open(&self, known, request),
            (Transport::Polling, &Method::GET, None) => polling::open(self, request, query).await,
            (Transport::Polling, &Method::GET, Some(known)) => polling::get(&self.registry, &known).await,
            (Transport::Polling, &Method::POST, Some(known)) => polling::post(&self, &known, request).await,
            (_, _, None) => reply::refused(Refusal::BadHandshakeMethod),
            (_, _, Some(_)) => reply::refused(Refusal::BadRequest),
        }
    }

    /// The answer to a request of an unknown or ended session.
    fn unknown(&self, sid: &str) -> Response {
        let farewell = self.registry.farewell(sid);
        farewell.map_or_else(|| reply::refused(Refusal::UnknownSession), |farewell| reply::ended(&farewell))
    }

    /// Refuses a request that has the id of a connection but not its credential.
    async fn presented(
        &self,
        connection: &Connection,
        request: Request,
    ) -> Result<(Principal, Request), Response> {
        let (parts, body) = request.into_parts();
        match self.callers.presenter(&parts).await {
            Ok(principal) if connection.is_open_to(&principal) => {
                Ok((principal, Request::from_parts(parts, body)))
            }
            Ok(_) => {
                let text = "this connection is somebody else's: show the credential that it was opened with";
                Err(reply::refused_because(StatusCode::FORBIDDEN, Refusal::Forbidden, text))
            }
            Err(error) => Err(error.into_response()),
        }
    }

    pub(super) async fn caller(&self, request: Request) -> Result<(Principal, Request), Response> {
        let (parts, body) = request.into_parts();
        match self.callers.caller(&parts).await {
            Ok(principal) => Ok((principal, Request::from_parts(parts, body))),
            Err(error) => Err(error.into_response()),
        }
    }

    /// Opens a session of the hub for a connection.
    pub(super) fn admit(
        &self,
        principal: &Principal,
        address: IpAddr,
        query: &Query,
        transport: HubTransport,
    ) -> Result<Client, AppError> {
        let spec = SessionSpec {
            identity: identity(principal),
            address,
            dialect: dialect::of(query.version),
            transport,
            identify_within_s: self.application.identify_within_s(),
        };
        let session = open_session(&self.hub, spec)?;
        self.identified(principal, &session);
        Ok(Client::new(self.hub.clone(), session, query.version, address))
    }

    /// As [`Endpoint::admit`], for a connection that is a WebSocket from the start.
    pub(super) fn admit_socket(
        &self,
        principal: &Principal,
        address: IpAddr,
        query: &Query,
        stream: Arc<TcpStream>,
        guest: Guest,
    ) -> Result<Client, AppError> {
        let weak = Arc::downgrade(&stream);
        let client = self.admit(principal, address, query, HubTransport::Socket(stream))?;
        if self.callers.expects_names() && principal.is_anonymous() {
            await_name(&self.hub, client.session(), weak, guest);
        }
        Ok(client)
    }

    /// A connection was upgraded to a WebSocket: it holds a place from now on.
    pub(super) fn await_name(&self, session: &Arc<Session>, guest: Guest) {
        if self.callers.expects_names() && session.identity().anonymous {
            await_name(&self.hub, session, Weak::new(), guest);
        }
    }

    fn identified(&self, principal: &Principal, session: &Arc<Session>) {
        self.callers.identified(principal, session);
    }

    /// The rules for the connection of such a query.
    pub(super) fn rules(&self, query: &Query) -> Arc<Config> {
        let fits = |rules: &&Arc<Config>| rules.version == query.version && rules.base64 == query.base64;
        let found = self.rules.iter().find(fits);
        Arc::clone(found.expect("there are rules for every query"))
    }
}

/// The rules for every kind of client; its connections share them.
fn all_rules(settings: &Settings) -> Vec<Arc<Config>> {
    let Settings { ping_interval, ping_timeout, upgrade_timeout, payload, .. } = *settings;
    let kinds =
        [Version::V4, Version::V3].into_iter().flat_map(|version| [(version, false), (version, true)]);
    let rules = kinds.map(|(version, base64)| Config {
        base64,
        ping_interval,
        ping_timeout,
        upgrade_timeout,
        payload,
        ..Config::new(version)
    });
    rules.map(Arc::new).collect()
}

/// An unguessable id.
///
/// # Errors
/// If the system provides no randomness.
pub(crate) fn new_id() -> Result<String, AppError> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(AppError::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Where a request comes from.
pub(super) fn address(parts: &Parts) -> IpAddr {
    let known = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    known.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}
