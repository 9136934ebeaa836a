//! How a feature plugs in: it declares itself, and `boot`, the router, the API documents and the command line walk the
//! list of the declarations ([`crate::features::ALL`], [`crate::gateways::DIALECTS`]).

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use futures_util::future::BoxFuture;
use relais_hub::{Hub, Subscription};
use relais_protocol::event::{Channel, Event};
use relais_protocol::time::SharedClock;
use relais_store::{Migration, Store, StoreError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::Services;
use crate::asyncapi::Part;
use crate::auth::{Auth, Principal, User};
use crate::config::Config;
use crate::{App, AppError};

/// What somebody hears of a channel; nothing if the channel is not the feature's to give.
pub type Subscribing<'a> = BoxFuture<'a, Result<Option<Subscription>, AppError>>;

/// What is found in the database.
pub type Finding<'a, T, E> = BoxFuture<'a, Result<T, E>>;

/// What a feature, or a dialect in which features are spoken to, brings. What it does not have it leaves out:
/// `Feature { routes: …, ..Feature::named("shop") }`.
pub struct Feature {
    /// Its name, as its folder has it.
    pub name: &'static str,
    /// Its tables.
    pub migrations: &'static [&'static [Migration]],
    /// Opens its service, before anything is served. The features before it in the list are open.
    pub open: for<'a> fn(&'a mut Opening) -> BoxFuture<'a, Result<(), OpenError>>,
    /// Names of events that it alone publishes, on whichever topic.
    pub event_names: &'static [&'static str],
    /// Whether somebody may hear a channel, if that is not for the policy to say: what they hear of it.
    pub subscribe: for<'a> fn(&'a App, &'a Principal, &'a Channel) -> Subscribing<'a>,
    /// Principals whose presence this one does not see.
    pub hidden_from: for<'a> fn(&'a App, &'a User) -> Finding<'a, HashSet<String>, AppError>,
    /// Its calls and sockets.
    pub routes: fn(&App) -> Router<App>,
    /// What its calls are, in parts that are merged.
    pub openapi: fn() -> Vec<utoipa::openapi::OpenApi>,
    /// What goes over its sockets and streams.
    pub asyncapi: fn() -> Part,
    /// What it does beside requests, each until the token is cancelled.
    pub tasks: fn(&App, &CancellationToken) -> Vec<BoxFuture<'static, ()>>,
    /// Sets its gauges, before `/metrics` is read.
    pub gauges: fn(&App),
    /// The server begins to stop: what waits for something to come waits no longer.
    pub stopping: fn(&App),
    /// Writes what is only in memory, when nothing more comes.
    pub flush: fn(&App) -> BoxFuture<'_, Result<(), StoreError>>,
    /// Forgets what belongs to events that were just trimmed from the log.
    pub trimmed: fn(&App) -> BoxFuture<'_, Result<(), StoreError>>,
    /// What is told of an event, if that is not what the log has.
    pub told: fn(&Event) -> Option<Event>,
    /// Rows that cannot be read and are left out, for `relais doctor`.
    pub unreadable_rows: fn(&Store) -> Finding<'_, Vec<String>, StoreError>,
}

impl Feature {
    /// A feature that brings nothing but its name.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            migrations: &[],
            open: |_| Box::pin(async { Ok(()) }),
            event_names: &[],
            subscribe: |_, _, _| Box::pin(async { Ok(None) }),
            hidden_from: |_, _| Box::pin(async { Ok(HashSet::new()) }),
            routes: |_| Router::new(),
            openapi: Vec::new,
            asyncapi: || Part { channels: json!({}), operations: json!({}), messages: json!({}) },
            tasks: |_, _| Vec::new(),
            gauges: |_| {},
            stopping: |_| {},
            flush: |_| Box::pin(async { Ok(()) }),
            trimmed: |_| Box::pin(async { Ok(()) }),
            told: |_| None,
            unreadable_rows: |_| Box::pin(async { Ok(Vec::new()) }),
        }
    }
}

/// What a service is opened with.
pub struct Opening {
    /// The settings.
    pub config: Arc<Config>,
    /// The time.
    pub clock: SharedClock,
    /// The database.
    pub store: Store,
    /// Live sessions.
    pub hub: Hub,
    /// Who may do what.
    pub auth: Auth,
    /// The services that are open.
    pub services: Services,
    /// Who follows the log.
    pub observers: Observers,
}

/// Why a service could not be opened, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self(format!("database: {error}"))
    }
}

/// Follows what is committed, by this process or another. Called on the thread that hands out events, in the order of
/// the log: it never waits.
pub trait Observer: Send + Sync {
    /// An event was committed and is published next.
    fn committed(&self, event: &Event) {
        let _ = event;
    }

    /// The event was published: what is published from now on reaches subscribers after it.
    fn published(&self, event: &Event) {
        let _ = event;
    }

    /// Another process has committed this, before it is published here.
    fn caught_up(&self, event: &Event) {
        let _ = event;
    }
}

/// Those who follow the log, in the order in which they are told.
#[derive(Clone, Default)]
pub struct Observers(Arc<parking_lot::RwLock<Vec<Arc<dyn Observer>>>>);

impl Observers {
    /// Adds one, who is told last.
    pub fn add(&self, observer: impl Observer + 'static) {
        self.0.write().push(Arc::new(observer));
    }

    /// Does something with each.
    pub fn for_each(&self, tell: impl Fn(&dyn Observer)) {
        self.0.read().iter().for_each(|observer| tell(&**observer));
    }
}
