//! `/ws/chat`: flat frames over a plain WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{
    CloseCode, CloseReason, Flow, From as Place, Joined, Receiver, Session, SessionSpec, SubscribeError,
    Subscription, Transport, run_socket,
};
use relais_protocol::event::{Channel, Cursor};
use serde_json::{Value, json};

use super::super::other_identity;
use super::channels::Listening;
use super::followers::{Followers, Here, Line, arrive};
use super::frames::{dialect, error_fields, frame};
use super::{close_code, is_of, missed_something};
use crate::auth::http::Visitor;
use crate::auth::{Credential, Principal};
use crate::features::chat::Chat;
use crate::features::chat::{Me, Outcome};
use crate::gateways::opening::open_guest;
use crate::gateways::pace::{Pace, too_fast};
use crate::gateways::relay::limits;
use crate::gateways::upgrade::{Handshake, Upgraded};
use crate::gateways::{belongs_to, identity, renew, spawn, unreadable};
use crate::web::Guest;
use crate::web::form::form_pairs;
use crate::{App, AppError};

/// One connection.
#[derive(Clone)]
struct Client {
    app: App,
    session: Arc<Session>,
    /// Who it is, once it has said so.
    here: Arc<Mutex<Attendance>>,
    /// With which rights.
    principal: Arc<Mutex<Principal>>,
    pace: Pace,
}

/// Who is on a connection.
#[derive(Clone, Default)]
enum Attendance {
    /// Nobody has said so yet.
    #[default]
    Awaited,
    Here(Here<HubLine>),
    /// The connection has ended.
    Over,
}

/// The session of a connection in the hub.
struct HubLine {
    app: App,
    session: Arc<Session>,
}

impl Line for HubLine {
    async fn join(&self, subscription: Subscription, since: Cursor) -> Result<bool, SubscribeError> {
        let hub = self.app.hub().clone();
        let from = Place::Cursor(since);
        let joined =
            hub.subscribe_members(&self.session, vec![subscription], from, |_| bytes::Bytes::new()).await?;
        Ok(joined.recovered)
    }

    fn leave(&self, channel: &Channel) {
        self.app.hub().unsubscribe(&self.session, channel.clone());
    }

    fn tell(&self, name: &str, fields: &Value) {
        self.app.hub().send_snapshot(&self.session, frame(name, fields));
    }

    fn give_up(&self) {
        self.app.hub().close(&self.session, missed_something());
    }
}

impl Receiver for Client {
    fn text(&mut self, _: &Arc<Session>, text: &str) -> Flow {
        if !self.pace.take(Instant::now()) {
            return Flow::Close(too_fast(self.app.config().hub.messages_per_s));
        }
        match serde_json::from_str::<Value>(text) {
            Ok(command @ Value::Object(_)) => Flow::Await(Box::pin(self.clone().obey(command))),
            read => {
                let fault = read.err().map(|error| unreadable(&error));
                let fields = match fault.filter(|fault| fault.code() == "invalid_text") {
                    Some(fault) => error_fields(&fault),
                    None => json!({ "message": "Format JSON invalide", "code": "invalid_command" }),
                };
                self.say("error", &fields);
                Flow::Continue
            }
        }
    }
}

impl Client {
    fn here(&self) -> Option<Here<HubLine>> {
        match &*self.here.lock() {
            Attendance::Here(here) => Some(here.clone()),
            Attendance::Awaited | Attendance::Over => None,
        }
    }

    fn say(&self, name: &str, fields: &Value) {
        self.app.hub().send(&self.session, frame(name, fields));
    }

