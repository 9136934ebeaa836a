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

/// A module's device has to identify itself anew.
pub(super) const CREDENTIAL_CHANGED: &str = "module_credential_changed";

/// The topic of a module in a family. Ids that are none were refused when modules were added.
pub(super) fn module_topic(family: &str, module: &str) -> Option<Topic> {
    Topic::new(&format!("{family}:{module}")).ok()
}

/// The topic of an owner's modules.
pub(super) fn owner_topic(family: &str, tier: Tier, owner: &str) -> Option<Topic> {
    Topic::new(&format!("{family}{}:{owner}", tier.suffix())).ok()
}
