//! The hub's own protocol: subscribe to channels by name, resume by cursor or position.

mod asyncapi;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use relais_hub::{CloseCode, Flow, Joined, QueueBody, SessionSpec, StartPosition, Subscription, Transport};
use relais_protocol::event::{Channel, Cursor, Epoch, Position};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_stream::{last_event_id, stream_response};
use super::membership::admit;
use super::opening::open_session;
use super::upgrade::Handshake;
use super::websocket::{Connection, Opened, Protocol, Terms, serve};
use super::{DialectFeature, belongs_to, dialects, identity, open_as, unreadable};
use crate::auth::http::{Caller, Visitor};
use crate::auth::{Action, Credential, Principal};
use crate::feature::Feature;
use crate::features;
use crate::said::Said;
use crate::{App, AppError};

/// The hub's own protocol and its event stream.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    routes: || OpenApiRouter::new().routes(routes!(stream_events)),
    sockets: |_| Router::new().route("/api/v1/ws", get(open_socket)),
    asyncapi: asyncapi::part,
    ..Feature::named("native")
});

/// Maximum number of channels of one event stream or poll.
const CHANNELS_MAX: usize = 50;
/// Maximum number of events in one reply to a poll.
pub(super) const EVENTS_MAX: usize = 500;

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

/// One connection, whose client may authenticate once it is open.
struct Client(Connection);

impl Protocol for Client {
    fn text(self: &Arc<Self>, text: &str) -> Flow {
        match serde_json::from_str::<Command>(text) {
            Ok(command) => Flow::Await(Box::pin(Arc::clone(self).handle(command))),
            Err(error) => {
                let fault = unreadable(&error);
                let (code, message) = (fault.code(), fault.english());
                self.say(&json!({ "type": "error", "code": code, "message": message }));
                Flow::Continue
            }
        }
    }
}

impl Client {
    fn say(&self, frame: &Value) {
        self.0.send(dialects::text_frame(frame));
    }

    async fn handle(self: Arc<Self>, command: Command) -> Flow {
        let (id, outcome) = match command {
            Command::Ping { id } => (id, Ok(Some(json!({ "type": "pong" })))),
            Command::Authenticate { id, token } => (id, self.authenticate(token).await.map(Some)),
            Command::Subscribe { id, channel, since, position } => {
                let outcome = self.subscribe(id.clone(), &channel, since, position).await;
                (id, outcome.map(|()| None))
            }
            Command::Unsubscribe { id, channel } => (id, self.unsubscribe(&channel).map(Some)),
            Command::Presence { id, channel } => (id, self.presence(&channel).await.map(Some)),
        };
        let reply = outcome.unwrap_or_else(|error| {
            Some(json!({ "type": "error", "code": error.code(), "message": error.english() }))
        });
        if let Some(mut reply) = reply {
            if let Some(id) = id {
                reply["id"] = id;
            }
            self.say(&reply);
        }
        Flow::Continue
    }

    async fn authenticate(&self, token: String) -> Result<Value, AppError> {
        let principal = self.0.app.auth().authenticate(Some(Credential::Bearer(token))).await?;
        self.0.belong(&principal)?;
        Ok(json!({ "type": "authenticated", "principal": &*principal.id() }))
    }

    async fn subscribe(
        &self,
        id: Option<Value>,
        channel: &str,
        since: Option<String>,
        position: Option<WirePosition>,
    ) -> Result<(), AppError> {
        let place = place(since, position)?;
        let (Connection { app, session, .. }, principal) = (&self.0, self.0.principal());
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
        let ask = || allowed(app, &principal, channel);
        let join = |allowed: Subscription| async move {
            let heard = allowed.channel.clone();
            app.hub().subscribe_all(session, vec![allowed], place, preface).await?;
            Ok(heard)
        };
        admit(ask, join, |heard| app.hub().unsubscribe(session, heard)).await.map(drop)
    }

    fn unsubscribe(&self, channel: &str) -> Result<Value, AppError> {
        self.0.app.hub().unsubscribe(&self.0.session, parse_channel(&self.0.app, channel)?);
        Ok(json!({ "type": "unsubscribed", "channel": channel }))
    }

