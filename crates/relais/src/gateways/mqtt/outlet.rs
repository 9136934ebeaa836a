//! What devices are told through the broker.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use super::broker::Speaker;
use crate::features::live::{Link, LinkEnd};

/// The connection of now, for those who want to say something.
pub(super) struct Outlet(Mutex<Speaker>);

impl Outlet {
    pub(super) fn new(speaker: Speaker) -> Self {
        Self(Mutex::new(speaker))
    }

    /// There is another connection.
    pub(super) fn set(&self, speaker: Speaker) {
        *self.0.lock() = speaker;
    }

    pub(super) fn speaker(&self) -> Speaker {
        self.0.lock().clone()
    }
}

/// The way to one module.
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

impl Link for Way {
    fn send(&self, frame: &Value, left: Duration) {
        let sent = self.outlet.speaker().publish(&self.topic, frame.to_string(), self.qos, left);
        let outcome = if sent { "sent" } else { "dropped" };
        metrics::counter!("relais_mqtt_commands_total", "outcome" => outcome).increment(1);
        if !sent {
            tracing::warn!(topic = self.topic, "too much waits for the broker: a command was dropped");
        }
    }

    /// The broker's connection is not this module's alone.
    fn end(&self, _: LinkEnd) {}
}
