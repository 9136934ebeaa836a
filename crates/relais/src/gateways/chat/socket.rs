//! `/ws/chat`: flat frames over a plain WebSocket.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use parking_lot::Mutex;
use relais_hub::{
    CloseCode, CloseReason, Ended, Flow, Hub, Joined, Session, StartPosition, SubscribeError, Subscription,
};
use relais_protocol::event::{Channel, Cursor};
use serde_json::{Value, json};

use super::channels::Listening;
use super::followers::{Followers, Here, Recipient, arrive};
use super::frames::{dialect, error_fields, frame};
use super::{close_code, missed_something};
use crate::App;
use crate::AppError;
use crate::auth::http::Visitor;
use crate::auth::{Credential, Principal};
use crate::features::chat::Chat;
use crate::features::chat::{Me, Outcome};
use crate::gateways::membership::Subscriber;
use crate::gateways::unreadable;
use crate::gateways::upgrade::Handshake;
use crate::gateways::websocket::{Connection, Opened, Protocol, Terms, serve};
use crate::tasks::spawn;

/// One connection.
struct Client {
    connection: Connection,
    /// Its user, once authenticated.
    here: Mutex<Attendance>,
}

/// The user of a connection.
#[derive(Clone, Default)]
enum Attendance {
    /// Not authenticated yet.
    #[default]
    Awaited,
    Here(Here<HubSession>),
    /// The connection has ended.
    Over,
}

/// The session of a connection in the hub.
struct HubSession {
    hub: Hub,
    session: Arc<Session>,
}

impl Subscriber for HubSession {
    async fn join(&self, subscription: Subscription, since: Cursor) -> Result<bool, SubscribeError> {
        let (all, from) = (vec![subscription], StartPosition::Cursor(since));
        let joined = self.hub.subscribe_members(&self.session, all, from, |_| bytes::Bytes::new()).await?;
        Ok(joined.recovered)
    }

    fn leave(&self, channel: &Channel) {
        self.hub.unsubscribe(&self.session, channel.clone());
    }

    fn give_up(&self) {
        self.hub.close(&self.session, missed_something());
    }
}

impl Recipient for HubSession {
    fn send(&self, name: &str, fields: &Value) {
        self.hub.send_snapshot(&self.session, frame(name, fields.clone()));
    }
}

impl Protocol for Client {
    fn text(self: &Arc<Self>, text: &str) -> Flow {
        match serde_json::from_str::<Value>(text) {
            Ok(command @ Value::Object(_)) => Flow::Await(Box::pin(Arc::clone(self).handle(command))),
            read => {
                let fault = read.err().map(|error| unreadable(&error));
                let fields = match fault.filter(|fault| fault.code() == "invalid_text") {
                    Some(fault) => error_fields(&fault),
                    None => json!({ "message": "Format JSON invalide", "code": "invalid_command" }),
                };
                self.say("error", fields);
                Flow::Continue
            }
        }
    }

    fn ended(&self, _: Option<Ended>) {
        let attendance = std::mem::replace(&mut *self.here.lock(), Attendance::Over);
        if let Attendance::Here(Here { me, device, .. }) = attendance {
            let app = self.connection.app.clone();
            spawn("departure", async move { app.service::<Chat>().depart(&me, device).await });
        }
    }
}

impl Client {
    fn here(&self) -> Option<Here<HubSession>> {
        match &*self.here.lock() {
            Attendance::Here(here) => Some(here.clone()),
            Attendance::Awaited | Attendance::Over => None,
        }
    }

    /// Stores the connection's user, if it is still open.
    fn keep(&self, here: Here<HubSession>) -> bool {
        let mut attendance = self.here.lock();
        let stands = !matches!(*attendance, Attendance::Over);
        if stands {
            *attendance = Attendance::Here(here);
        }
        stands
    }

    fn say(&self, name: &str, fields: Value) {
        self.connection.send(frame(name, fields));
    }

    async fn handle(self: Arc<Self>, mut command: Value) -> Flow {
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
        let app = &self.connection.app;
        let outcome = app.service::<Chat>().handle(&here.me, here.device, &name, command).await;
        let answer = match outcome {
            Ok(Outcome::Done) => id.is_some().then(|| ("done", json!({ "success": true }))),
            Ok(Outcome::Reply(name, fields)) => Some((name, fields)),
            Ok(Outcome::Join(topic, name, fields)) => {
                let joined = here.followers.join(&topic, app.hub().head()).await;
                Some(joined.map_or_else(|error| ("error", error_fields(&error)), |()| (name, fields)))
            }
            Ok(Outcome::Leave(topic, name, fields)) => {
                app.hub().unsubscribe(&self.connection.session, Channel::Topic(topic));
                Some((name, fields))
            }
            Err(error) => Some(("error", error_fields(&error))),
        };
        if let Some((name, mut fields)) = answer {
            if let Some(id) = id {
                fields["id"] = id;
            }
            self.say(name, fields);
        }
        Flow::Continue
    }

    /// Sends the reason and closes: an unauthenticated client may not stay.
    fn refuse(&self, message: &'static str) {
        self.say("error", json!({ "message": message, "code": "unauthenticated" }));
        self.connection.close(CloseReason::new(CloseCode::NotAuthenticated, message));
    }