    async fn obey(self, mut command: Value) -> Flow {
        let name = command["type"].as_str().unwrap_or_default().to_owned();
        let id = command.get("id").cloned();
        if name == "authenticate" {
            self.authenticate(&command).await;
            return Flow::Continue;
        }
        let Some(here) = self.here() else {
            self.refuse("Authentification requise");
            return Flow::Continue;
        };
        if let Some(fields) = command.as_object_mut() {
            fields.remove("type");
            fields.remove("id");
        }
        let outcome = self.app.service::<Chat>().obey(&here.me, here.device, &name, command).await;
        let answer = match outcome {
            Ok(Outcome::Done) => id.is_some().then(|| ("done", json!({ "success": true }))),
            Ok(Outcome::Reply(name, fields)) => Some((name, fields)),
            Ok(Outcome::Join(topic, name, fields)) => {
                let joined = here.followers.join(&topic, self.app.hub().head()).await;
                Some(joined.map_or_else(|error| ("error", error_fields(&error)), |()| (name, fields)))
            }
            Ok(Outcome::Leave(topic, name, fields)) => {
                self.app.hub().unsubscribe(&self.session, Channel::Topic(topic));
                Some((name, fields))
            }
            Err(error) => Some(("error", error_fields(&error))),
        };
        if let Some((name, mut fields)) = answer {
            if let Some(id) = id {
                fields["id"] = id;
            }
            self.say(name, &fields);
        }
        Flow::Continue
    }

    /// Says why and closes: whoever does not say who they are has nothing to do here.
    fn refuse(&self, message: &'static str) {
        self.say("error", &json!({ "message": message, "code": "unauthenticated" }));
        self.app.hub().close(&self.session, CloseReason::new(CloseCode::NotAuthenticated, message));
    }

    async fn authenticate(&self, command: &Value) {
        let Some(token) = command["token"].as_str().filter(|token| !token.is_empty()) else {
            return self.refuse("Token requis");
        };
        let credential = Credential::Bearer(token.trim_start_matches("Bearer ").to_owned());
        let principal = match self.app.auth().authenticate(Some(credential)).await {
            Ok(principal) => principal,
            // Whoever is in stays in: the connection ends with the credential that it came with.
            Err(error) if error.is_unauthorized() && self.here().is_some() => {
                return self.say("error", &error_fields(&error));
            }
            Err(error) if error.is_unauthorized() => return self.refuse("Token invalide ou expiré"),
            Err(error) => return self.turn_away(&error),
        };
        if let Some(here) = self.here() {
            return match self.app.service::<Chat>().enter(&principal).await {
                Ok(_) => self.recognize(&here.me, &principal, command),
                Err(error) => self.say("error", &error_fields(&error)),
            };
        }
        if let Err(error) = self.enter(&principal, command).await {
            self.turn_away(&error);
        }
    }

    /// Somebody says once more who they are. A connection stays whose it is, lasts as long as the token, and hears what it
    /// heard: what was missed before does not come.
    fn recognize(&self, me: &Me, principal: &Principal, command: &Value) {
        if is_of(me, principal) {
            let known = std::mem::replace(&mut *self.principal.lock(), principal.clone());
            if !renew(&self.app, &known, principal, &self.session) {
                return;
            }
            let mut fields = json!({ "success": true, "user_id": me.id() });
            if !command["since"].is_null() {
                fields["recovered"] = false.into();
            }
            return self.say("authenticated", &fields);
        }
        self.say("error", &error_fields(&other_identity()));
    }

    /// Says why somebody with a valid credential is not let in, and closes.
    fn turn_away(&self, error: &AppError) {
        self.say("error", &error_fields(error));
        let reason = CloseReason::new(close_code(error), error.message().to_owned());
        self.app.hub().close(&self.session, reason);
    }

