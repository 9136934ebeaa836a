//! Modules and what its parts share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use relais_hub::Hub;
use relais_protocol::time::{SharedClock, Timestamp};
use relais_store::{Store, StoreError};
use tokio::sync::Notify;

use super::command_queue::CommandQueue;
use super::commands::{Commands, OPEN_MAX};
use super::connections::DeviceConnections;
use super::guests::Guests;
use super::history::History;
use super::modules::Modules;
use super::presence::Patience;
use super::ranked::{Rank, Ranked};
use super::states::States;
use super::store;
use super::tier::Tier;
use super::view::TimeFormat;
use crate::config::LiveConfig;
use crate::token_bucket::{PER_MINUTE, TokenBuckets, per_minute};

/// How modules are, for those who watch them. Cheap to clone.
#[derive(Clone)]
pub struct Live(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) modules: Modules,
    pub(super) hub: Hub,
    pub(super) clock: SharedClock,
    pub(super) history: History,
    pub(super) config: LiveConfig,
    pub(super) format: TimeFormat,
    pub(super) started_at: Timestamp,
    /// How every module is. Held for moments only.
    pub(super) states: Ranked<States>,
    /// Held while watchers are told and while somebody is handed a snapshot, so that no snapshot comes after what is
    /// newer than it.
    pub(super) publishing: Ranked<()>,
    pub(super) connections: DeviceConnections,
    /// Held while a connection comes or goes, so that it is the same for `links`, `states` and `command_queue`.
    pub(super) linking: Ranked<()>,
    pub(super) commands: Commands,
    /// Open commands. Held for moments only.
    pub(super) command_queue: Ranked<CommandQueue>,
    /// The command queue has something to write.
    pub(super) due: Notify,
    /// What the command queue had to write is written.
    pub(super) worked: Notify,
    /// Held while values are taken out and written, so that whoever comes next knows them to be written: up to which
    /// of [`States::changes`] they are. Waited for with no other lock.
    pub(super) keeping: tokio::sync::Mutex<u64>,
    /// Of commands that people give.
    pub(super) command_rates: TokenBuckets<String>,
    pub(super) guests: Guests,
    /// Tiers that somebody has asked for, by [`Tier::index`]; nothing is told in the others.
    pub(super) wanted: [AtomicBool; Tier::ALL.len()],
    /// The server asks everybody to come back later: whoever goes now is not gone.
    pub(super) stopping: AtomicBool,
    /// There is something to tell.
    pub(super) changed: Notify,
    /// A module came or went.
    pub(super) presence_changed: Notify,
    /// Something was told.
    pub(super) told: Notify,
}

impl Live {
    /// The modules in this store, as they were when the server last wrote them down.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn open(
        store: Store,
        modules: Modules,
        hub: Hub,
        history: History,
        config: LiveConfig,
    ) -> Result<Self, StoreError> {
        let known = store.read(|tx| store::states::load(tx)).await?;
        let open = store.read(|tx| store::commands::list_open(tx, OPEN_MAX)).await?;
        let clock = Arc::clone(store.clock());
        let moment = clock.moment();
        let states = States::new(known, Patience::new(&config), moment.steady);
        Ok(Self(Arc::new(Inner {
            // The settings were checked at the start.
            format: TimeFormat::new(config.zone().unwrap_or(jiff::tz::TimeZone::UTC)),
            started_at: clock.now(),
            states: Ranked::new(Rank::State, states),
            publishing: Ranked::new(Rank::Publishing, ()),
            connections: DeviceConnections::default(),
            linking: Ranked::new(Rank::Connections, ()),
            stopping: AtomicBool::new(false),
            commands: Commands::new(store.clone()),
            command_queue: Ranked::new(
                Rank::State,
                CommandQueue::new(&open, i64::from(config.command_timeout_s) * 1000, Some(moment)),
            ),
            due: Notify::new(),
            worked: Notify::new(),
            keeping: tokio::sync::Mutex::default(),
            command_rates: TokenBuckets::new(per_minute(PER_MINUTE)),
            guests: Guests::new(config.reports_per_s, SharedClock::clone(&clock)),
            wanted: [AtomicBool::new(true), AtomicBool::new(false), AtomicBool::new(false)],
            changed: Notify::new(),
            presence_changed: Notify::new(),
            told: Notify::new(),
            store,
            modules,
            hub,
            clock,
            history,
            config,
        })))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// See [`relais_protocol::time::Clock::steady`].
    pub(super) fn steady(&self) -> Timestamp {
        self.0.clock.steady()
    }

    /// Which modules there are.
    #[must_use]
    pub fn modules(&self) -> &Modules {
        &self.0.modules
    }

    /// What modules reported.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.0.history
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &LiveConfig {
        &self.0.config
    }
}
