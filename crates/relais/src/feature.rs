//! How a feature plugs in: it declares itself, and `boot`, the router, the API documents and the command line walk the
//! list of the declarations.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use relais_hub::{Hub, Subscription};
use relais_protocol::event::{Channel, Event};
use relais_protocol::time::SharedClock;
use relais_store::jobs::schedule::{CatchUp, Schedule};
use relais_store::jobs::{Job, JobKind, Outcome, Rule};
use relais_store::{Migration, Store, StoreError};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::app::Services;
use crate::asyncapi::Part;
use crate::auth::{Auth, Principal, TopicFamily, User};
use crate::config::Config;
use crate::finding::Finding;
use crate::folder_lock::{FolderLock, FolderLockError};
use crate::terminal::Command;
use crate::{App, AppError};

/// A principal's subscription to a channel; none if the channel does not belong to the feature.
pub type Subscribing<'a> = BoxFuture<'a, Result<Option<Subscription>, AppError>>;

/// What is looked up.
pub type LookUp<'a, T, E> = BoxFuture<'a, Result<T, E>>;

/// What a feature, or a dialect in which features are spoken to, brings. What it does not have it leaves out:
/// `Feature { routes: …, ..Feature::named("shop") }`.
pub struct Feature {
    /// Its name, as its folder has it.
    pub name: &'static str,
    /// Its tables.
    pub migrations: &'static [&'static [Migration]],
    /// Opens its service, before anything is served. The features before it in the list are open.
    pub open: for<'a> fn(&'a mut Opening) -> BoxFuture<'a, Result<(), OpenError>>,
    /// Its families of topics: who may subscribe and publish there.
    pub topics: &'static [TopicFamily],
    /// Names of events that it alone publishes, on whichever topic.
    pub event_names: &'static [&'static str],
    /// Whether a principal may subscribe to a channel, if its family does not decide that: their subscription.
    pub subscribe: for<'a> fn(&'a App, &'a Principal, &'a Channel) -> Subscribing<'a>,
    /// The messages it handles on sockets.
    pub messages: &'static [Message],
    /// Principals whose presence this one does not see.
    pub hidden_from: for<'a> fn(&'a App, &'a User) -> LookUp<'a, HashSet<String>, AppError>,
    /// Where the addresses begin that it has from an earlier system, whose errors are in French
    /// ([`FrenchAddresses`](crate::said::FrenchAddresses)).
    pub french: &'static [&'static str],
    /// Its calls, each with what the OpenAPI document says of it.
    pub routes: fn() -> OpenApiRouter<App>,
    /// Its sockets, of which the AsyncAPI document tells.
    pub sockets: fn(&App) -> Router<App>,
    /// What goes over its sockets and streams.
    pub asyncapi: fn() -> Part,
    /// The durable jobs that it has done.
    pub jobs: &'static [JobHandler],
    /// What it does beside requests, each until the token is cancelled.
    pub tasks: fn(&App, &CancellationToken) -> Vec<BoxFuture<'static, ()>>,
    /// Sets its gauges, before `/metrics` is read.
    pub gauges: fn(&App),
    /// The server begins to stop: waiting operations end.
    pub stopping: fn(&App),
    /// Writes what is only in memory, when nothing more comes.
    pub flush: fn(&App) -> BoxFuture<'_, Result<(), StoreError>>,
    /// Forgets what belongs to events that were just trimmed from the log.
    pub trimmed: fn(&App) -> BoxFuture<'_, Result<(), StoreError>>,
    /// What is told of an event, if that is not what the log has.
    pub expand: fn(&Event) -> Option<Event>,
    /// Its commands on the command line.
    pub commands: &'static [Command],
    /// What `relais doctor` tries out of what the settings name, without a server.
    pub checks: for<'a> fn(&'a Config) -> BoxFuture<'a, Vec<Finding>>,
    /// Rows that cannot be read and are left out, for `relais doctor`.
    pub unreadable_rows: fn(&Store) -> LookUp<'_, Vec<String>, StoreError>,
}

impl Feature {
    /// A feature that brings nothing but its name.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            migrations: &[],
            open: |_| Box::pin(async { Ok(()) }),
            topics: &[],
            event_names: &[],
            subscribe: |_, _, _| Box::pin(async { Ok(None) }),
            messages: &[],
            hidden_from: |_, _| Box::pin(async { Ok(HashSet::new()) }),
            french: &[],
            routes: OpenApiRouter::new,
            sockets: |_| Router::new(),
            asyncapi: || Part { channels: json!({}), operations: json!({}), messages: json!({}) },
            jobs: &[],
            tasks: |_, _| Vec::new(),
            gauges: |_| {},
            stopping: |_| {},
            flush: |_| Box::pin(async { Ok(()) }),
            trimmed: |_| Box::pin(async { Ok(()) }),
            expand: |_| None,
            commands: &[],
            checks: |_| Box::pin(async { Vec::new() }),
            unreadable_rows: |_| Box::pin(async { Ok(Vec::new()) }),
        }
    }
}

/// A message from clients on a socket.
pub struct Message {
    /// What it is called.
    pub name: &'static str,
    /// Handles it for its sender; the answer is an object.
    pub handle: for<'a> fn(&'a App, &'a Principal, Value) -> BoxFuture<'a, Result<Value, AppError>>,
}

/// A kind of durable job, and who does it.
pub struct JobHandler {
    /// The kind.
    pub kind: JobKind,
    /// When it comes again by itself, if it does.
    pub schedule: fn() -> Option<Schedule>,
    /// Does one. It may run more than once for a job.
    pub run: for<'a> fn(&'a App, Job) -> BoxFuture<'a, Outcome>,
}

/// Once an hour by one server, and once for all hours that were missed.
#[must_use]
pub fn hourly() -> Option<Schedule> {
    let rule = Rule::every(Duration::from_secs(3600)).ok()?;
    Some(Schedule { name: "hourly".into(), payload: "{}".into(), rule, catch_up: CatchUp::Once })
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
    /// The folders that no other server has while this one runs.
    pub folders: Vec<FolderLock>,
}

/// Why a service could not be opened, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub String);

impl From<FolderLockError> for OpenError {
    fn from(error: FolderLockError) -> Self {
        Self(error.to_string())
    }
}

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

    /// Whether an event from outside speaks of something of which this feature alone does. Called before it is
    /// published, by whoever publishes it.
    fn is_sole_source(&self, name: &str, data: &Map<String, Value>) -> bool {
        let _ = (name, data);
        false
    }
}

/// The observers of the log, in the order in which they are notified.
#[derive(Clone, Default)]
pub struct Observers(Arc<parking_lot::RwLock<Vec<Arc<dyn Observer>>>>);

impl Observers {
    /// Adds one, which is notified last.
    pub fn add(&self, observer: impl Observer + 'static) {
        self.0.write().push(Arc::new(observer));
    }

    /// Does something with each.
    pub fn for_each(&self, notify: impl Fn(&dyn Observer)) {
        self.0.read().iter().for_each(|observer| notify(&**observer));
    }

    /// Whether the function returns true for one of them.
    pub fn any(&self, says: impl Fn(&dyn Observer) -> bool) -> bool {
        self.0.read().iter().any(|observer| says(&**observer))
    }
}
