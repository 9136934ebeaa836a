//! Connections that later requests may name by their id.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::connection::Connection;

/// How often connections that the hub has ended are let go.
const SWEEP: Duration = Duration::from_millis(500);

/// Connections that began with polling. One that began with a WebSocket has no later requests.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<Arc<str>, Arc<Connection>>>);

impl Registry {
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        self.0.lock().insert(Arc::clone(connection.sid()), Arc::clone(connection));
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        self.0.lock().get(sid).cloned()
    }

    pub(super) fn remove(&self, sid: &str) {
        self.0.lock().remove(sid);
    }

    fn ended(&self) -> Vec<Arc<Connection>> {
        self.0.lock().values().filter(|connection| connection.is_ended()).cloned().collect()
    }
}

/// Lets go of what the hub has ended while no request was there to see it, as long as the registry lives.
pub(super) async fn sweep(registry: Weak<Registry>) {
    let mut times = tokio::time::interval(SWEEP);
    loop {
        times.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        for connection in registry.ended() {
            connection.finish();
        }
    }
}
