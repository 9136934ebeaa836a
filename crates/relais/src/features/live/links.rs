//! The connections of devices: at most one for each module.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

/// A device's connection. Calls must not block.
pub trait Link: Send + Sync + 'static {
    /// Says something to the device.
    fn send(&self, frame: &Value);

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
#[derive(Default)]
pub(super) struct Links {
    all: Mutex<HashMap<String, Held>>,
    next: AtomicU64,
}

impl Links {
    /// Takes a connection in the place of the one before.
    pub(super) fn put(&self, module: &str, link: Arc<dyn Link>) -> LinkId {
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let former = self.all.lock().insert(module.to_owned(), (id, link));
        if let Some((_, former)) = former {
            former.end(LinkEnd::Replaced);
        }
        id
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

    /// Ends the connection of a module.
    pub(super) fn end(&self, module: &str) -> bool {
        let ended = self.all.lock().remove(module);
        if let Some((_, link)) = &ended {
            link.end(LinkEnd::Refused);
        }
        ended.is_some()
    }

    /// The connection of a module.
    pub(super) fn find(&self, module: &str) -> Option<Arc<dyn Link>> {
        self.all.lock().get(module).map(|(_, link)| Arc::clone(link))
    }
}
