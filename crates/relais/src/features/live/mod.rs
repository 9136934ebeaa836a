//! Modules: machines in the field, whose they are, how they identify themselves, and how they are.
//!
//! [`Modules`] says which there are, [`Live`] how they are. Events, named and made as clients of the sockets know them: `rt_module_added`,
//! `rt_module_updated`, `rt_module_removed` in `role:admin`; `user:module:added`, `user:module:updated`,
//! `user:module:removed`, `user:module:online`, `user:module:offline` in the topic of the owner; `rt_module_online` and
//! `rt_module_offline` in `module:<id>`, and there, with all of the command, `module_command_queued`,
//! `module_command_sent`, `module_command_in_progress`, `module_command_acknowledged`, `module_command_failed`, `module_command_expired`. Not stored, for those who listen: `rt_telemetry_updated` and
//! `module_telemetry` in the topics that `topics.rs` names.
//!
//! `states.rs` has how every module is, in memory, and `dirty.rs` who has still to take that in: `publisher.rs` tells watchers
//! of it, `state_writer.rs` writes it down. `ranked.rs` says in which order locks are taken.
//!
//! `command.rs` has what may become of a command, `commands.rs` gives them, `command_queue.rs` has which are open and whose turn
//! it is, in memory; `delivery.rs` tells devices, after it is written down.

mod answers;
mod catalogue;
mod cli;
mod command;
mod command_queue;
mod commands;
mod connections;
mod delivery;
mod devices;
mod diagnosis;
mod dirty;
mod entry;
mod guests;
pub mod history;
pub mod http;
mod message;
mod model;
mod modules;
mod names;
mod presence;
mod publisher;
mod ranked;
mod refusal;
mod report;
mod secrets;
mod service;
mod snapshot;
mod state_writer;
mod states;
mod stats;
mod store;
mod tier;
mod topics;
mod view;

pub use command::{Command, CommandState, Delivery, NewCommand};
pub use commands::Commands;
pub use connections::{ConnectionEnd, DeviceConnection, DeviceConnectionId};
pub use delivery::deliver_commands;
pub use guests::{ANSWERS, Arrival, Refused, Showing};
pub use message::{Message, Unreadable};
pub use model::{AddedModule, Claim, Module, ModuleChanges, NewModule};
pub(crate) use modules::wrong_credential;
pub use modules::{Modules, NewClaim, Visibility};
pub use publisher::publish_changes;
pub use report::{Report, ReportError};
pub use service::Live;
pub use snapshot::Snapshot;
pub use state_writer::write_states;
pub use stats::{Statistics, publish_statistics};
pub use store::{MIGRATIONS, unreadable_rows};
pub use tier::Tier;
pub use topics::{FLEET, MODULE, NAMES, TELEMETRY};

use std::sync::Arc;

use futures_util::future::BoxFuture;
use relais_hub::{Filter, Subscription};
use relais_protocol::event::{Channel, Event};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use self::history::History;
use crate::auth::{Action, Principal};
use crate::feature::{Feature, Observer, OpenError, Opening};
use crate::features::accounts::Accounts;
use crate::{App, AppError};
use topics::ADDED_TO_OWNER;

/// Modules and their history.
pub const FEATURE: Feature = Feature {
    french: &["/modules/", "/dashboard/"],
    migrations: &[MIGRATIONS, history::MIGRATIONS],
    open: |opening| Box::pin(open(opening)),
    topics: topics::FAMILIES,
    event_names: NAMES,
    subscribe: |app, principal, channel| Box::pin(subscribe(app, principal, channel)),
    routes: http::router,
    commands: cli::COMMANDS,
    jobs: &[history::TRIM],
    tasks,
    gauges: |app| {
        let (modules, online) = app.service::<Live>().count(&Visibility::All);
        metrics::gauge!("relais_live_modules").set(modules as f64);
        metrics::gauge!("relais_live_modules_online").set(online as f64);
    },
    stopping: |app| app.service::<Live>().stop_looking(),
    flush: |app| Box::pin(app.service::<Live>().history().flush()),
    unreadable_rows: |store| Box::pin(unreadable_rows(store)),
    ..Feature::named("live")
};

/// Owners hear of their modules what was told since they are theirs; of other topics of modules the policy says who may
/// hear them. A tier is told from the first listener on.
async fn subscribe(
    app: &App,
    principal: &Principal,
    channel: &Channel,
) -> Result<Option<Subscription>, AppError> {
    let live = app.service::<Live>();
    let mut filter: Option<Arc<dyn Filter>> = None;
    let owned = if let Channel::Topic(topic) = channel { live.owned_since(principal, topic) } else { None };
    match (owned, Tier::of(channel)) {
        // What is not stored is told now, to whoever listens now.
        (Some(since), _) => {
            filter = Some(Arc::new(move |event: &Event| event.seq == 0 || event.seq >= since));
        }
        (None, Some(_)) => app.auth().require(principal, Action::Subscribe(channel))?,
        (None, None) => return Ok(None),
    }
    live.want(Tier::of(channel).unwrap_or_default());
    Ok(Some(Subscription { channel: channel.clone(), filter }))
}

async fn open(opening: &mut Opening) -> Result<(), OpenError> {
    let (store, config) = (opening.store.clone(), opening.config.live.clone());
    let modules = Modules::new(store.clone(), opening.services.require::<Accounts>().clone(), &config);
    let history = History::open(store.clone(), Arc::clone(&opening.clock), config.history.clone()).await?;
    let live = Live::open(store, modules, opening.hub.clone(), history, config).await?;
    opening.observers.add(live.clone());
    opening.services.add(live);
    Ok(())
}

fn tasks(app: &App, stop: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
    let live = app.service::<Live>();
    let mut tasks: Vec<BoxFuture<'static, ()>> = vec![
        Box::pin(publish_changes(live.clone(), stop.clone())),
        Box::pin(write_states(live.clone(), stop.clone())),
        Box::pin(history::keep_history(live.history().clone(), stop.clone())),
        Box::pin(deliver_commands(live.clone(), stop.clone())),
    ];
    if app.config().live.stats {
        tasks.push(Box::pin(publish_statistics(live.clone(), stop.clone())));
    }
    tasks
}

/// Who owns modules, and that they are gone, is known before it is told.
impl Observer for Live {
    fn committed(&self, event: &Event) {
        self.observe(event);
    }

    fn published(&self, event: &Event) {
        if &*event.name == ADDED_TO_OWNER {
            self.publish_to_new_owner(event);
        }
    }

    /// What pages know of a module that is here comes from here, so that a snapshot and the events after it agree.
    fn is_sole_source(&self, name: &str, data: &Map<String, Value>) -> bool {
        topics::modules_of(name, data).any(|module| self.has(module))
    }
}
