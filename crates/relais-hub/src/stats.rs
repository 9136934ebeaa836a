//! Figures of the hub: for a status page, and for the metrics of the whole process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{Counter, Gauge};

/// What the hub holds and has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Live sessions.
    pub sessions: usize,
    /// Channels that have members.
    pub streams: usize,
    /// Memberships of sessions in channels.
    pub subscriptions: usize,
    /// The last durable event that was published.
    pub head_seq: u64,
    /// Events published.
    pub published: u64,
    /// Frames handed to sessions.
    pub delivered: u64,
    /// Writes that carried them.
    pub writes: u64,
    /// Sessions closed because they read too slowly.
    pub slow_closed: u64,
    /// Ephemeral events dropped because the inbox was full.
    pub ephemeral_dropped: u64,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub sessions: AtomicU64,
    pub streams: AtomicU64,
    pub subscriptions: AtomicU64,
    pub head_seq: AtomicU64,
    pub published: AtomicU64,
    pub delivered: AtomicU64,
    pub writes: AtomicU64,
    pub slow_closed: AtomicU64,
    pub ephemeral_dropped: AtomicU64,
}

impl Figures {
    pub(crate) fn snapshot(&self) -> HubStats {
        let count = |figure: &AtomicU64| usize::try_from(figure.load(Relaxed)).unwrap_or(usize::MAX);
        HubStats {
            sessions: count(&self.sessions),
            streams: count(&self.streams),
            subscriptions: count(&self.subscriptions),
            head_seq: self.head_seq.load(Relaxed),
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            writes: self.writes.load(Relaxed),
            slow_closed: self.slow_closed.load(Relaxed),
            ephemeral_dropped: self.ephemeral_dropped.load(Relaxed),
        }
    }
}

/// The process's metrics, updated once per pass. Install the recorder before the hub starts.
pub(crate) struct Meters {
    sessions: Gauge,
    streams: Gauge,
    subscriptions: Gauge,
    published: Counter,
    delivered: Counter,
    writes: Counter,
    slow_closed: Counter,
    ephemeral_dropped: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: metrics::gauge!("relais_hub_sessions"),
            streams: metrics::gauge!("relais_hub_streams"),
            subscriptions: metrics::gauge!("relais_hub_subscriptions"),
            published: metrics::counter!("relais_hub_published_total"),
            delivered: metrics::counter!("relais_hub_delivered_total"),
            writes: metrics::counter!("relais_hub_writes_total"),
            slow_closed: metrics::counter!("relais_hub_slow_closed_total"),
            ephemeral_dropped: metrics::counter!("relais_hub_ephemeral_dropped_total"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    pub(crate) fn report(&self, figures: &Figures) {
        self.sessions.set(figures.sessions.load(Relaxed) as f64);
        self.streams.set(figures.streams.load(Relaxed) as f64);
        self.subscriptions.set(figures.subscriptions.load(Relaxed) as f64);
        self.published.absolute(figures.published.load(Relaxed));
        self.delivered.absolute(figures.delivered.load(Relaxed));
        self.writes.absolute(figures.writes.load(Relaxed));
        self.slow_closed.absolute(figures.slow_closed.load(Relaxed));
        self.ephemeral_dropped.absolute(figures.ephemeral_dropped.load(Relaxed));
    }
}
