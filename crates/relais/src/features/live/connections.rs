//! How devices are reached: by their connections, at most one for each module, and where there is none, by a route that
//! somebody else holds open, such as the broker that a device and this server are both connected to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::ranked::{Rank, Ranked};

/// A device's connection. Calls must not block.
pub trait DeviceConnection: Send + Sync + 'static {
    /// Says something to the device, of use for `left` and no longer: whoever keeps it for the device keeps it no
    /// longer than that.
    fn send(&self, frame: &Value, left: Duration);

    /// Ends the connection.
    fn end(&self, why: ConnectionEnd);
}

/// Why a connection of a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The device has a newer one.
    Replaced,
    /// Its credential is another now, or the module was removed.
    Refused,
}

/// Names a connection for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConnectionId(u64);

type Held = (DeviceConnectionId, Arc<dyn DeviceConnection>);

/// The connections, by the ids of their modules.
pub(super) struct DeviceConnections {
    all: Ranked<HashMap<String, Held>>,
    routes: Ranked<HashMap<String, Arc<dyn DeviceConnection>>>,
    /// Nothing can be said over routes for now.
    routes_paused: AtomicBool,
    next: AtomicU64,
}

impl Default for DeviceConnections {
    fn default() -> Self {
        Self {
            all: Ranked::new(Rank::Leaf, HashMap::new()),
            routes: Ranked::new(Rank::Leaf, HashMap::new()),
            routes_paused: AtomicBool::default(),
            next: AtomicU64::default(),
        }
    }
}

impl DeviceConnections {
    /// Takes a connection in the place of the one before; says whether there was one.
    pub(super) fn put(
        &self,
        module: &str,
        connection: Arc<dyn DeviceConnection>,
    ) -> (DeviceConnectionId, bool) {
        let id = DeviceConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let former = self.all.lock().insert(module.to_owned(), (id, connection));
        if let Some((_, former)) = &former {
            former.end(ConnectionEnd::Replaced);
        }
        (id, former.is_some())
    }

    /// A connection ended; says whether it was the module's.
    pub(super) fn remove(&self, module: &str, id: DeviceConnectionId) -> bool {
        let mut all = self.all.lock();
        let was = all.get(module).is_some_and(|(current, _)| *current == id);
        if was {
            all.remove(module);
        }
        was
    }

    /// Knows a route to a module from now on; says whether there was none. A connection, which the module opened itself,
    /// comes before it and goes on.
    pub(super) fn add_route(&self, module: &str, make: impl FnOnce() -> Arc<dyn DeviceConnection>) -> bool {
        let mut routes = self.routes.lock();
        let is_new = !routes.contains_key(module);
        if is_new {
            routes.insert(module.to_owned(), make());
        }
        is_new
    }

    /// There is no route any more.
    pub(super) fn remove_route(&self, module: &str) -> bool {
        self.routes.lock().remove(module).is_some()
    }

    /// The modules to which there is a route.
    pub(super) fn with_routes(&self) -> Vec<String> {
        self.routes.lock().keys().cloned().collect()
    }

    /// Ends the connection of a module, and the route to it.
    pub(super) fn end(&self, module: &str) -> bool {
        let had_route = self.remove_route(module);
        let ended = self.all.lock().remove(module);
        if let Some((_, connection)) = &ended {
            connection.end(ConnectionEnd::Refused);
        }
        ended.is_some() || had_route
    }

    /// Whether a module has a connection of its own.
    pub(super) fn is_connected(&self, module: &str) -> bool {
        self.all.lock().contains_key(module)
    }

    /// From now on something can be said over routes, or nothing.
    pub(super) fn pause_routes(&self, paused: bool) {
        self.routes_paused.store(paused, Ordering::Relaxed);
    }

    /// The connection of a module, else the route to it, if something can be said over that.
    pub(super) fn find(&self, module: &str) -> Option<Arc<dyn DeviceConnection>> {
        let connection = self.all.lock().get(module).map(|(_, connection)| Arc::clone(connection));
        let route = || {
            self.routes.lock().get(module).cloned().filter(|_| !self.routes_paused.load(Ordering::Relaxed))
        };
        connection.or_else(route)
    }
}
