//! The chat in Socket.IO.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_protocol::engineio::Text;
use relais_protocol::event::{Channel, Cursor, Topic};
use serde::Deserialize;
use serde_json::{Value, json};

use super::channels::Listening;
use super::frames::error_fields;
use crate::auth::{Credential, Principal};
use crate::features::chat::{Device, DeviceId, Me, Outcome};
use crate::gateways::socketio::{
    Admission, ConnectRequest, Incoming, Namespace, Refused, Reply, Socket, Welcome,
};
use crate::gateways::{Errands, spawn};
use crate::{App, AppError};

/// The chat's clients of Socket.IO.
pub struct ChatNamespace {
    app: App,
    /// Those who have said who they are, by the ids of their sockets.
    people: Arc<Mutex<HashMap<String, Here>>>,
}

#[derive(Clone)]
struct Here {
    me: Me,
    device: DeviceId,
    listening: Listening,
}

/// What the `auth` object and the event `authenticate` carry.
#[derive(Debug, Default, Deserialize)]
struct Credentials {
    token: Option<String>,
    #[serde(default)]
    include_own: bool,
    since: Option<String>,
}

/// As a device of its owner.
struct Hearing {
    socket: Socket,
    listening: Listening,
    errands: Errands,
}

impl Device for Hearing {
    fn join(&self, conversation: Topic, since: Cursor) {
        let (socket, subscription) = (self.socket.clone(), self.listening.to(&conversation));
        self.errands.run(async move {
            if let Err(error) = socket.join_since(subscription, since).await {
                // It listens already, or is gone.
                tracing::debug!(%error, %conversation, "a client does not join a conversation");
            }
        });
    }
}

impl ChatNamespace {
    /// The chat of this server.
    #[must_use]
    pub fn new(app: App) -> Self {
        Self { app, people: Arc::default() }
    }

    fn here(&self, socket: &Socket) -> Option<Here> {
        self.people.lock().get(socket.id()).cloned()
    }
}

/// Who a token belongs to.
async fn bearer(app: &App, token: &str) -> Result<Principal, AppError> {
    let credential = Credential::Bearer(token.trim_start_matches("Bearer ").to_owned());
    app.auth().authenticate(Some(credential)).await
}

fn credentials(auth: Option<&str>) -> Credentials {
    auth.and_then(|auth| serde_json::from_str(auth).ok()).unwrap_or_default()
}

/// Notes that somebody is here.
async fn arrive(
    app: &App,
    people: &Mutex<HashMap<String, Here>>,
    socket: &Socket,
    me: Me,
    listening: Listening,
) -> Result<(), AppError> {
    let errands = Errands::here();
    let hearing = Hearing { socket: socket.clone(), listening: listening.clone(), errands };
    let device = app.chat().arrive(&me, Arc::new(hearing)).await?;
    people.lock().insert(socket.id().to_owned(), Here { me, device, listening });
    Ok(())
}

