//! The chat over Socket.IO.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{CloseReason, Joined, StartPosition, SubscribeError, Subscription};
use relais_protocol::engineio::Text;
use relais_protocol::event::{Channel, Cursor, Event};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::other_identity;
use super::channels::Listening;
use super::followers::{Followers, Here, Recipient, arrive};
use super::frames::error_fields;
use super::names::former_name;
use super::{close_code, is_of, missed_something};
use crate::auth::{Credential, Principal, token_refused, unauthenticated};
use crate::features::chat::Chat;
use crate::features::chat::{Me, Outcome};
use crate::gateways::membership::Subscriber;
use crate::gateways::socketio::{
    Admission, Because, ConnectRequest, Incoming, Namespace, Refused, Reply, Socket, Welcome,
};
use crate::said::said;
use crate::tasks::spawn;
use crate::{App, AppError};

/// The chat's Socket.IO clients.
pub(super) struct ChatNamespace {
    app: App,
    /// The authenticated ones, by socket id.
    people: People,
}

/// The content of the `auth` object and of the event `authenticate`.
#[derive(Debug, Default, Deserialize)]
struct Credentials {
    token: Option<String>,
    #[serde(default)]
    include_own: bool,
    since: Option<String>,
}

type People = Arc<Mutex<HashMap<String, Here<Member>>>>;

/// One client in the namespace.
struct Member(Socket);

impl Subscriber for Member {
    async fn join(&self, subscription: Subscription, since: Cursor) -> Result<bool, SubscribeError> {
        self.0.join_since(vec![subscription], since).await
    }

    fn leave(&self, channel: &Channel) {
        self.0.leave(channel);
    }

    fn give_up(&self) {
        self.0.close(missed_something());
    }
}

impl Recipient for Member {
    fn send(&self, name: &str, fields: &Value) {
        // A client that has left needs nothing.
        let _ = self.0.emit_snapshot(name, &fields.to_string());
    }
}

impl ChatNamespace {
    /// The chat of this server.
    #[must_use]
    pub(super) fn new(app: App) -> Self {
        Self { app, people: Arc::default() }
    }

    fn here(&self, socket: &Socket) -> Option<Here<Member>> {
        self.people.lock().get(socket.id()).cloned()
    }
}

/// The principal of a token.
async fn bearer(app: &App, token: &str) -> Result<Principal, AppError> {
    let credential = Credential::Bearer(token.trim_start_matches("Bearer ").to_owned());
    app.auth().authenticate(Some(credential)).await
}

fn credentials(auth: Option<&str>) -> Credentials {
    auth.and_then(|auth| serde_json::from_str(auth).ok()).unwrap_or_default()
}

/// Registers the user's arrival, unless their client has left meanwhile.
async fn note_arrival(
    app: &App,
    people: &People,
    socket: &Socket,
    followers: &Arc<Followers<Member>>,
) -> Result<(), AppError> {
    let (app, people, socket) = (app.clone(), Arc::clone(people), socket.clone());
    let keep = move |here| {
        let earlier = people.lock().insert(socket.id().to_owned(), here);
        if let Some(Here { me, device, .. }) = earlier {
            // A client is one device.
            spawn("departure", async move { app.service::<Chat>().depart(&me, device).await });
        }
        // A client that leaves from here on is removed from `people` by `disconnected`.
        socket.is_in() || people.lock().remove(socket.id()).is_none()
    };
    arrive(followers, keep).await
}

fn say(socket: &Socket, name: &str, fields: &Value) {
    // A client that has left needs no answer.
    let _ = socket.emit(name, &fields.to_string());
}

