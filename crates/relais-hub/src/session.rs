//! One live connection of a principal.

use std::net::IpAddr;
use std::sync::Arc;

use crate::dialect::Dialect;
use crate::transport::Transport;

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal, such as `user:0198…`; presence, limits and revocation go by it.
    pub principal: Arc<str>,
    /// Whether many unrelated people share this principal, so that the limit per principal does not apply.
    pub anonymous: bool,
}

impl Identity {
    /// A known principal.
    #[must_use]
    pub fn of(principal: &str) -> Self {
        Self { principal: principal.into(), anonymous: false }
    }

    /// Somebody who has not said who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { principal: "anonymous".into(), anonymous: true }
    }
}

/// Names a session for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// What a session is opened with.
pub struct SessionSpec {
    /// Who it belongs to.
    pub identity: Identity,
    /// Where the client connects from.
    pub address: IpAddr,
    /// What it speaks.
    pub dialect: Arc<dyn Dialect>,
    /// Where its bytes go.
    pub transport: Transport,
    /// Closes the session with 4001 unless [`Hub::identify`](crate::Hub::identify) was called within so many
    /// seconds.
    pub identify_within_s: Option<u32>,
}

/// One live connection of a principal: opened by [`Hub::open`](crate::Hub::open), ended by
/// [`run_socket`](crate::run_socket) or [`QueueBody`](crate::QueueBody) when either side goes away.
pub struct Session {
    id: SessionId,
    address: IpAddr,
    identity: Arc<Identity>,
}

impl Session {
    /// Its name in logs.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Where the client connects from.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Who it belongs to now.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Whether it still takes frames: neither closing nor closed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        true
    }
}
