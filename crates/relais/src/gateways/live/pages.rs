//! Pages that show modules, on Socket.IO: what they ask for, and where they listen.
//!
//! Who somebody is comes from their session or token alone; what a page says of its user counts for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use relais_hub::{Joined, StartPosition};
use relais_protocol::event::Cursor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::page::{Page, PageRequest, whole};
use crate::aliases::{Aliased, United, unite};
use crate::auth::{Principal, unauthenticated};
use crate::error::said_back;
use crate::features::accounts::Actor;
use crate::features::live::{Claim, Live, NewClaim, NewCommand, Visibility};
use crate::gateways::socketio::{Because, Guest, Incoming, Namespace, Reply, Socket};
use crate::said::{Said, said};
use crate::{App, AppError};

/// What pages say.
const EVENTS: &[&str] = &[
    "client:authenticate",
    "client:sync:request",
    "client:page:changed",
    "register_page",
    "request_stats",
    "request_module_states",
    "request_state_sync",
    "send_module_command",
    "module_claim",
];

/// What is read of a command; pages say more, which counts for nothing.
const COMMAND_FIELDS: &[&str] = &["command", "params", "client_id", "ttl_s", "delivery"];

impl Aliased for ModuleRequest {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = Claim::ALIASES;
}

/// The pages that are open, by the ids of their sockets. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pages {
    app: App,
    open: Arc<Mutex<HashMap<String, Page>>>,
}

/// A module, and what is to be done with it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ModuleRequest {
    #[serde(rename = "moduleId")]
    module_id: String,
    code: Option<String>,
    name: Option<String>,
}

/// A command, as it is read field by field.
#[derive(Deserialize)]
struct CommandRequest {}

impl Aliased for CommandRequest {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("moduleId", &["module_id"])];
}

/// What a client knows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LastKnown {
    version: Option<u64>,
}

/// One message of a page, and who it is from.
struct Asked<'a> {
    socket: &'a Socket,
    principal: Principal,
    data: Value,
}

impl Pages {
    pub(super) fn new(app: App) -> Self {
        Self { app, open: Arc::default() }
    }

    /// The token with which somebody wants to be let in who has no session; pages of today have one.
    fn token(name: &str, incoming: &Incoming) -> Option<String> {
        let asks =
            (name == "client:authenticate").then(|| incoming.first::<PageRequest>().unwrap_or_default());
        asks?.token.filter(|token| !token.is_empty())
    }

    /// A page left.
    fn closed(&self, socket: &Socket) {
        self.open.lock().remove(socket.id());
    }

    /// Does what a page asks for; the answer for those who want an acknowledgement.
    async fn handle(&self, socket: &Socket, name: &str, incoming: &Incoming) -> Value {
        let data = match incoming.value() {
            Ok(data) => data,
            Err(error) => return Self::refuse(socket, name, &error),
        };
        let asked = Asked { socket, principal: socket.principal(), data };
        let done = match name {
            "client:authenticate" => self.authenticate(&asked).await,
            "client:sync:request" => self.synchronize(&asked).await,
            "client:page:changed" | "register_page" => self.register(&asked).await,
            "request_stats" => self.send_stats(&asked),
            "request_module_states" => self.send_states(&asked),
            "request_state_sync" => self.send_changes(&asked),
            "module_claim" => self.claim(&asked).await,
            _ => self.command(&asked).await,
        };
        done.unwrap_or_else(|error| match name {
            "send_module_command" => refuse_command(&asked, &error),
            _ => Self::refuse(socket, name, &error),
        })
    }

    /// Tells a page why something is not done; the answer for those who want an acknowledgement.
    fn refuse(socket: &Socket, name: &str, error: &AppError) -> Value {
        let fields = json!({ "success": false, "message": error.french(), "code": error.code() });
        let told = match name {
            "client:authenticate" => "client:auth:error",
            "client:sync:request" => "client:sync:error",
            _ => "error",
        };
        say(socket, told, &fields);
        fields
    }

    async fn authenticate(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        if asked.principal.is_anonymous() {
            return Err(unauthenticated(said!("Session ou token requis", "Session or token required")));
        }
        let page = self.open_page(asked).await?;
        let fields =
            json!({ "success": true, "message": "Authentifié", "timestamp": self.app.clock().now() });
        say(asked.socket, "client:auth:success", &fields);
        self.send_all(asked.socket, &page).await?;
        Ok(fields)
    }

    async fn synchronize(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        let page = self.page(asked).await?;
        self.send_all(asked.socket, &page).await?;
        let fields = json!({ "success": true, "timestamp": self.app.clock().now() });
        say(asked.socket, "client:sync:success", &fields);
        Ok(fields)
    }

