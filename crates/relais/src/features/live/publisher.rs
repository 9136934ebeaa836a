//! Telling watchers of telemetry: changes are gathered for a moment, and each module is told once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use relais_protocol::event::Event;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::service::Live;
use super::tier::Tier;
use super::topics::{FLEET, TELEMETRY, module_topic, owner_topic};
use super::view::{ModuleTelemetry, Seen, TelemetryUpdated, json, passing};

/// Tells watchers what changed, until `stop`.
pub async fn publish_changes(live: Live, stop: CancellationToken) {
    let window = Duration::from_millis(live.config().window_ms.into());
    let live_watchers = async {
        loop {
            live.0.changed.notified().await;
            // Gathers what comes meanwhile; those that are told too often wait for a later window.
            while live.has_unpublished(Tier::Live) {
                tokio::time::sleep(window).await;
                live.publish_tier(Tier::Live);
                live.0.told.notify_waiters();
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = live_watchers => {}
        () = publish_at_intervals(&live, Tier::Second) => {}
        () = publish_at_intervals(&live, Tier::FiveSeconds) => {}
    }
}

async fn publish_at_intervals(live: &Live, tier: Tier) {
    let mut ticks = tokio::time::interval(Duration::from_millis(tier.interval_ms().unwrap_or(1000)));
    // Late is late: the next one comes no sooner.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        live.publish_tier(tier);
    }
}

impl Live {
    /// Somebody listens in a tier: from now on it is told.
    pub fn want(&self, tier: Tier) {
        self.0.wanted[tier.index()].store(true, Ordering::Relaxed);
    }

    fn has_unpublished(&self, tier: Tier) -> bool {
        self.0.states.lock().has_unpublished(tier)
    }

    /// Tells the watchers of a tier what changed since they were told last.
    pub fn publish_tier(&self, tier: Tier) {
        let wanted = self.0.wanted[tier.index()].load(Ordering::Relaxed);
        let pause_ms = 1000 / i64::from(self.0.config.updates_per_s.max(1));
        let _publishing = self.0.publishing.lock();
        let now = self.steady();
        let mut states = self.0.states.lock();
        states.publish_due(tier, now, pause_ms, |entry| !wanted || self.publish_entry(tier, entry));
        if tier == Tier::Live {
            states.publish_seen(|entry| self.publish_seen(entry));
        }
    }

    fn publish_seen(&self, entry: &Entry) {
        let told = json(&Seen::of(entry, &self.0.format, self.now()));
        self.publish_to_watchers(&entry.module, "rt_module_last_seen_updated", &told);
    }

    /// False if there was no room: it is told again later.
    fn publish_entry(&self, tier: Tier, entry: &Entry) -> bool {
        let (epoch, now) = (self.0.hub.head().epoch, self.now());
        let telemetry: Arc<str> = json(&TelemetryUpdated::of(entry, &self.0.format, now)).into();
        let short: Arc<str> = json(&ModuleTelemetry::of(entry, now)).into();
        let (updated, brief): (Arc<str>, Arc<str>) =
            ("rt_telemetry_updated".into(), "module_telemetry".into());
        let family = format!("{TELEMETRY}{}", tier.suffix());
        let module = module_topic(&family, &entry.module.id);
        let owner = entry.module.owner.as_deref().and_then(|owner| owner_topic(FLEET, tier, owner));
        let key: Arc<str> = entry.module.id.as_str().into();
        let told = module.into_iter().chain(owner).flat_map(|topic| {
            let again = topic.clone();
            [passing(topic, epoch, &updated, &telemetry, now), passing(again, epoch, &brief, &short, now)]
        });
        told.fold(true, |taken, event: Arc<Event>| taken & self.0.hub.publish_latest(event, Arc::clone(&key)))
    }
}