impl Namespace for ChatNamespace {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        let app = self.app.clone();
        Box::pin(async move {
            let given = credentials(request.auth.as_ref().map(Text::as_str));
            let principal = match &given.token {
                Some(token) => bearer(&app, token).await?,
                None => request.principal,
            };
            if principal.is_anonymous() {
                let within = app.config().hub.authenticate_timeout_s;
                return Ok(Admission { principal, identify_within_s: Some(within), ..Admission::default() });
            }
            let me = app.service::<Chat>().enter(&principal).await?;
            let channels = Listening::new(&me, given.include_own).to_all(app.service::<Chat>(), &me).await?;
            let since = given.since.as_deref().and_then(|since| since.parse().ok());
            Ok(Admission { principal, channels, since, identify_within_s: None })
        })
    }

    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        let (app, people) = (self.app.clone(), Arc::clone(&self.people));
        Box::pin(async move {
            let principal = socket.principal();
            if principal.is_anonymous() {
                return;
            }
            let given = credentials(welcome.auth.as_ref().map(Text::as_str));
            let entered = async {
                let me = app.service::<Chat>().enter(&principal).await?;
                let listening = Listening::new(&me, given.include_own);
                let fields = json!({ "success": true, "user_id": me.id(), "recovered": welcome.recovered });
                let followers = Followers::of(&app, Member(socket.clone()), me, listening);
                note_arrival(&app, &people, &socket, &followers).await?;
                followers.open(&socket.channels(), welcome.head).await?;
                say(&socket, "authenticated", &fields);
                followers.send_present(welcome.recovered || given.since.is_some()).await?;
                Ok::<_, AppError>(())
            };
            if let Err(error) = entered.await {
                turn_away(&socket, &error);
            }
        })
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        let (app, people, here) = (self.app.clone(), Arc::clone(&self.people), self.here(&socket));
        Box::pin(async move {
            let name = incoming.event().name.into_owned();
            let data = match incoming.value() {
                Ok(data) => data,
                Err(error) => {
                    let fields = error_fields(&error);
                    say(&socket, "error", &fields);
                    return Some(reply(&fields));
                }
            };
            if name == "authenticate" {
                return Some(reply(&authenticate(&app, &people, &socket, here, data).await));
            }
            let Some(here) = here else {
                let fields = json!({ "success": false, "message": "Authentification requise", "code": "unauthenticated" });
                say(&socket, "error", &fields);
                return Some(reply(&fields));
            };
            let outcome = app.service::<Chat>().handle(&here.me, here.device, &name, data).await;
            let (told, fields) = match outcome {
                Ok(Outcome::Done) => (None, json!({ "success": true })),
                Ok(Outcome::Reply(name, fields)) => (Some(name), fields),
                Ok(Outcome::Join(topic, name, fields)) => {
                    let joined = here.followers.join(&topic, app.hub().head()).await;
                    joined
                        .map_or_else(|error| (Some("error"), error_fields(&error)), |()| (Some(name), fields))
                }
                Ok(Outcome::Leave(topic, name, fields)) => {
                    socket.leave(&Channel::Topic(topic));
                    (Some(name), fields)
                }
                Err(error) => (Some("error"), error_fields(&error)),
            };
            // A client that requested an acknowledgement receives the answer there; an error is emitted in any case.
            if let Some(told) = told.filter(|told| !incoming.wants_reply() || *told == "error") {
                say(&socket, told, &fields);
            }
            Some(reply(&fields))
        })
    }

    /// Another user's token changes nothing for an authenticated client: 403.
    fn identify(&self, socket: Socket, token: String) -> BoxFuture<'static, Result<(), AppError>> {
        let (app, people) = (self.app.clone(), Arc::clone(&self.people));
        Box::pin(async move {
            if socket.principal().is_anonymous() {
                let given = Credentials { token: Some(token), ..Credentials::default() };
                return let_in(&app, &people, &socket, &given).await.map(drop);
            }
            let principal = bearer(&app, &token).await?;
            socket.identify(&principal).map_err(|error| not_belonging(&error))
        })
    }

    /// With its position in the log, for clients that resume from it: those that authenticate by event, and those whose
    /// handlers take one argument and no offset after it.
    fn frame<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        let fields = event.data.strip_suffix('}').filter(|_| event.is_durable());
        let data = fields.map_or(Cow::Borrowed(&*event.data), |fields| {
            let comma = if fields == "{" { "" } else { "," };
            Cow::Owned(format!("{fields}{comma}\"cursor\":\"{}\"}}", event.cursor()))
        });
        Some((Cow::Borrowed(&*event.name), data))
    }

    fn former_name(&self, event: &Event) -> Option<&'static str> {
        former_name(event)
    }

    fn disconnected(&self, socket: &Socket) {
        let Some(here) = self.people.lock().remove(socket.id()) else { return };
        let app = self.app.clone();
        spawn("departure", async move { app.service::<Chat>().depart(&here.me, here.device).await });
    }
}