    async fn register(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        let page = self.open_page(asked).await?;
        Ok(json!({ "success": true, "page": page.name }))
    }

    fn send_stats(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        let fields = self.app.service::<Live>().simple_statistics(&Visibility::of(&asked.principal)?);
        say(asked.socket, "simple_stats_update", &fields);
        Ok(json!({ "success": true }))
    }

    fn send_states(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        self.send_snapshot(asked, "module_states_sync", None)
    }

    fn send_changes(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        // Pages that know no version say something else: they get everything.
        let known: LastKnown = serde_json::from_value(asked.data.clone()).unwrap_or_default();
        self.send_snapshot(asked, "state_sync_response", known.version)
    }

    fn send_snapshot(&self, asked: &Asked<'_>, name: &str, since: Option<u64>) -> Result<Value, AppError> {
        let visibility = Visibility::of(&asked.principal)?;
        let live = self.app.service::<Live>();
        let stats = live.simple_statistics(&visibility);
        live.snapshot(&visibility, since, |snapshot| {
            // Whoever left meanwhile needs nothing.
            let _ = asked.socket.emit_snapshot(name, &snapshot.fields(&[("stats", stats)]));
        });
        Ok(json!({ "success": true }))
    }

    /// Everything that a page begins with.
    async fn send_all(&self, socket: &Socket, page: &Page) -> Result<(), AppError> {
        let live = self.app.service::<Live>();
        match page.name.as_deref() {
            Some("admin") => {
                let statistics = live.statistics().await?;
                say(
                    socket,
                    "admin:initial:stats",
                    &json!({ "stats": statistics, "timestamp": self.app.clock().now() }),
                );
            }
            Some("dashboard") => {
                say(socket, "dashboard:initial:summary", &live.simple_statistics(&page.visibility));
            }
            _ => {}
        }
        send_initial(live, socket, &page.visibility);
        Ok(())
    }

    /// The page that somebody looks at, now opened if there was none.
    async fn page(&self, asked: &Asked<'_>) -> Result<Page, AppError> {
        let known = self.open.lock().get(asked.socket.id()).cloned();
        match known {
            Some(page) => Ok(page),
            None => self.open_page(asked).await,
        }
    }

    /// Listens to what a page shows, in place of what it showed before.
    async fn open_page(&self, asked: &Asked<'_>) -> Result<Page, AppError> {
        let socket = asked.socket;
        let former = self.open.lock().get(socket.id()).cloned();
        let request = PageRequest::read(&asked.data)?;
        let page = Page::of(&self.app, &asked.principal, former.as_ref(), &request)?;
        let (wanted, heard) = (page.channels(), socket.channels());
        let since = request.since.as_deref().and_then(|since| since.parse().ok());
        let new = wanted.iter().filter(|channel| !heard.contains(channel)).cloned().map(whole);
        let new: Vec<_> = new.collect();
        let registered = |cursor: Cursor, recovered: bool| {
            let recovered = request.since.is_some().then_some(recovered);
            json!({ "page": page.name, "cursor": cursor.to_string(), "recovered": recovered })
        };
        if new.is_empty() {
            // What it hears already cannot be told from another place on.
            say(socket, "page_registered", &registered(self.app.hub().head(), false));
        } else {
            let welcome = |joined: &Joined| {
                let recovered = joined.recovered && since.is_some();
                // Until the missed events are there the page stands where it said.
                let cursor = since.filter(|_| recovered).unwrap_or(joined.cursor);
                ("page_registered", registered(cursor, recovered).to_string())
            };
            let from = since.map_or(StartPosition::Now, StartPosition::Cursor);
            socket.join_welcomed(new, Because::Asked, from, welcome).await?;
        }
        let left = former.as_ref().map(Page::channels).unwrap_or_default();
        left.iter().filter(|channel| !wanted.contains(channel)).for_each(|channel| socket.leave(channel));
        if former.is_some_and(|former| former.tier != page.tier) {
            // What waited for its moment at the former pace.
            self.send_snapshot(asked, "module_states_sync", None)?;
        }
        self.open.lock().insert(socket.id().to_owned(), page.clone());
        // Whoever leaves from here on is taken out by `closed`.
        if !socket.is_in() {
            self.closed(socket);
        }
        Ok(page)
    }