fn say(socket: &Socket, name: &str, fields: &Value) {
    // Whoever left meanwhile needs no answer.
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
                return Ok(Admission { principal, channels: Vec::new(), identify_within_s: Some(within) });
            }
            let me = app.chat().enter(&principal).await?;
            let channels = Listening::new(&me, given.include_own).to_all(app.chat(), &me).await?;
            Ok(Admission { principal, channels, identify_within_s: None })
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
                let me = app.chat().enter(&principal).await?;
                let listening = Listening::new(&me, given.include_own);
                let fields = json!({ "success": true, "user_id": me.id(), "recovered": welcome.recovered });
                arrive(&app, &people, &socket, me, listening).await?;
                say(&socket, "authenticated", &fields);
                Ok::<_, AppError>(())
            };
            if let Err(error) = entered.await {
                say(&socket, "error", &error_fields(&error));
            }
        })
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        let (app, people, here) = (self.app.clone(), Arc::clone(&self.people), self.here(&socket));
        Box::pin(async move {
            let name = incoming.event().name.into_owned();
            let data = incoming.first::<Value>().unwrap_or_default();
            if name == "authenticate" {
                return Some(reply(&authenticate(&app, &people, &socket, here, data).await));
            }
            let Some(here) = here else {
                let fields = json!({ "success": false, "message": "Authentification requise", "code": "unauthenticated" });
                say(&socket, "error", &fields);
                return Some(reply(&fields));
            };
            let outcome = app.chat().obey(&here.me, here.device, &name, data).await;
            let (told, fields) = match outcome {
                Ok(Outcome::Done) => (None, json!({ "success": true })),
                Ok(Outcome::Reply(name, fields)) => (Some(name), fields),
                Ok(Outcome::Join(topic, name, fields)) => {
                    // It may listen already.
                    let _ = socket.join(here.listening.to(&topic)).await;
                    (Some(name), fields)
                }
                Ok(Outcome::Leave(topic, name, fields)) => {
                    socket.leave(&Channel::Topic(topic));
                    (Some(name), fields)
                }
                Err(error) => (Some("error"), error_fields(&error)),
            };
            // Whoever asked for an acknowledgement has it there; an error is told to everybody's handler.
            if let Some(told) = told.filter(|told| !incoming.wants_reply() || *told == "error") {
                say(&socket, told, &fields);
            }
            Some(reply(&fields))
        })
    }

    fn disconnected(&self, socket: &Socket) {
        let Some(here) = self.people.lock().remove(socket.id()) else { return };
        let app = self.app.clone();
        spawn(async move { app.chat().depart(&here.me, here.device).await });
    }
}

fn reply(fields: &Value) -> Reply {
    Reply { arguments: fields.to_string(), ..Reply::default() }
}

/// Lets a client in that connected without a credential. The answer is `authenticated`, or `error` and the end.
async fn authenticate(
    app: &App,
    people: &Mutex<HashMap<String, Here>>,
    socket: &Socket,
    here: Option<Here>,
    data: Value,
) -> Value {
    if let Some(here) = here {
        let fields = json!({ "success": true, "user_id": here.me.id() });
        say(socket, "authenticated", &fields);
        return fields;
    }
    let given: Credentials = serde_json::from_value(data).unwrap_or_default();
    match let_in(app, people, socket, &given).await {
        Ok(fields) => {
            say(socket, "authenticated", &fields);
            fields
        }
        Err(error) => {
            let fields = error_fields(&error);
            say(socket, "error", &fields);
            socket.disconnect();
            fields
        }
    }
}

async fn let_in(
    app: &App,
    people: &Mutex<HashMap<String, Here>>,
    socket: &Socket,
    given: &Credentials,
) -> Result<Value, AppError> {
    let unauthenticated = |message: &str| AppError::new(StatusCode::UNAUTHORIZED, "unauthenticated", message);
    let token = given.token.as_deref().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| unauthenticated("Token requis"))?;
    let principal = bearer(app, token).await.map_err(|_| unauthenticated("Token invalide ou expiré"))?;
    let me = app.chat().enter(&principal).await?;
    let refused = |refused: Refused| AppError::new(StatusCode::FORBIDDEN, "forbidden", refused.message);
    socket.identify(&principal).map_err(refused)?;
    let listening = Listening::new(&me, given.include_own);
    let since: Option<Cursor> = given.since.as_deref().and_then(|since| since.parse().ok());
    let head = app.hub().head();
    arrive(app, people, socket, me.clone(), listening.clone()).await?;
    let mut recovered = since.is_some();
    for subscription in listening.to_all(app.chat(), &me).await? {
        recovered &= socket.join_since(subscription, since.unwrap_or(head)).await.unwrap_or(true);
    }
    Ok(json!({
        "success": true, "user_id": me.id(), "cursor": head.to_string(),
        "recovered": given.since.is_some().then_some(recovered),
    }))
}
