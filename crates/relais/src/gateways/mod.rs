//! Live connections: how clients connect, and their protocols.
//!
//! A gateway turns a request into a session of the hub; a dialect turns events into frames and frames into commands. No
//! feature knows which of them carried a command. All gateways refuse a client in the same way when no session is
//! available.

mod chat;
mod dialects;
pub mod engineio;
mod event_stream;
mod live;
mod membership;
mod mqtt;
mod native;
mod opening;
mod poll;
mod relay;
pub mod socketio;
pub mod upgrade;
mod websocket;

use std::sync::Arc;

use axum::http::StatusCode;
use relais_hub::{CloseCode, CloseReason, Identity, OpenError, Session, SubscribeError};

use crate::auth::Principal;
use crate::auth::ending::rights_changed;
use crate::feature::Feature;
use crate::features;
use crate::said::{Said, said};
use crate::tasks::spawn;
use crate::{App, AppError};

/// The code of what was to be done for a connection that is gone.
const CONNECTION_ENDED: &str = "connection_ended";
/// How often rights may change while a stream is opened, before its client is told to try again.
const RIGHTS_CHANGES_MAX: u32 = 3;

/// How the server is spoken to beside the calls of the features, a line each.
pub const DIALECTS: [&DialectFeature; 7] = [
    &SOCKETIO,
    &chat::DIALECT,
    &live::DIALECT,
    &relay::DIALECT,
    &native::DIALECT,
    &poll::DIALECT,
    &mqtt::DIALECT,
];

/// The declaration of a dialect: as for a feature, with its additions to Socket.IO.
pub struct DialectFeature {
    /// What every feature has.
    pub feature: Feature,
    /// Adds its Socket.IO namespaces, and its subscriptions in others.
    namespaces: fn(&App, &mut socketio::Namespaces),
}

impl DialectFeature {
    const fn of(feature: Feature) -> Self {
        Self { feature, namespaces: |_, _| {} }
    }
}

/// Socket.IO, with the namespaces of all dialects and the messages of all features.
const SOCKETIO: DialectFeature = DialectFeature {
    feature: Feature {
        french: &["/socket.io"],
        sockets: |app| {
            let mut namespaces = socketio::Namespaces::default();
            DIALECTS.iter().for_each(|dialect| (dialect.namespaces)(app, &mut namespaces));
            socketio::router(app, namespaces)
        },
        ..Feature::named("socketio")
    },
    namespaces: |app, namespaces| {
        let messages = features::ALL.into_iter().flat_map(|feature| feature.messages);
        namespaces.join("/", Arc::new(socketio::Messages::new(app.clone(), messages)));
    },
};

/// Why a connection is closed that sends more than its token bucket has.
fn too_fast(per_second: u32) -> CloseReason {
    CloseReason::new(CloseCode::Policy, format!("more than {per_second} messages per second"))
}

/// Runs a connection. It ends with its socket, which the hub closes when the server drains.
fn spawn_connection(connection: impl Future<Output = ()> + Send + 'static) {
    #[expect(clippy::disallowed_methods, reason = "the hub knows every session, and ends it")]
    tokio::spawn(connection);
}

/// Runs work that was triggered on a thread outside of the runtime.
#[derive(Clone)]
struct Errands(tokio::runtime::Handle);

impl Errands {
    /// Those of the current runtime.
    fn here() -> Self {
        Self(tokio::runtime::Handle::current())
    }

    fn run(&self, errand: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(errand);
    }
}

fn identity(principal: &Principal) -> Identity {
    match principal {
        Principal::Anonymous => Identity::anonymous(),
        Principal::User(user) => {
            Identity { sign_in: user.session.clone(), ..Identity::of(&user.principal_id) }
        }
        Principal::Service(service) => Identity::of(&service.principal_id),
    }
}

