//! Unauthenticated connections that were upgraded, for instance to a WebSocket. They hold a place like others and,
//! until they authenticate, are closed to make room like silent ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use relais_protocol::network::ClientNetwork;

use super::Shared;

/// An upgraded connection that is expected to authenticate.
pub(crate) trait Unnamed: Send + Sync {
    /// Whether it is still unauthenticated.
    fn is_awaited(&self) -> bool;

    /// Closes it at once. It must not block, and is called with a lock held.
    fn leave(&self);
}

/// Registers a connection that is expected to authenticate.
pub(crate) struct Guest {
    shared: Arc<Shared>,
    network: ClientNetwork,
    number: u64,
}

impl Guest {
    pub(super) fn new(shared: &Arc<Shared>, network: ClientNetwork, number: u64) -> Self {
        Self { shared: Arc::clone(shared), network, number }
    }

    /// From now on the connection may be closed when places are short, the oldest first, until it authenticates.
    pub(crate) fn await_name(self, who: impl Unnamed + 'static) {
        let awaited =
            Awaited { who: Box::new(who), since_ms: self.shared.swept_ms(), leaving: AtomicBool::new(false) };
        self.shared.table.lock().add_guest(self.network, self.number, awaited);
    }
}

/// A connection that is expected to authenticate, as held in the table.
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

    /// Anything it sends without authenticating does not count.
    pub(super) fn silent_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.since_ms)
    }

    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
        self.who.leave();
    }
}
