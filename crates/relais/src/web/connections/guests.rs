//! Connections that became something else, such as a WebSocket, before anybody said whose they are. They hold a place as
//! others do, so they make room as silent ones do: until they are known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Shared;
use super::table::Origin;

/// What a connection became that is expected to say who it is.
pub(crate) trait Unnamed: Send + Sync {
    /// Whether nobody knows yet.
    fn is_awaited(&self) -> bool;

    /// Ends it at once. It must not wait, and is called with a lock held.
    fn leave(&self);
}

/// The way to note that a connection is expected to say who it is.
pub(crate) struct Guest {
    shared: Arc<Shared>,
    origin: Origin,
    number: u64,
}

impl Guest {
    pub(super) fn new(shared: &Arc<Shared>, origin: Origin, number: u64) -> Self {
        Self { shared: Arc::clone(shared), origin, number }
    }

    /// From now on it makes room where places are short, the longer it has stood the sooner, until it is known.
    pub(crate) fn await_name(self, who: impl Unnamed + 'static) {
        let awaited =
            Awaited { who: Box::new(who), since_ms: self.shared.swept_ms(), leaving: AtomicBool::new(false) };
        self.shared.table.lock().add_guest(self.origin, self.number, awaited);
    }
}

/// A connection that is expected to say who it is, as the table has it.
pub(super) struct Awaited {
    who: Box<dyn Unnamed>,
    since_ms: u64,
    leaving: AtomicBool,
}

impl Awaited {
    pub(super) fn is_awaited(&self) -> bool {
        self.who.is_awaited()
    }

    pub(super) fn must_leave(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// What it says without saying who it is does not count.
    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
        self.who.leave();
    }
}
