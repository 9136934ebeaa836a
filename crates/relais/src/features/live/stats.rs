//! Statistics of the whole server, told at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::modules::Sight;
use super::service::Live;
use super::view::{json as text, passing};
use crate::AppError;

/// How often administrators are told at most.
const EVERY: Duration = Duration::from_secs(5);

/// How the server is, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    users: Users,
    modules: ModuleCounts,
    websocket: Connections,
    system: System,
    total_users: u64,
    active_users: usize,
    total_modules: usize,
    online_modules: usize,
    #[schema(value_type = String)]
    last_update: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct Users {
    total: u64,
    online: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct ModuleCounts {
    total: usize,
    online: usize,
    offline: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Connections {
    /// Live connections of every kind.
    connected: usize,
    /// Of devices.
    devices: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct System {
    version: &'static str,
    #[schema(value_type = String)]
    started_at: Timestamp,
}

impl Live {
    /// How the server is. Users are online while they have a live connection of any kind.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn statistics(&self) -> Result<Statistics, AppError> {
        let total = self.modules().count_users().await?;
        let (modules, online_modules) = self.count(&Sight::All);
        let online = self.online_users();
        Ok(Statistics {
            users: Users { total, online },
            modules: ModuleCounts {
                total: modules,
                online: online_modules,
                offline: modules - online_modules,
            },
            websocket: Connections {
                connected: self.0.hub.stats().sessions,
                devices: self.0.hub.count_present("device:"),
            },
            system: System { version: env!("CARGO_PKG_VERSION"), started_at: self.0.started_at },
            total_users: total,
            active_users: online,
            total_modules: modules,
            online_modules,
            last_update: self.now(),
        })
    }

    fn online_users(&self) -> usize {
        self.0.hub.count_present("user:") + self.0.hub.count_present("ext:")
    }

    /// What pages ask for with `request_stats`: who is here, and how many of one's modules are.
    #[must_use]
    pub fn simple_statistics(&self, sight: &Sight) -> Value {
        let (total, online) = self.count(sight);
        json!({
            "users": { "online": self.online_users() }, "modules": { "online": online, "total": total },
            "timestamp": self.now(),
        })
    }
}

/// Tells administrators how the server is whenever that changes, at most every five seconds, until `stop`.
pub async fn tell_statistics(live: Live, stop: CancellationToken) {
    let mut told: Option<Statistics> = None;
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match live.statistics().await {
            Ok(now) => {
                let same =
                    |told: &Statistics| Statistics { last_update: now.last_update, ..told.clone() } == now;
                if !told.as_ref().is_some_and(same) {
                    live.publish_statistics(&now);
                    told = Some(now);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "statistics could not be read; trying again in some seconds");
            }
        }
    }
}

impl Live {
    fn publish_statistics(&self, statistics: &Statistics) {
        let at = statistics.last_update;
        let data: Arc<str> = text(&json!({ "stats": statistics, "timestamp": at })).into();
        if let Ok(topic) = Topic::new("role:admin") {
            let event = passing(topic, self.0.hub.head().epoch, &"rt_global_stats_updated".into(), &data, at);
            // The next one says it anew.
            let _ = self.0.hub.publish_latest(event, "".into());
        }
    }
}
