//! What the handlers share.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::FromRef;
use relais_hub::Hub;
use relais_protocol::event::Cursor;
use relais_protocol::time::SharedClock;
use relais_store::Store;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::auth::expiry::Expiries;
use crate::config::Config;

/// The parts of the running application. Cheap to clone; made once, in `boot`.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
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
    /// What the features do.
    pub services: Services,
    /// Moves with every event that was published, for those who wait for one.
    pub heads: watch::Receiver<Cursor>,
    /// Sessions that end when their credential does.
    pub expiries: Arc<Expiries>,
    /// Whether the server takes requests; false while it drains.
    pub accepting: watch::Receiver<bool>,
    /// Requests that wait for an event.
    pub polls_waiting: Arc<AtomicUsize>,
    /// What `/metrics` shows.
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
}

/// What the features do, each found by its type.
#[derive(Default)]
pub struct Services(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Services {
    /// Adds the service of a feature.
    pub fn add<T: Any + Send + Sync>(&mut self, service: T) {
        self.0.insert(TypeId::of::<T>(), Box::new(service));
    }

    /// The service of a feature that is before the asking one in the list of features.
    #[must_use]
    pub fn require<T: Any + Send + Sync>(&self) -> &T {
        self.find().unwrap_or_else(|| unreachable!("{} was not opened", type_name::<T>()))
    }

    fn find<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Live sessions.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// Who may do what.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// The service of a feature. `boot` opens them all before anybody can ask.
    #[must_use]
    pub fn service<T: Any + Send + Sync>(&self) -> &T {
        self.0.services.require()
    }

    /// Moves with every event that was published.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Cursor> {
        self.0.heads.clone()
    }

    /// Sessions that end when their credential does.
    #[must_use]
    pub fn expiries(&self) -> &Arc<Expiries> {
        &self.0.expiries
    }

    /// Whether the server takes requests; false while it drains.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        *self.0.accepting.borrow()
    }

    /// Returns when the server stops accepting requests: requests waiting for an event then answer.
    pub async fn stopping(&self) {
        let _ = self.0.accepting.clone().wait_for(|accepting| !accepting).await;
    }

    /// Waits for the next event after the one that `heads` has seen, until `deadline` or the server stops. Returns
    /// whether there is one.
    pub async fn next_event(
        &self,
        heads: &mut watch::Receiver<Cursor>,
        deadline: tokio::time::Instant,
    ) -> bool {
        let _waiting = Counted::in_one(&self.0.polls_waiting);
        tokio::select! {
            changed = heads.changed() => changed.is_ok(),
            () = tokio::time::sleep_until(deadline) => false,
            () = self.stopping() => false,
        }
    }

    /// How many requests wait for an event.
    #[must_use]
    pub fn polls_waiting(&self) -> usize {
        self.0.polls_waiting.load(Ordering::Relaxed)
    }

    /// What `/metrics` shows.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.0.metrics.render()
    }
}

/// Counted until this is dropped.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    /// Counts one more.
    #[must_use]
    pub fn in_one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FromRef<App> for Auth {
    fn from_ref(app: &App) -> Self {
        app.auth().clone()
    }
}

impl FromRef<App> for Arc<Config> {
    fn from_ref(app: &App) -> Self {
        Self::clone(&app.0.config)
    }
}

impl FromRef<App> for SharedClock {
    fn from_ref(app: &App) -> Self {
        Self::clone(app.clock())
    }
}