    async fn presence(&self, channel: &str) -> Result<Value, AppError> {
        let (app, principal) = (&self.0.app, self.0.principal());
        let subscription = allowed(app, &principal, channel).await?;
        let present = app.hub().presence(&subscription.channel).await;
        let mut apart = HashSet::new();
        if let Principal::User(user) = &principal {
            for feature in features::ALL {
                apart.extend((feature.hidden_from)(app, user).await?);
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

fn place(since: Option<String>, position: Option<WirePosition>) -> Result<StartPosition, AppError> {
    let wrong = || {
        let text = "\"since\" or \"position\" is not of this server: take those of a frame that was received";
        AppError::bad_request("invalid_parameter", Said::in_english(text))
    };
    match (since, position) {
        (Some(cursor), _) => cursor.parse().map(StartPosition::Cursor).map_err(|_| wrong()),
        (None, Some(WirePosition { epoch, offset })) => {
            let epoch: Epoch = epoch.parse().map_err(|_| wrong())?;
            Ok(StartPosition::Position(Position { epoch, offset }))
        }
        (None, None) => Ok(StartPosition::Now),
    }
}

fn parse_channel(app: &App, text: &str) -> Result<Channel, AppError> {
    app.auth().topics().channel(text).map_err(|error| {
        let message = format!("Invalid channel {text:?}: {error}");
        AppError::bad_request("invalid_channel", Said::in_english(message))
    })
}

/// A channel that the caller may subscribe to: its feature decides, else the policy.
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

/// Like [`allowed`], for several.
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
    handshake: Handshake,
) -> Response {
    let must_identify = principal.is_anonymous() && !app.auth().open_mode();
    let terms = Terms { must_identify, ..Terms::new(&app, dialects::native_socket(), principal) };
    serve(app, handshake, terms, |connection| {
        let client = Client(connection);
        client.say(&json!({ "type": "connected", "timestamp": client.0.app.clock().now() }));
        Opened { protocol: Arc::new(client), first: Flow::Continue }
    })
}

/// The channels of an event stream or a poll.
pub(super) struct ChannelQuery {
    pub(super) channels: Vec<String>,
    pub(super) since: Option<Cursor>,
    pub(super) wait_s: u64,
    /// Maximum number of events in one reply to a poll.
    pub(super) limit: usize,
}

impl ChannelQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, AppError> {
        let mut parsed = Self { channels: Vec::new(), since: None, wait_s: 0, limit: EVENTS_MAX };
        let wrong = |what: String| AppError::bad_request("invalid_parameter", Said::in_english(what));
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*key {
                "channel" if parsed.channels.len() >= CHANNELS_MAX => {
                    return Err(wrong(format!("At most {CHANNELS_MAX} channels per request")));
                }
                "channel" => parsed.channels.push(value.into_owned()),
                "since" if !value.is_empty() => {
                    let cursor = value.parse();
                    parsed.since =
                        Some(cursor.map_err(|_| wrong(format!("since: {value:?} is not a cursor")))?);
                }
                "wait" => {
                    let wait = value.parse().ok().filter(|wait| *wait <= 60);
                    parsed.wait_s =
                        wait.ok_or_else(|| wrong("wait: a number of seconds from 0 to 60".into()))?;
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=EVENTS_MAX).contains(limit));
                    let refused = || wrong(format!("limit: a number of events from 1 to {EVENTS_MAX}"));
                    parsed.limit = limit.ok_or_else(refused)?;
                }
                _ => {}
            }
        }
        if parsed.channels.is_empty() {
            return Err(wrong("Missing parameter \"channel\", for example channel=societe:rsp-bgs".into()));
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
pub(super) async fn stream_events(
    State(app): State<App>,
    Caller(principal): Caller,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let query = ChannelQuery::parse(query.as_deref())?;
    let since = last_event_id(&headers)?.or(query.since);
    let place = since.map_or(StartPosition::Now, StartPosition::Cursor);
    let preface = |joined: &Joined| {
        let cursor = since.filter(|_| joined.recovered).unwrap_or(joined.cursor);
        let frame = json!({
            "type": "subscribed", "channels": &query.channels, "cursor": cursor.to_string(),
            "recovered": joined.recovered,
        });
        dialects::stream_block(Some(&cursor.to_string()), "subscribed", frame.to_string().as_bytes()).into()
    };
    let hub = app.hub();
    let open = async |principal: Principal| {
        let join = async |allowed: Vec<Subscription>| {
            let spec = SessionSpec {
                identity: identity(&principal),
                address: address.ip(),
                dialect: dialects::native_stream(),
                transport: Transport::Queue,
                identify_within_s: None,
            };
            let session = open_session(hub, spec)?;
            belongs_to(&app, &principal, &session);
            let body = QueueBody::new(Arc::clone(&session));
            if let Err(error) = hub.subscribe_all(&session, allowed, place, preface).await {
                hub.close(&session, CloseCode::Internal);
                return Err(error.into());
            }
            Ok(body)
        };
        let undo = |body: QueueBody| hub.close(body.session(), CloseCode::Forbidden);
        admit(|| all_allowed(&app, &principal, &query.channels), join, undo).await
    };
    open_as(&app, principal, open).await.map(stream_response)
}
