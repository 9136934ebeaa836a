//! The hub's own protocol: subscribe to channels by name, resume by cursor or position.

mod asyncapi;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{
    CloseCode, CloseReason, Flow, From as Place, Joined, QueueBody, Receiver, Session, SessionSpec,
    Subscription, Transport, run_socket,
};
use relais_protocol::event::{Channel, Cursor, Epoch, Position};
use serde_json::{Value, json};
use utoipa::OpenApi as _;

use super::opening::open_guest;
use super::pace::{Pace, too_fast};
use super::relay::{last_event_id, limits, stream_response};
use super::upgrade::{Handshake, Upgraded};
use super::{DialectFeature, belongs_to, dialects, identity, other_identity, renew, unreadable};
use crate::auth::http::{Caller, Visitor};
use crate::auth::{Action, Credential, Principal};
use crate::feature::Feature;
use crate::features;
use crate::web::Guest;
use crate::{App, AppError};

/// The hub's own protocol and its event stream.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    routes: |_| Router::new().route("/api/v1/ws", get(open_socket)).route("/api/v1/events", get(open_stream)),
    openapi: || vec![NativeApi::openapi()],
    asyncapi: asyncapi::part,
    ..Feature::named("native")
});

/// Channels that one event stream or poll may name.
const CHANNELS_MAX: usize = 50;
/// Events of one reply to a poll at most.
pub(super) const EVENTS_MAX: usize = 500;

/// The OpenAPI document of the event stream.
#[derive(utoipa::OpenApi)]
#[openapi(paths(open_stream))]
pub struct NativeApi;

/// What a client says.
#[derive(Debug, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Authenticate { id: Option<Value>, token: String },
    Subscribe { id: Option<Value>, channel: String, since: Option<String>, position: Option<WirePosition> },
    Unsubscribe { id: Option<Value>, channel: String },
    Presence { id: Option<Value>, channel: String },
    Ping { id: Option<Value> },
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePosition {
    epoch: String,
    offset: u64,
}

/// The caller of one connection, who may say who they are once it stands.
#[derive(Clone)]
struct Client {
    app: App,
    principal: Arc<Mutex<Principal>>,
    pace: Pace,
}

impl Receiver for Client {
    fn text(&mut self, session: &Arc<Session>, text: &str) -> Flow {
        if !self.pace.take(Instant::now()) {
            return Flow::Close(too_fast(self.app.config().hub.messages_per_s));
        }
        match serde_json::from_str::<Command>(text) {
            Ok(command) => Flow::Await(self.clone().obey(Arc::clone(session), command)),
            Err(error) => {
                let fault = unreadable(&error);
                let (code, message) = (fault.code(), fault.message());
                self.say(session, &json!({ "type": "error", "code": code, "message": message }));
                Flow::Continue
            }
        }
    }
}

impl Client {
    fn say(&self, session: &Arc<Session>, frame: &Value) {
        self.app.hub().send(session, dialects::text_frame(frame));
    }