/// Assigns a session to a principal: it ends with their credential, and with their rights at that time.
fn belongs_to(app: &App, principal: &Principal, session: &Arc<Session>) {
    if let Some(at) = principal.expires_at() {
        app.expiries().add(app.clock().moment().steady_at(at), session);
    }
    if principal.is_anonymous() {
        return;
    }
    let (app, principal, session) = (app.clone(), principal.clone(), Arc::clone(session));
    let now = app.clock().now();
    spawn("rights", async move {
        match app.auth().is_current(&principal, now).await {
            Ok(true) => {}
            Ok(false) => app.hub().close(&session, rights_changed()),
            Err(error) => {
                tracing::debug!(%error, "whether rights are current could not be read");
                app.hub().close(&session, CloseCode::TryLater);
            }
        }
    });
}

/// Renews a session with another credential of its principal: it lasts as long as that does. With other rights the
/// session ends, since its subscriptions were allowed by the former ones; returns whether it continues.
fn renew(app: &App, known: &Principal, principal: &Principal, session: &Arc<Session>) -> bool {
    let goes_on = known.has_rights_of(principal);
    if goes_on {
        belongs_to(app, principal, session);
    } else {
        app.hub().close(session, rights_changed());
    }
    goes_on
}

/// Opens a stream with the rights that hold. A change of somebody's rights ends all their sessions, also one that is just
/// being made, whose client has nothing yet over which it could be told to come back: it is made anew with the rights of
/// then, or refused by them.
///
/// # Errors
/// Those of `open`, and 401 if the credential counts no more.
async fn open_as<T, F>(app: &App, caller: Principal, open: impl Fn(Principal) -> F) -> Result<T, AppError>
where
    F: Future<Output = Result<T, AppError>>,
{
    let mut principal = caller;
    let mut changes_left = RIGHTS_CHANGES_MAX;
    loop {
        let error = match open(principal.clone()).await {
            Err(error) if error.code() == CONNECTION_ENDED => error,
            opened => return opened,
        };
        if !app.is_accepting() {
            return Err(stopping("the server is stopping: connect again in a moment".to_owned()));
        }
        if changes_left == 0 {
            return Err(error);
        }
        changes_left -= 1;
        principal = app.auth().renewed(&principal).await?;
    }
}

fn stopping(text: String) -> AppError {
    AppError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", Said::in_english(text)).retry_after(2)
}

/// A connection is one person's: what it listens to was allowed to them.
fn other_identity() -> AppError {
    let message = said!(
        "Cette connexion est celle de quelqu'un d'autre : ouvrez-en une autre",
        "This connection is somebody else's: open another one"
    );
    AppError::conflict("other_identity", message)
}

/// Describes what in the JSON of a client cannot be represented here. JSON may contain half of a surrogate pair (RFC
/// 8259, section 8.2), which is no character: an application cut a text in the middle of one.
fn unreadable(error: &serde_json::Error) -> AppError {
    if error.to_string().contains("hex escape") {
        let message = said!(
            "Un texte contient la moitié d'un caractère (un code \\ud800 à \\udfff seul) : coupez les textes entre \
             deux caractères",
            "A text contains half of a character (a code from \\ud800 to \\udfff alone): cut texts between two \
             characters"
        );
        return AppError::bad_request("invalid_text", message);
    }
    AppError::bad_request("invalid_command", said!("Valeur illisible : {error}", "Unreadable value: {error}"))
}

impl From<OpenError> for AppError {
    fn from(error: OpenError) -> Self {
        let text = said!("Connexion refusée : {error}", "Connection refused: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", text).retry_after(5)
    }
}

impl From<SubscribeError> for AppError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::AlreadySubscribed(_)
            | SubscribeError::TooManySubscriptions(_)
            | SubscribeError::NotATopic(_) => {
                Self::bad_request("subscription_refused", Said::in_english(error.to_string()))
            }
            SubscribeError::SessionClosed => {
                let text = said!(
                    "La connexion est terminée entre-temps : reconnectez-vous",
                    "The connection has ended meanwhile: connect again"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, CONNECTION_ENDED, text).retry_after(2)
            }
            SubscribeError::Stopped => stopping(error.to_string()),
            SubscribeError::Log(_) => Self::internal(error),
        }
    }
}