/// Whatever the reason, clients of the chat expect this code.
fn not_belonging(error: &AppError) -> AppError {
    AppError::forbidden("forbidden", error.message().clone())
}

fn reply(fields: &Value) -> Reply {
    Reply { arguments: fields.to_string(), ..Reply::default() }
}

/// Authenticates a client that connected without a credential. The answer is `authenticated`, or `error` and a close.
async fn authenticate(
    app: &App,
    people: &People,
    socket: &Socket,
    here: Option<Here<Member>>,
    data: Value,
) -> Value {
    let given: Credentials = serde_json::from_value(data).unwrap_or_default();
    let entered = match &here {
        Some(here) => recognize(app, socket, &here.me, &given).await,
        None => let_in(app, people, socket, &given).await,
    };
    entered.unwrap_or_else(|error| {
        let fields = error_fields(&error);
        match here {
            Some(_) => say(socket, "error", &fields),
            None => turn_away(socket, &error),
        }
        fields
    })
}

/// Sends the reason of the rejection and closes: otherwise they would receive only part of their events.
fn turn_away(socket: &Socket, error: &AppError) {
    say(socket, "error", &error_fields(error));
    match close_code(error) {
        // The library reconnects by itself, when the cause may have passed.
        code if code.reconnect() => socket.close(CloseReason::new(code, error.french().to_owned())),
        _ => socket.disconnect(),
    }
}

/// The principal of the token of an `authenticate`.
async fn bearer_of(app: &App, given: &Credentials) -> Result<Principal, AppError> {
    let token = given.token.as_deref().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| unauthenticated(said!("Token requis", "Token required")))?;
    bearer(app, token).await.map_err(|error| match error.is_unauthorized() {
        true => token_refused(),
        false => error,
    })
}

/// Repeated authentication, by programs that have already sent the token with `auth`, or that have a new one. A
/// connection stays with its user, and lasts as long as the token.
async fn recognize(app: &App, socket: &Socket, me: &Me, given: &Credentials) -> Result<Value, AppError> {
    let principal = bearer_of(app, given).await?;
    if !is_of(me, &principal) {
        return Err(other_identity());
    }
    app.service::<Chat>().enter(&principal).await?;
    socket.identify(&principal).map_err(|error| not_belonging(&error))?;
    let fields = json!({ "success": true, "user_id": me.id() });
    say(socket, "authenticated", &fields);
    Ok(fields)
}

async fn let_in(app: &App, people: &People, socket: &Socket, given: &Credentials) -> Result<Value, AppError> {
    let principal = bearer_of(app, given).await?;
    let me = app.service::<Chat>().enter(&principal).await?;
    socket.identify(&principal).map_err(|error| not_belonging(&error))?;
    let listening = Listening::new(&me, given.include_own);
    let followers = Followers::of(app, Member(socket.clone()), me.clone(), listening.clone());
    note_arrival(app, people, socket, &followers).await?;
    let since: Option<Cursor> = given.since.as_deref().and_then(|since| since.parse().ok());
    let head = app.hub().head();
    let all = listening.to_all(app.service::<Chat>(), &me).await?;
    let fields = |joined: &Joined| {
        let recovered = since.is_some() && joined.recovered;
        let cursor = since.filter(|_| recovered).unwrap_or(joined.cursor);
        json!({
            "success": true, "user_id": me.id(), "cursor": cursor.to_string(),
            "recovered": given.since.is_some().then_some(recovered),
        })
    };
    let from = since.map_or(StartPosition::Now, StartPosition::Cursor);
    let welcome = |joined: &Joined| ("authenticated", fields(joined).to_string());
    let joined = socket.join_welcomed(all, Because::Belongs, from, welcome).await?;
    followers.open(&socket.channels(), head).await?;
    followers.send_present(given.since.is_some()).await?;
    Ok(fields(&joined))
}
