//! Socket.IO at `/socket.io/`, with the server's settings and the declared namespaces.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use relais_hub::Session;
use relais_protocol::engineio::PayloadLimits;
use relais_protocol::socketio::Limits;

use super::{Namespaces, Settings, SocketIo};
use crate::auth::Principal;
use crate::auth::http::{Visitor, shows_credential};
use crate::config::{Config, SocketIoConfig};
use crate::gateways::belongs_to;
use crate::gateways::engineio::{Callers, Endpoint, Settings as EngineSettings};
use crate::{App, AppError};

/// The routes of Socket.IO.
pub(in crate::gateways) fn router(app: &App, namespaces: Namespaces) -> Router<App> {
    let callers: Arc<dyn Callers> = Arc::new(AppCallers(app.clone()));
    let server = SocketIo::new(settings(&app.config().socketio), Arc::clone(&callers)).with_all(namespaces);
    Endpoint::new(app.hub().clone(), engine_settings(app.config()), callers, server.serve())
        .router("/socket.io/")
}

fn settings(config: &SocketIoConfig) -> Settings {
    let limits = Limits {
        packet_bytes: config.message_bytes,
        attachments: config.attachments_max,
        attachment_bytes: config.attachment_bytes,
        ..Limits::default()
    };
    Settings {
        limits,
        connect_within_s: config.connect_timeout_s,
        namespaces_max: config.namespaces_max,
        events_per_s: config.events_per_s,
        ack_timeout: Duration::from_secs(config.ack_timeout_s),
        recovery: config.recovery,
        ..Settings::default()
    }
}

/// Clients are sent the hub's intervals: it pings every interval and closes a client that was silent for longer than
/// both together.
fn engine_settings(config: &Config) -> EngineSettings {
    let (interval_s, idle_s) = (config.hub.ping_interval_s, config.hub.idle_timeout_s);
    EngineSettings {
        ping_interval: Duration::from_secs(interval_s.into()),
        ping_timeout: Duration::from_secs(idle_s.saturating_sub(interval_s).into()),
        upgrade_timeout: Duration::from_secs(config.socketio.upgrade_timeout_s),
        payload: PayloadLimits { bytes: config.socketio.message_bytes, ..PayloadLimits::default() },
        allow_v3: config.socketio.allow_eio3,
        deflate: config.socketio.compression,
    }
}

/// Authenticates callers, by the credentials that any other request may carry.
struct AppCallers(App);

impl Callers for AppCallers {
    fn caller<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        Box::pin(async move {
            // A page of a foreign origin could not read the response, but would hold a connection open.
            if !shows_credential(&request.headers)
                && !crate::web::origins::is_known_origin(
                    &request.headers,
                    &request.extensions,
                    &self.0.config().server.allowed_origins,
                )
            {
                return Err(crate::web::origins::origin_refused());
            }
            Visitor::of(request, self.0.auth(), self.0.config()).await.map(|visitor| visitor.0)
        })
    }

    fn presenter<'a>(&'a self, request: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        Box::pin(async move {
            Visitor::returning(request, self.0.auth(), self.0.config()).await.map(|visitor| visitor.0)
        })
    }

    fn expects_names(&self) -> bool {
        true
    }

    fn identified(&self, principal: &Principal, session: &Arc<Session>) {
        belongs_to(&self.0, principal, session);
    }
}