    /// With a code somebody becomes the owner of a module; without one, who may give it away gets a new code.
    async fn claim(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        let United(request) = match &asked.data {
            data @ Value::Object(_) => serde_json::from_value::<United<ModuleRequest>>(data.clone())
                .map_err(|error| {
                    let why = Said::carried_in(&error.to_string());
                    let message = said!("Demande illisible : {}", "The request cannot be read: {}"; why);
                    AppError::bad_request("invalid_value", message)
                })?,
            _ => United::default(),
        };
        let actor = Actor::caller(self.app.auth(), &asked.principal, Some(asked.socket.address()));
        let modules = self.app.service::<Live>().modules();
        let (module, code) = match (&request.code, &asked.principal) {
            (Some(code), Principal::User(user)) => {
                let module_id = Some(request.module_id).filter(|id| !id.is_empty());
                let claim = NewClaim { code: code.clone(), module_id, name: request.name };
                (modules.claim(user, &actor, claim).await?.id, Some(code.clone()))
            }
            _ => {
                let visibility = Visibility::of(&asked.principal)?;
                let code = modules.offer(&visibility, &actor, &request.module_id).await?;
                (request.module_id.clone(), Some(code))
            }
        };
        let fields = json!({ "success": true, "moduleId": module, "code": code });
        say(asked.socket, "claim_ack", &fields);
        Ok(fields)
    }

    /// Stored first, and sent at once. One with a time to live waits for a device that is away; any other is refused
    /// then, so that nothing moves when nobody expects it.
    async fn command(&self, asked: &Asked<'_>) -> Result<Value, AppError> {
        let unreadable = |why: Said| {
            let message = said!("Commande illisible : {}", "The command cannot be read: {}"; why);
            AppError::bad_request("invalid_value", message)
        };
        let said = asked.data.as_object().cloned().unwrap_or_default();
        let mut said = unite::<CommandRequest>(said).map_err(unreadable)?;
        let module_id = match said.remove("moduleId") {
            None => return Err(unreadable(said!("« moduleId » manque", "\"moduleId\" is missing"))),
            Some(Value::String(id)) => id,
            Some(_) => {
                let why = said!("« moduleId » : un texte est attendu", "\"moduleId\": a text is expected");
                return Err(unreadable(why));
            }
        };
        said.retain(|name, _| COMMAND_FIELDS.contains(&name.as_str()));
        let new: NewCommand = serde_json::from_value(Value::Object(said))
            .map_err(|error| unreadable(Said::carried_in(&error.to_string())))?;
        let actor = Actor::caller(self.app.auth(), &asked.principal, Some(asked.socket.address()));
        let visibility = Visibility::of(&asked.principal)?;
        let live = self.app.service::<Live>();
        let command = match new.ttl_s {
            Some(_) => live.command(&visibility, &actor, &module_id, new).await?,
            None => live.command_now(&visibility, &actor, &module_id, new).await?,
        };
        let fields = json!({
            "success": true, "moduleId": module_id, "command": command.command, "id": command.id,
            "state": command.state, "timestamp": command.created_at,
        });
        say(asked.socket, "command_sent", &fields);
        Ok(fields)
    }
}

impl Guest for Pages {
    fn knows(&self, name: &str) -> bool {
        EVENTS.contains(&name)
    }

    fn event(
        &self,
        host: Arc<dyn Namespace>,
        socket: Socket,
        incoming: Incoming,
    ) -> BoxFuture<'static, Option<Reply>> {
        let pages = self.clone();
        Box::pin(async move {
            let name = incoming.event().name.into_owned();
            if let Some(token) = Self::token(&name, &incoming) {
                // Whoever is in stays in, with what they came with.
                let stays = !socket.principal().is_anonymous();
                if let Err(error) = host.identify(socket.clone(), token).await {
                    let refused = Self::refuse(&socket, &name, &error);
                    if !stays {
                        socket.disconnect();
                    }
                    return Some(Reply::json(&refused));
                }
            }
            Some(Reply::json(&pages.handle(&socket, &name, &incoming).await))
        })
    }

    fn disconnected(&self, socket: &Socket) {
        self.closed(socket);
    }
}

fn refuse_command(asked: &Asked<'_>, error: &AppError) -> Value {
    let named = |names: &[&str]| {
        names.iter().find_map(|name| asked.data.get(name).filter(|value| !value.is_null())).map(said_back)
    };
    let fields = json!({
        "success": false, "moduleId": named(&["moduleId", "module_id"]), "command": named(&["command"]),
        "error": error.french(), "code": error.code(),
    });
    say(asked.socket, "command_error", &fields);
    fields
}

fn send_initial(live: &Live, socket: &Socket, visibility: &Visibility) {
    live.snapshot(visibility, None, |snapshot| {
        let _ = socket.emit_snapshot("modules:initial:state", &snapshot.states());
    });
}

fn say(socket: &Socket, name: &str, fields: &Value) {
    // Whoever left meanwhile needs no answer.
    let _ = socket.emit(name, &fields.to_string());
}
