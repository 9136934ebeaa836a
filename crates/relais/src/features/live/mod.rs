//! Modules: machines in the field, whose they are, how they identify themselves, and how they are.
//!
//! [`Modules`] says which there are, [`Live`] how they are. Events, named and made as clients of the sockets know them: `rt_module_added`,
//! `rt_module_updated`, `rt_module_removed` in `role:admin`; `user:module:added`, `user:module:updated`,
//! `user:module:removed`, `user:module:online`, `user:module:offline` in the topic of the owner; `rt_module_online` and
//! `rt_module_offline` in `module:<id>`. Not stored, for those who listen: `rt_telemetry_updated` and
//! `module_telemetry` in the topics that `topics.rs` names.
//!
//! `states.rs` has how every module is, in memory; `pulse.rs` tells watchers of it, `keeper.rs` writes it down.

mod catalogue;
mod devices;
pub mod history;
pub mod http;
mod keeper;
mod links;
mod model;
mod modules;
mod presence;
mod pulse;
mod refusal;
mod report;
mod secrets;
mod service;
mod snapshot;
mod states;
mod states_http;
mod stats;
mod store;
mod tier;
mod topics;
mod view;

pub use keeper::keep_states;
pub use links::{Link, LinkEnd, LinkId};
pub use model::{AddedModule, Module, ModuleChanges, NewModule};
pub use modules::{Modules, Sight};
pub use pulse::tell_changes;
pub use report::{Report, ReportError};
pub use service::Live;
pub use snapshot::Snapshot;
pub use states_http::StatesApi;
pub use stats::{Statistics, tell_statistics};
pub use store::MIGRATIONS;
pub use tier::Tier;
pub use topics::{FLEET, MODULE, TELEMETRY};
