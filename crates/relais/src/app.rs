//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relais_hub::Hub;
use relais_protocol::event::Cursor;
use relais_protocol::time::SharedClock;
use relais_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::auth::Auth;
use crate::config::Config;
use crate::features::chat::Chat;
use crate::features::live::Live;
use crate::features::relay::Relay;
use crate::gateways::expiry::Expiries;

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
    /// The relay of JSON files.
    pub relay: Relay,
    /// Conversations and messages.
    pub chat: Chat,
    /// Modules.
    pub live: Live,
    /// Moves with every event that was published, for those who wait for one.
    pub heads: watch::Receiver<Cursor>,
    /// Sessions that end when their credential does.
    pub expiries: Arc<Expiries>,
    /// Whether the server takes requests; false while it drains.
    pub accepting: watch::Receiver<bool>,
    /// Kilobytes that uploads may still hold in memory.
    pub upload_memory: Arc<Semaphore>,
    /// WebSocket clients of the relay.
    pub relay_listeners: Arc<AtomicUsize>,
    /// Requests that wait for an event.
    pub polls_waiting: Arc<AtomicUsize>,
    /// What `/metrics` shows.
    pub metrics: metrics_exporter_prometheus::PrometheusHandle,
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

    /// The relay of JSON files.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        &self.0.relay
    }

    /// Conversations and messages.
    #[must_use]
    pub fn chat(&self) -> &Chat {
        &self.0.chat
    }

    /// Modules.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.0.live
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

    /// Returns when the server stops taking requests: what waits for an event then answers.
    pub async fn stopping(&self) {
        let _ = self.0.accepting.clone().wait_for(|accepting| !accepting).await;
    }

    /// The next event after the one that `heads` has seen, until `deadline` or the server stops. Says whether
    /// there is one.
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

    /// Room for so many bytes of an upload; nothing if other uploads hold it all.
    #[must_use]
    pub fn upload_memory(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kilobytes = u32::try_from(bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.0.upload_memory).try_acquire_many_owned(kilobytes).ok()
    }

    /// How many WebSocket clients the relay has.
    #[must_use]
    pub fn relay_listeners(&self) -> usize {
        self.0.relay_listeners.load(Ordering::Relaxed)
    }

    /// Counts a WebSocket client of the relay until the guard is dropped.
    #[must_use]
    pub fn count_relay_listener(&self) -> Counted {
        Counted::in_one(&self.0.relay_listeners)
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

/// Somebody who counts until this is dropped.
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn in_one(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
