//! Counters of a fleet.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Serialize;

use super::failure::{Failure, KINDS, REPORT};

/// Counters shared by all devices.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) online: AtomicU64,
    pub(super) reports: AtomicU64,
    pub(super) heartbeats: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) commands: AtomicU64,
    errors: [AtomicU64; KINDS.len()],
    last_error: Mutex<Option<String>>,
}

/// What has happened to a fleet since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Devices that are connected and identified now.
    pub online: u64,
    /// Reports handed to the operating system.
    pub reports: u64,
    /// Heartbeats, likewise.
    pub heartbeats: u64,
    /// Number of reconnections.
    pub reconnects: u64,
    /// Commands answered.
    pub commands_answered: u64,
    /// Errors by kind; kinds that did not occur are absent.
    pub errors: BTreeMap<&'static str, u64>,
    /// The text of the last error, with the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Counts a device as online until dropped.
pub(super) struct Online<'a>(&'a Counts);

impl Counts {
    pub(super) fn enter(&self) -> Online<'_> {
        self.online.fetch_add(1, Relaxed);
        Online(self)
    }

    pub(super) fn failed(&self, id: &str, failure: &Failure) {
        if let Some(kind) = failure.kind() {
            self.note(kind, id, &failure.to_string());
        }
    }

    pub(super) fn report_refused(&self, id: &str, why: &str) {
        self.note(REPORT, id, &format!("a message was refused: {why}"));
    }

    fn note(&self, kind: usize, id: &str, text: &str) {
        self.errors[kind].fetch_add(1, Relaxed);
        *self.last_error.lock() = Some(format!("{id}: {text}"));
    }

    pub(super) fn totals(&self) -> Totals {
        let errors = KINDS.iter().zip(&self.errors).map(|(kind, count)| (*kind, count.load(Relaxed)));
        Totals {
            online: self.online.load(Relaxed),
            reports: self.reports.load(Relaxed),
            heartbeats: self.heartbeats.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            commands_answered: self.commands.load(Relaxed),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            last_error: self.last_error.lock().clone(),
        }
    }
}

impl Drop for Online<'_> {
    fn drop(&mut self) {
        self.0.online.fetch_sub(1, Relaxed);
    }
}
