//! Modules: machines in the field, whose they are, how they identify themselves, and how they are.
//!
//! [`Modules`] says which there are, [`Live`] how they are. Events, named and made as clients of the sockets know them: `rt_module_added`,
//! `rt_module_updated`, `rt_module_removed` in `role:admin`; `user:module:added`, `user:module:updated`,
//! `user:module:removed`, `user:module:online`, `user:module:offline` in the topic of the owner; `rt_module_online` and
//! `rt_module_offline` in `module:<id>`, and there, with all of the command, `module_command_queued`,
//! `module_command_sent`, `module_command_in_progress`, `module_command_acknowledged`, `module_command_failed`, `module_command_expired`. Not stored, for those who listen: `rt_telemetry_updated` and
//! `module_telemetry` in the topics that `topics.rs` names.
//!
//! `states.rs` has how every module is, in memory; `pulse.rs` tells watchers of it, `keeper.rs` writes it down.
//!
//! `command.rs` has what may become of a command, `commands.rs` gives them, `board.rs` has which are open and whose turn
//! it is, in memory; `delivery.rs` tells devices, after it is written down.

mod answers;
mod board;
mod catalogue;
mod command;
mod commands;
mod delivery;
mod devices;
mod diagnosis;
mod entry;
mod guests;
pub mod history;
pub mod http;
mod keeper;
mod links;
mod message;
mod model;
mod modules;
mod names;
mod presence;
mod pulse;
mod refusal;
mod report;
mod secrets;
mod service;
mod snapshot;
mod states;
mod stats;
mod store;
mod tier;
mod topics;
mod view;

pub use command::{Command, CommandState, Delivery, NewCommand};
pub use commands::Commands;
pub use delivery::deliver_commands;
pub use guests::{ANSWERS, Arrival, Refused, Showing};
pub use keeper::keep_states;
pub use links::{Link, LinkEnd, LinkId};
pub use message::{Message, Unreadable};
pub use model::{AddedModule, Claim, Module, ModuleChanges, NewModule};
pub use modules::{Modules, NewClaim, Sight};
pub use pulse::tell_changes;
pub use report::{Report, ReportError};
pub use service::Live;
pub use snapshot::Snapshot;
pub use stats::{Statistics, tell_statistics};
pub use store::{MIGRATIONS, unreadable_rows};
pub use tier::Tier;
pub use topics::{FLEET, MODULE, NAMES, TELEMETRY};
