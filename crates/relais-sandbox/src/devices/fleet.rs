//! Many devices against one server.

use relais_protocol::time::{Clock as _, SystemClock};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counts::{Counts, Totals};
use super::device::Device;
use super::endpoint::Endpoint;

/// A module whose device is simulated.
#[derive(Clone, PartialEq, Eq)]
pub struct Module {
    /// Its id.
    pub id: String,
    /// The credential of its device.
    pub credential: String,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Module({}, ••••••)", self.id)
    }
}

/// How devices behave.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// Where they connect to.
    pub endpoint: Endpoint,
    /// Interval between two reports of a device. Starts are spread over the same time.
    pub interval: Duration,
    /// Interval between two heartbeats of a device.
    pub heartbeat: Duration,
    /// Percentage of devices whose connection breaks every half minute or so.
    pub flap_percent: u8,
    /// Percentage of devices that go silent for minutes now and then, while their connection stays open.
    pub silent_percent: u8,
    /// The seed of everything random.
    pub seed: u64,
    /// If set, each report carries in [`STAMP_FIELD`](super::STAMP_FIELD) the time of its sending, in microseconds
    /// after this instant.
    pub stamps_since: Option<std::time::Instant>,
}

/// Why a fleet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The host does not exist.
    #[error("{host} cannot be resolved: {reason}; check --url")]
    Host {
        /// The host as configured.
        host: String,
        /// The error of the operating system.
        reason: String,
    },
}

/// A fleet of devices. Cheap to clone; clones share the same fleet.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

/// What the devices of a fleet share.
pub(super) struct Inner {
    pub(super) config: FleetConfig,
    pub(super) counts: Counts,
    /// The stamp of each device's latest report.
    stamps: Vec<AtomicU64>,
    modules: Vec<Module>,
}

/// This moment, for timers.
pub(super) fn now() -> Instant {
    Instant::from_std(SystemClock.instant())
}

impl Fleet {
    /// A fleet for these modules. Nothing happens until [`run`](Self::run).
    #[must_use]
    pub fn new(config: FleetConfig, modules: Vec<Module>) -> Self {
        let stamps = modules.iter().map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { config, counts: Counts::default(), stamps, modules }))
    }

    /// Starts all devices, spread over one interval, and runs them until `stop`; then they close their connections.
    ///
    /// # Errors
    /// [`FleetError::Host`]. Failures of single devices are counted instead.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), FleetError> {
        let address = self.resolve().await?;
        let began = now();
        let mut devices = JoinSet::new();
        for (place, module) in self.0.modules.iter().enumerate() {
            let device = Device::new(Arc::clone(&self.0), place, module.clone(), address, began);
            devices.spawn(device.live(stop.clone()));
        }
        while devices.join_next().await.is_some() {}
        Ok(())
    }

    async fn resolve(&self) -> Result<SocketAddr, FleetError> {
        let Endpoint { host, port, .. } = &self.0.config.endpoint;
        let failed = |reason: String| FleetError::Host { host: host.clone(), reason };
        let mut found =
            tokio::net::lookup_host((host.as_str(), *port)).await.map_err(|e| failed(e.to_string()))?;
        found.next().ok_or_else(|| failed("it has no address".into()))
    }

    /// The counters so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.0.counts.totals()
    }

    /// How many devices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.modules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.modules.is_empty()
    }

    /// The stamp of the latest report of the device at `place`; 0 if it has sent none or reports carry no stamps.
    #[must_use]
    pub fn newest_stamp(&self, place: usize) -> u64 {
        self.0.stamps.get(place).map_or(0, |stamp| stamp.load(Relaxed))
    }
}

#[cfg(test)]
impl Fleet {
    pub(super) fn inner(self) -> Arc<Inner> {
        self.0
    }
}

impl Inner {
    /// The stamp for a report sent now.
    pub(super) fn stamp(&self) -> Option<u64> {
        let since = self.config.stamps_since?;
        Some(u64::try_from((SystemClock.instant() - since).as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn reported(&self, place: usize, stamp: Option<u64>) {
        self.counts.reports.fetch_add(1, Relaxed);
        if let Some(stamp) = stamp {
            self.stamps[place].store(stamp, Relaxed);
        }
    }
}
