//! The sending side of one client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use relais_hub::{CloseReason, Hub, Session};
use relais_protocol::engineio::{Frame, Version};

use super::wire;

/// Sends to one client, over its current transport.
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

    /// The session with its outbound queue.
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

    /// The address it connects from.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Sends packets together, after everything already queued.
    pub fn send(&self, frames: &[Frame]) {
        self.hub.send(&self.session, self.written(frames));
    }

    /// Sends packets with the complete state, after every event that was published before.
    pub fn send_snapshot(&self, frames: &[Frame]) {
        self.hub.send_snapshot(&self.session, self.written(frames));
    }

    /// Packets in the form in which the hub queues them.
    #[must_use]
    pub fn written(&self, frames: &[Frame]) -> Bytes {
        wire::messages(self.version, frames)
    }

    /// Sends packets only if nothing is queued ahead of them; returns whether it did.
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

    /// Ends the connection after what is already queued.
    pub fn close(&self, reason: impl Into<CloseReason>) {
        self.hub.close(&self.session, reason);
    }
}
