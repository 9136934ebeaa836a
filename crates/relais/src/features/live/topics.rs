//! Where modules are told of.
//!
//! `module:<id>`: that it came or went, kept in the log, and what its device answers. `telemetry:<id>`: its values, for
//! those who listen now; `telemetry-1s:<id>` and `telemetry-5s:<id>` for those who want them seldomer. `fleet:<user>`,
//! likewise: all of this for all modules of one owner. Administrators listen to the families.

use relais_protocol::event::Topic;

use super::tier::Tier;

/// Modules that came and went.
pub const MODULE: &str = "module";
/// Values of one module.
pub const TELEMETRY: &str = "telemetry";
/// Everything of the modules of one owner.
pub const FLEET: &str = "fleet";

/// Somebody has a module from now on.
pub(super) const ADDED_TO_OWNER: &str = "user:module:added";

/// A module's device has to identify itself anew.
pub(super) const CREDENTIAL_CHANGED: &str = "module_credential_changed";

/// What is said of modules by this server alone: what became of commands, what is wrong with a module, and answers to
/// pages, which cannot tell them from events. The names that an application uses for modules of its own are not among them.
pub const NAMES: &[&str] = &[
    CREDENTIAL_CHANGED,
    "module_command_queued",
    "module_command_sent",
    "module_command_in_progress",
    "module_command_acknowledged",
    "module_command_failed",
    "module_command_expired",
    "module_command_response",
    "module_presence",
    "module_trouble",
    "admin:initial:stats",
    "claim_ack",
    "client:auth:error",
    "client:auth:success",
    "client:sync:error",
    "client:sync:success",
    "command_error",
    "command_sent",
    "dashboard:initial:summary",
    "module_states_sync",
    "modules:initial:state",
    "page_registered",
    "state_sync_response",
];

/// The topic of a module in a family. Ids that are none were refused when modules were added.
pub(super) fn module_topic(family: &str, module: &str) -> Option<Topic> {
    Topic::new(&format!("{family}:{module}")).ok()
}

/// The topic of an owner's modules.
pub(super) fn owner_topic(family: &str, tier: Tier, owner: &str) -> Option<Topic> {
    Topic::new(&format!("{family}{}:{owner}", tier.suffix())).ok()
}
