//! How devices are reached: by their connections, at most one for each module, and where there is none, by a way that
//! somebody else holds open, such as the broker that a device and this server are both connected to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::ranked::{Rank, Ranked};

/// A device's connection. Calls must not block.
pub trait Link: Send + Sync + 'static {
    /// Says something to the device, of use for `left` and no longer: whoever keeps it for the device keeps it no
    /// longer than that.
    fn send(&self, frame: &Value, left: Duration);

    /// Ends the connection.
    fn end(&self, why: LinkEnd);
}

/// Why a connection of a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// The device has a newer one.
    Replaced,
    /// Its credential is another now, or the module was removed.
    Refused,
}

/// Names a connection for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId(u64);

type Held = (LinkId, Arc<dyn Link>);

/// The connections, by the ids of their modules.
pub(super) struct Links {
    all: Ranked<HashMap<String, Held>>,
    ways: Ranked<HashMap<String, Arc<dyn Link>>>,
    /// Nothing can be said over ways for now.
    ways_paused: AtomicBool,
    next: AtomicU64,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            all: Ranked::new(Rank::Leaf, HashMap::new()),
            ways: Ranked::new(Rank::Leaf, HashMap::new()),
            ways_paused: AtomicBool::default(),
            next: AtomicU64::default(),
        }
    }
}

impl Links {
    /// Takes a connection in the place of the one before; says whether there was one.
    pub(super) fn put(&self, module: &str, link: Arc<dyn Link>) -> (LinkId, bool) {
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let former = self.all.lock().insert(module.to_owned(), (id, link));
        if let Some((_, former)) = &former {
            former.end(LinkEnd::Replaced);
        }
        (id, former.is_some())
    }

    /// A connection ended; says whether it was the module's.
    pub(super) fn remove(&self, module: &str, id: LinkId) -> bool {
        let mut all = self.all.lock();
        let was = all.get(module).is_some_and(|(current, _)| *current == id);
        if was {
            all.remove(module);
        }
        was
    }

    /// Knows a way to a module from now on; says whether there was none. A connection, which the module opened itself,
    /// comes before it and goes on.
    pub(super) fn open_way(&self, module: &str, make: impl FnOnce() -> Arc<dyn Link>) -> bool {
        let mut ways = self.ways.lock();
        let is_new = !ways.contains_key(module);
        if is_new {
            ways.insert(module.to_owned(), make());
        }
        is_new
    }

    /// There is no way any more.
    pub(super) fn lose_way(&self, module: &str) -> bool {
        self.ways.lock().remove(module).is_some()
    }

    /// The modules to which there is a way.
    pub(super) fn with_ways(&self) -> Vec<String> {
        self.ways.lock().keys().cloned().collect()
    }

    /// Ends the connection of a module, and the way to it.
    pub(super) fn end(&self, module: &str) -> bool {
        let had_way = self.lose_way(module);
        let ended = self.all.lock().remove(module);
        if let Some((_, link)) = &ended {
            link.end(LinkEnd::Refused);
        }
        ended.is_some() || had_way
    }

    /// Whether a module has a connection of its own.
    pub(super) fn is_connected(&self, module: &str) -> bool {
        self.all.lock().contains_key(module)
    }

    /// From now on something can be said over ways, or nothing.
    pub(super) fn pause_ways(&self, paused: bool) {
        self.ways_paused.store(paused, Ordering::Relaxed);
    }

    /// The connection of a module, else the way to it, if something can be said over that.
    pub(super) fn find(&self, module: &str) -> Option<Arc<dyn Link>> {
        let connection = self.all.lock().get(module).map(|(_, link)| Arc::clone(link));
        let way =
            || self.ways.lock().get(module).cloned().filter(|_| !self.ways_paused.load(Ordering::Relaxed));
        connection.or_else(way)
    }
}