    fn obey(self, session: Arc<Session>, command: Command) -> BoxFuture<'static, Flow> {
        Box::pin(async move {
            let (id, outcome) = match command {
                Command::Ping { id } => (id, Ok(Some(json!({ "type": "pong" })))),
                Command::Authenticate { id, token } => {
                    (id, self.authenticate(&session, token).await.map(Some))
                }
                Command::Subscribe { id, channel, since, position } => {
                    let outcome = self.subscribe(&session, id.clone(), &channel, since, position).await;
                    (id, outcome.map(|()| None))
                }
                Command::Unsubscribe { id, channel } => (id, self.unsubscribe(&session, &channel).map(Some)),
                Command::Presence { id, channel } => (id, self.presence(&channel).await.map(Some)),
            };
            let reply = match outcome {
                Ok(reply) => reply,
                Err(error) => {
                    Some(json!({ "type": "error", "code": error.code(), "message": error.message() }))
                }
            };
            if let Some(mut reply) = reply {
                if let Some(id) = id {
                    reply["id"] = id;
                }
                self.say(&session, &reply);
            }
            Flow::Continue
        })
    }

    async fn authenticate(&self, session: &Arc<Session>, token: String) -> Result<Value, AppError> {
        let principal = self.app.auth().authenticate(Some(Credential::Bearer(token))).await?;
        let known = self.principal.lock().clone();
        if !known.is_anonymous() && known.id() != principal.id() {
            return Err(other_identity());
        }
        if known.is_anonymous() {
            self.app.hub().identify(session, identity(&principal))?;
            belongs_to(&self.app, &principal, session);
        } else {
            renew(&self.app, &known, &principal, session);
        }
        let reply = json!({ "type": "authenticated", "principal": &*principal.id() });
        *self.principal.lock() = principal;
        Ok(reply)
    }

    async fn subscribe(
        &self,
        session: &Arc<Session>,
        id: Option<Value>,
        channel: &str,
        since: Option<String>,
        position: Option<WirePosition>,
    ) -> Result<(), AppError> {
        let place = place(since, position)?;
        let principal = self.principal.lock().clone();
        let subscription = allowed(&self.app, &principal, channel).await?;
        let name = channel.to_owned();
        let preface = move |joined: &Joined| {
            let mut reply = json!({
                "type": "subscribed", "channel": name, "epoch": joined.epoch.to_string(),
                "cursor": joined.cursor.to_string(), "recovered": joined.recovered, "replayed": joined.replayed,
            });
            if let Some(offset) = joined.offset {
                reply["offset"] = offset.into();
            }
            if let Some(id) = id {
                reply["id"] = id;
            }
            dialects::text_frame(&reply)
        };
        let Subscription { channel: heard, filter } = subscription;
        self.app.hub().subscribe(session, heard.clone(), filter, place, preface).await?;
        // Asked again once it listens: whoever is taken out from here on is noticed by the hub.
        allowed(&self.app, &principal, channel).await.map(drop).inspect_err(|_| {
            self.app.hub().unsubscribe(session, heard);
        })
    }

    fn unsubscribe(&self, session: &Arc<Session>, channel: &str) -> Result<Value, AppError> {
        self.app.hub().unsubscribe(session, parse_channel(&self.app, channel)?);
        Ok(json!({ "type": "unsubscribed", "channel": channel }))
    }

    async fn presence(&self, channel: &str) -> Result<Value, AppError> {
        let principal = self.principal.lock().clone();
        let subscription = allowed(&self.app, &principal, channel).await?;
        let present = self.app.hub().presence(&subscription.channel).await;
        let mut apart = HashSet::new();
        if let Principal::User(user) = &principal {
            for feature in features::ALL {
                apart.extend((feature.hidden_from)(&self.app, user).await?);
            }
        }
        let members: Vec<Value> = present
            .iter()
            .filter(|member| !apart.contains(&*member.principal))
            .map(|member| json!({ "principal": &*member.principal, "sessions": member.sessions }))
            .collect();
        Ok(json!({ "type": "presence", "channel": channel, "members": members }))
    }
}

fn place(since: Option<String>, position: Option<WirePosition>) -> Result<Place, AppError> {
    let wrong = || {
        let text = "« since » ou « position » n'est pas de ce serveur : reprenez ceux d'une trame reçue";
        AppError::bad_request("invalid_parameter", text)
    };
    match (since, position) {
        (Some(cursor), _) => cursor.parse().map(Place::Cursor).map_err(|_| wrong()),
        (None, Some(WirePosition { epoch, offset })) => {
            let epoch: Epoch = epoch.parse().map_err(|_| wrong())?;
            Ok(Place::Position(Position { epoch, offset }))
        }
        (None, None) => Ok(Place::Now),
    }
}

fn parse_channel(app: &App, text: &str) -> Result<Channel, AppError> {
    app.auth().topics().channel(text).map_err(|error| {
        let message = format!("Canal invalide {text:?} : {error}");
        AppError::bad_request("invalid_channel", message)
    })
}

/// A channel that the caller may hear: its feature says so, else the policy.
pub(super) async fn allowed(app: &App, principal: &Principal, text: &str) -> Result<Subscription, AppError> {
    let channel = parse_channel(app, text)?;
    for feature in features::ALL {
        if let Some(subscription) = (feature.subscribe)(app, principal, &channel).await? {
            return Ok(subscription);
        }
    }
    app.auth().require(principal, Action::Subscribe(&channel))?;
    Ok(Subscription { channel, filter: None })
}

/// As [`allowed`], for several.
pub(super) async fn all_allowed(
    app: &App,
    principal: &Principal,
    channels: &[String],
) -> Result<Vec<Subscription>, AppError> {
    let mut all = Vec::with_capacity(channels.len());
    for channel in channels {
        all.push(allowed(app, principal, channel).await?);
    }
    Ok(all)
}

/// The native WebSocket. A caller without a credential has some seconds to send `authenticate`.
pub(super) async fn open_socket(
    State(app): State<App>,
    Visitor(principal): Visitor,
    mut request: Request,
) -> Result<Response, AppError> {
    let mut handshake = Handshake::new(&mut request)?;
    let (address, deflate) = (handshake.address, handshake.agree_deflate(app.config().hub.compression));
    let (response, stream) = handshake.accept();
    let entered = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let session = enter(&app, &principal, address, stream, deflate, guest)?;
        let welcome = json!({ "type": "connected", "timestamp": app.clock().now() });
        let pace = Pace::new(app.config().hub.messages_per_s, Instant::now());
        let client = Client { app, principal: Arc::new(Mutex::new(principal)), pace };
        client.say(&session, &welcome);
        let limits = limits(&client.app, deflate);
        Some((session, leftover, client, limits))
    });
    super::spawn(async move {
        if let Some((session, leftover, client, limits)) = entered.await {
            run_socket(session, leftover, client, limits).await;
        }
    });
    Ok(response)
}

