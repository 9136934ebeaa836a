//! Messages to devices through the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use super::broker::Speaker;
use crate::features::live::{ConnectionEnd, DeviceConnection};

/// The current connection, for publishers.
pub(super) struct Outlet {
    speaker: Mutex<Speaker>,
    /// The number of the connection.
    connection: AtomicU64,
}

impl Outlet {
    pub(super) fn new(speaker: Speaker) -> Self {
        Self { speaker: Mutex::new(speaker), connection: AtomicU64::new(0) }
    }

    /// Replaces the way to send.
    pub(super) fn set(&self, speaker: Speaker) {
        *self.speaker.lock() = speaker;
    }

    /// The connection is lost: the next one has another number.
    pub(super) fn lose(&self) {
        self.connection.fetch_add(1, Ordering::SeqCst);
    }

    /// The number of the connection.
    pub(super) fn connection(&self) -> u64 {
        self.connection.load(Ordering::SeqCst)
    }

    pub(super) fn speaker(&self) -> Speaker {
        self.speaker.lock().clone()
    }
}

/// The route to one module.
pub(super) struct Way {
    outlet: Arc<Outlet>,
    topic: String,
    qos: u8,
}

impl Way {
    pub(super) fn new(outlet: &Arc<Outlet>, topic: String, qos: u8) -> Self {
        Self { outlet: Arc::clone(outlet), topic, qos }
    }
}

impl DeviceConnection for Way {
    fn send(&self, frame: &Value, left: Duration) {
        let sent = self.outlet.speaker().publish(&self.topic, frame.to_string(), self.qos, left);
        let outcome = if sent { "sent" } else { "dropped" };
        metrics::counter!("relais_mqtt_commands_total", "outcome" => outcome).increment(1);
        if !sent {
            tracing::warn!(topic = self.topic, "too much waits for the broker: a command was dropped");
        }
    }

    /// The broker's connection is not this module's alone.
    fn end(&self, _: ConnectionEnd) {}
}
