//! Statistics of the whole server, told at a bounded rate.

use std::sync::Arc;
use std::time::Duration;

use relais_protocol::event::Topic;
use relais_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::modules::Visibility;
use super::service::Live;
use super::view::{json as text, passing};
use crate::AppError;

/// How often administrators are told at most: what old pages count, which is in memory, and everything.
const SIMPLE_EVERY: Duration = Duration::from_secs(1);
const EVERY: u32 = 5;

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
        let (modules, online_modules) = self.count(&Visibility::All);
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
    pub fn simple_statistics(&self, visibility: &Visibility) -> Value {
        Counts::of(self, visibility).to_json(self.now())
    }

    /// What `GET /dashboard/stats` says: the numbers of the modules that one sees, and for administrators those of the
    /// whole server beside them.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn dashboard(&self, visibility: &Visibility) -> Result<Value, AppError> {
        let Counts { users, modules, online } = Counts::of(self, visibility);
        let mut numbers = json!({
            "success": true, "users": { "online": users },
            "modules": { "online": online, "offline": modules - online, "total": modules },
            "totalModules": modules, "onlineModules": online, "activeUsers": users, "timestamp": self.now(),
        });
        if *visibility == Visibility::All
            && let Value::Object(all) = serde_json::to_value(self.statistics().await?).unwrap_or_default()
        {
            numbers["stats"] = Value::Object(all.clone());
            all.into_iter().for_each(|(name, value)| numbers[name] = value);
        }
        Ok(numbers)
    }
}

/// What old pages count.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counts {
    users: usize,
    modules: usize,
    online: usize,
}

impl Counts {
    fn of(live: &Live, visibility: &Visibility) -> Self {
        let (modules, online) = live.count(visibility);
        Self { users: live.online_users(), modules, online }
    }

    fn to_json(self, at: Timestamp) -> Value {
        json!({
            "users": { "online": self.users }, "modules": { "online": self.online, "total": self.modules },
            "timestamp": at,
        })
    }
}

/// Tells administrators how the server is whenever that changes, until `stop`: the counts of old pages at most every
/// second, everything at most every five.
pub async fn publish_statistics(live: Live, stop: CancellationToken) {
    let (mut told, mut counted) = (None, None);
    let mut ticks = tokio::time::interval(SIMPLE_EVERY);
    for number in 0u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let counts = Counts::of(&live, &Visibility::All);
        if counted.replace(counts) != Some(counts) {
            live.publish_to_administrators("simple_stats_update", &counts.to_json(live.now()));
        }
        if number.is_multiple_of(EVERY) {
            live.publish_all_statistics(&mut told).await;
        }
    }
}

impl Live {
    async fn publish_all_statistics(&self, told: &mut Option<Statistics>) {
        // What keeps them from being read is in the log already, and they are told as soon as they can be.
        let Ok(now) = self.statistics().await else { return };
        let same = |told: &Statistics| Statistics { last_update: now.last_update, ..told.clone() } == now;
        if !told.as_ref().is_some_and(same) {
            let fields = json!({ "stats": now, "timestamp": now.last_update });
            self.publish_to_administrators("rt_global_stats_updated", &fields);
            *told = Some(now);
        }
    }

    fn publish_to_administrators(&self, name: &str, fields: &Value) {
        let data: Arc<str> = text(fields).into();
        if let Ok(topic) = Topic::new("role:admin") {
            let event = passing(topic, self.0.hub.head().epoch, &name.into(), &data, self.now());
            // The next one says it anew.
            let _ = self.0.hub.publish_latest(event, "".into());
        }
    }
}