    /// Lets the client in: it hears everything that is for it, from now on or from where it was.
    async fn enter(&self, principal: &Principal, command: &Value) -> Result<(), AppError> {
        let chat = self.app.service::<Chat>();
        let me = chat.enter(principal).await?;
        self.app.hub().identify(&self.session, identity(principal))?;
        belongs_to(&self.app, principal, &self.session);
        *self.principal.lock() = principal.clone();
        let listening = Listening::new(&me, command["include_own"].as_bool().unwrap_or(false));
        let line = HubLine { app: self.app.clone(), session: Arc::clone(&self.session) };
        let followers = Followers::new(&self.app, line, me.clone(), listening.clone());
        let attendance = Arc::clone(&self.here);
        arrive(&followers, move |here| keep(&attendance, here)).await?;
        let head = self.app.hub().head();
        let all = listening.to_all(chat, &me).await?;
        let heard: Vec<Channel> = all.iter().map(|subscription| subscription.channel.clone()).collect();
        let since = command["since"].as_str().and_then(|since| since.parse().ok());
        let place = since.map_or(Place::Now, Place::Cursor);
        let asked = command.get("since").is_some_and(|since| !since.is_null());
        let welcome = |joined: &Joined| {
            let cursor = since.filter(|_| joined.recovered).unwrap_or(joined.cursor);
            let recovered = asked.then_some(since.is_some() && joined.recovered);
            let fields = json!({
                "success": true, "user_id": me.id(), "cursor": cursor.to_string(), "recovered": recovered,
            });
            frame("authenticated", &fields)
        };
        self.app.hub().subscribe_members(&self.session, all, place, welcome).await?;
        followers.open(&heard, head).await?;
        followers.tell_present(asked).await
    }
}

/// What the first frame may say, from the query of the request: `since` and `include_own`.
fn wishes(query: Option<&str>) -> Value {
    let mut wishes = json!({});
    for (key, value) in form_pairs(query.unwrap_or_default()) {
        match key.as_str() {
            "since" => wishes["since"] = value.into(),
            "include_own" => wishes["include_own"] = matches!(value.as_str(), "1" | "true").into(),
            _ => {}
        }
    }
    wishes
}

/// Notes who is on a connection, if it still stands.
fn keep(attendance: &Mutex<Attendance>, here: Here<HubLine>) -> bool {
    let mut attendance = attendance.lock();
    let stands = !matches!(*attendance, Attendance::Over);
    if stands {
        *attendance = Attendance::Here(here);
    }
    stands
}

/// The WebSocket of the chat. A caller without a credential has some seconds to send `authenticate`.
pub(in crate::gateways) async fn open_socket(
    State(app): State<App>,
    Visitor(principal): Visitor,
    mut request: Request,
) -> Result<Response, AppError> {
    let mut handshake = Handshake::new(&mut request)?;
    let (address, deflate) = (handshake.address, handshake.agree_deflate(app.config().hub.compression));
    let wishes = wishes(request.uri().query());
    let (response, stream) = handshake.accept();
    let entered: BoxFuture<'static, _> = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let client = admit(app, &principal, address, stream, deflate, guest)?;
        if !principal.is_anonymous()
            && let Err(error) = client.enter(&principal, &wishes).await
        {
            client.turn_away(&error);
        }
        Some((leftover, client))
    });
    spawn(async move {
        if let Some((leftover, client)) = entered.await {
            let (session, limits) = (Arc::clone(&client.session), limits(&client.app, deflate));
            run_socket(session, leftover, client.clone(), limits).await;
            let attendance = std::mem::replace(&mut *client.here.lock(), Attendance::Over);
            if let Attendance::Here(here) = attendance {
                client.app.service::<Chat>().depart(&here.me, here.device).await;
            }
        }
    });
    Ok(response)
}

fn admit(
    app: App,
    principal: &Principal,
    address: SocketAddr,
    stream: tokio::net::TcpStream,
    deflate: bool,
    guest: Guest,
) -> Option<Client> {
    let spec = SessionSpec {
        identity: identity(principal),
        address: address.ip(),
        dialect: dialect(),
        transport: Transport::socket(stream),
        identify_within_s: principal.is_anonymous().then_some(app.config().hub.authenticate_timeout_s),
    };
    let session = open_guest(app.hub(), spec, guest).ok()?;
    if deflate {
        app.hub().compress(&session);
    }
    let pace = Pace::new(app.config().hub.messages_per_s, Instant::now());
    let principal = Arc::new(Mutex::new(principal.clone()));
    Some(Client { app, session, here: Arc::default(), principal, pace })
}