    async fn authenticate(self: &Arc<Self>, command: &Value) {
        let Some(token) = command["token"].as_str().filter(|token| !token.is_empty()) else {
            return self.refuse("Token requis");
        };
        let credential = Credential::Bearer(token.trim_start_matches("Bearer ").to_owned());
        let app = &self.connection.app;
        let principal = match app.auth().authenticate(Some(credential)).await {
            Ok(principal) => principal,
            // An authenticated client stays connected: its connection ends with the credential that it came with.
            Err(error) if error.is_unauthorized() && self.here().is_some() => {
                return self.say("error", error_fields(&error));
            }
            Err(error) if error.is_unauthorized() => return self.refuse("Token invalide ou expiré"),
            Err(error) => return self.turn_away(&error),
        };
        if let Some(here) = self.here() {
            return match app.service::<Chat>().enter(&principal).await {
                Ok(_) => self.recognize(&here.me, &principal, command),
                Err(error) => self.say("error", error_fields(&error)),
            };
        }
        if let Err(error) = self.enter(&principal, command).await {
            self.turn_away(&error);
        }
    }

    /// Repeated authentication. A connection stays with its user, lasts as long as the token, and keeps its
    /// subscriptions: events missed before are not sent.
    fn recognize(&self, me: &Me, principal: &Principal, command: &Value) {
        match self.connection.belong(principal) {
            Ok(true) => {
                let mut fields = json!({ "success": true, "user_id": me.id() });
                if !command["since"].is_null() {
                    fields["recovered"] = false.into();
                }
                self.say("authenticated", fields);
            }
            // The connection is being closed.
            Ok(false) => {}
            Err(error) => self.say("error", error_fields(&error)),
        }
    }

    /// Sends a user with a valid credential the reason of their rejection, and closes.
    fn turn_away(&self, error: &AppError) {
        self.say("error", error_fields(error));
        self.connection.close(CloseReason::new(close_code(error), error.french().to_owned()));
    }

    /// Accepts the client and subscribes it to all its topics, from now on or from its last position.
    async fn enter(self: &Arc<Self>, principal: &Principal, command: &Value) -> Result<(), AppError> {
        let Connection { app, session, .. } = &self.connection;
        let (chat, hub) = (app.service::<Chat>(), app.hub());
        let me = chat.enter(principal).await?;
        if self.connection.principal().is_anonymous() {
            self.connection.belong(principal)?;
        }
        let listening = Listening::new(&me, command["include_own"].as_bool().unwrap_or(false));
        let recipient = HubSession { hub: hub.clone(), session: Arc::clone(session) };
        let followers = Followers::of(app, recipient, me.clone(), listening.clone());
        let client = Arc::clone(self);
        arrive(&followers, move |here| client.keep(here)).await?;
        let head = hub.head();
        let all = listening.to_all(chat, &me).await?;
        let heard: Vec<Channel> = all.iter().map(|subscription| subscription.channel.clone()).collect();
        let since = command["since"].as_str().and_then(|since| since.parse().ok());
        let place = since.map_or(StartPosition::Now, StartPosition::Cursor);
        let asked = command.get("since").is_some_and(|since| !since.is_null());
        let welcome = |joined: &Joined| {
            let cursor = since.filter(|_| joined.recovered).unwrap_or(joined.cursor);
            let recovered = asked.then_some(since.is_some() && joined.recovered);
            let fields = json!({
                "success": true, "user_id": me.id(), "cursor": cursor.to_string(), "recovered": recovered,
            });
            frame("authenticated", fields)
        };
        hub.subscribe_members(session, all, place, welcome).await?;
        followers.open(&heard, head).await?;
        followers.send_present(asked).await
    }
}

/// Options of the first frame taken from the query of the request: `since` and `include_own`.
fn wishes(query: Option<&str>) -> Value {
    let mut wishes = json!({});
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*key {
            "since" => wishes["since"] = value.into(),
            "include_own" => wishes["include_own"] = matches!(&*value, "1" | "true").into(),
            _ => {}
        }
    }
    wishes
}

/// The WebSocket of the chat. A caller without a credential has some seconds to send `authenticate`.
pub(in crate::gateways) async fn open_socket(
    State(app): State<App>,
    Visitor(principal): Visitor,
    RawQuery(query): RawQuery,
    handshake: Handshake,
) -> Response {
    let must_identify = principal.is_anonymous();
    let terms = Terms { must_identify, ..Terms::new(&app, dialect(), principal) };
    let wishes = wishes(query.as_deref());
    serve(app, handshake, terms, move |connection| {
        let client = Arc::new(Client { connection, here: Mutex::default() });
        let protocol = Arc::clone(&client);
        let first = async move {
            let principal = client.connection.principal();
            if !principal.is_anonymous()
                && let Err(error) = client.enter(&principal, &wishes).await
            {
                client.turn_away(&error);
            }
            Flow::Continue
        };
        Opened { protocol, first: Flow::Await(Box::pin(first)) }
    })
}