fn enter(
    app: &App,
    principal: &Principal,
    address: SocketAddr,
    stream: tokio::net::TcpStream,
    deflate: bool,
    guest: Guest,
) -> Option<Arc<Session>> {
    let must_say_who = principal.is_anonymous() && !app.auth().open_mode();
    let spec = SessionSpec {
        identity: identity(principal),
        address: address.ip(),
        dialect: dialects::native_socket(),
        transport: Transport::socket(stream),
        identify_within_s: must_say_who.then_some(app.config().hub.authenticate_timeout_s),
    };
    let session = open_guest(app.hub(), spec, guest).ok()?;
    if deflate {
        app.hub().compress(&session);
    }
    belongs_to(app, principal, &session);
    Some(session)
}

/// What an event stream or a poll listens to.
pub(super) struct ChannelQuery {
    pub(super) channels: Vec<String>,
    pub(super) since: Option<Cursor>,
    pub(super) wait_s: u64,
    /// Events of one reply to a poll at most.
    pub(super) limit: usize,
}

impl ChannelQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, AppError> {
        let mut parsed = Self { channels: Vec::new(), since: None, wait_s: 0, limit: EVENTS_MAX };
        let wrong = |what: String| AppError::bad_request("invalid_parameter", what);
        for (key, value) in crate::web::form::form_pairs(query.unwrap_or_default()) {
            match key.as_str() {
                "channel" if parsed.channels.len() >= CHANNELS_MAX => {
                    return Err(wrong(format!("Au plus {CHANNELS_MAX} canaux par demande")));
                }
                "channel" => parsed.channels.push(value),
                "since" if !value.is_empty() => {
                    let cursor = value.parse();
                    parsed.since =
                        Some(cursor.map_err(|_| wrong(format!("since : {value:?} n'est pas un curseur")))?);
                }
                "wait" => {
                    let wait = value.parse().ok().filter(|wait| *wait <= 60);
                    parsed.wait_s =
                        wait.ok_or_else(|| wrong("wait : un nombre de secondes de 0 à 60".into()))?;
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=EVENTS_MAX).contains(limit));
                    let refused = || wrong(format!("limit : un nombre d'événements de 1 à {EVENTS_MAX}"));
                    parsed.limit = limit.ok_or_else(refused)?;
                }
                _ => {}
            }
        }
        if parsed.channels.is_empty() {
            return Err(wrong("Paramètre « channel » manquant, par exemple channel=societe:rsp-bgs".into()));
        }
        Ok(parsed)
    }
}

/// Events of channels as a stream of server-sent events.
#[utoipa::path(get, path = "/api/v1/events", tag = "hub",
    params(("channel" = Vec<String>, Query, description = "Topics such as `societe:rsp-bgs`, or a family: `societe:*`"),
        ("since" = Option<String>, Query, description = "Cursor to resume from; `Last-Event-ID` wins over it")),
    responses((status = 200, content_type = "text/event-stream", description = "First `subscribed`, then each event with its cursor as `id`"),
        (status = 400, description = "`invalid_parameter`, `invalid_channel`"), (status = 401, description = "`unauthenticated`"), (status = 403, description = "`forbidden`")))]
pub(super) async fn open_stream(
    State(app): State<App>,
    Caller(principal): Caller,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let query = ChannelQuery::parse(query.as_deref())?;
    let since = last_event_id(&headers)?.or(query.since);
    let subscriptions = all_allowed(&app, &principal, &query.channels).await?;
    let session = app.hub().open(SessionSpec {
        identity: identity(&principal),
        address: address.ip(),
        dialect: dialects::native_stream(),
        transport: Transport::Queue,
        identify_within_s: None,
    })?;
    belongs_to(&app, &principal, &session);
    let body = QueueBody::new(Arc::clone(&session));
    let place = since.map_or(Place::Now, Place::Cursor);
    let channels = query.channels.clone();
    let preface = move |joined: &Joined| {
        let cursor = since.filter(|_| joined.recovered).unwrap_or(joined.cursor);
        let frame = json!({
            "type": "subscribed", "channels": query.channels, "cursor": cursor.to_string(),
            "recovered": joined.recovered,
        });
        dialects::stream_block(Some(&cursor.to_string()), "subscribed", frame.to_string().as_bytes()).into()
    };
    if let Err(error) = app.hub().subscribe_all(&session, subscriptions, place, preface).await {
        app.hub().close(&session, CloseReason::from(CloseCode::Internal));
        return Err(error.into());
    }
    if let Err(error) = all_allowed(&app, &principal, &channels).await {
        app.hub().close(&session, CloseReason::from(CloseCode::Forbidden));
        return Err(error);
    }
    Ok(stream_response(body))
}
