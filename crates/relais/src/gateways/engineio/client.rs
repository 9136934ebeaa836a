//! What can be said to one client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use relais_hub::{CloseReason, Hub, Session};
use relais_protocol::engineio::{Frame, Version};

use super::wire;

/// What can be said to one client, over whatever transport it has.
#[derive(Clone)]
pub struct Client {
    hub: Hub,
    session: Arc<Session>,
    version: Version,
    address: IpAddr,
}

impl Client {
    pub(super) fn new(hub: Hub, session: Arc<Session>, version: Version, address: IpAddr) -> Self {
        Self { hub, session, version, address }
    }

    /// Where its frames wait.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The hub that the session belongs to.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// This moment, for deadlines of the protocol.
    pub(super) fn instant(&self) -> Instant {
        self.hub.clock().instant()
    }

    /// The client's Engine.IO.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it connects from.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Sends packets together, after everything that already waits.
    pub fn send(&self, frames: &[Frame]) {
        self.hub.send(&self.session, self.written(frames));
    }

    /// Sends packets that say how everything is, after every event that was published before.
    pub fn send_snapshot(&self, frames: &[Frame]) {
        self.hub.send_snapshot(&self.session, self.written(frames));
    }

    /// Packets as they wait in the hub.
    #[must_use]
    pub fn written(&self, frames: &[Frame]) -> Bytes {
        wire::messages(self.version, frames)
    }

    /// Sends packets only if nothing waits before them; says whether it did.
    pub fn send_volatile(&self, frames: &[Frame]) -> bool {
        let idle = self.session.queued_bytes() == 0;
        if idle {
            self.send(frames);
        }
        idle
    }

    /// Sends a frame that has its final form.
    pub(super) fn send_written(&self, frame: &Frame) {
        let mut bytes = Vec::with_capacity(frame.len() + 10);
        wire::write(frame, &mut bytes);
        self.hub.send(&self.session, bytes.into());
    }

    /// Ends the connection after what already waits.
    pub fn close(&self, reason: impl Into<CloseReason>) {
        self.hub.close(&self.session, reason);
    }
}
