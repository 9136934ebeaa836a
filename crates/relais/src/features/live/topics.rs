//! Where modules are told of.
//!
//! `module:<id>`: that it came or went, kept in the log, and what its device answers. `telemetry:<id>`: its values, for
//! those who listen now; `telemetry-1s:<id>` and `telemetry-5s:<id>` for those who want them seldomer. `fleet:<user>`,
//! likewise: all of this for all modules of one owner. Administrators listen to the families.

use relais_protocol::event::{Channel, Topic};
use serde_json::{Map, Value};

use super::tier::Tier;
use crate::auth::{Policy, Principal, TopicFamily};

/// Modules that came and went.
pub const MODULE: &str = "module";
/// Values of one module.
pub const TELEMETRY: &str = "telemetry";
/// Everything of the modules of one owner.
pub const FLEET: &str = "fleet";

/// Of single modules their owners hear too, of which the policy knows nothing.
pub(super) const FAMILIES: &[TopicFamily] = &[
    TopicFamily { hears: hears_of_modules, ..TopicFamily::named(MODULE) },
    TopicFamily { hears: hears_of_modules, endings: Tier::SUFFIXES, ..TopicFamily::named(TELEMETRY) },
    TopicFamily { hears: hears_of_own, endings: Tier::SUFFIXES, ..TopicFamily::named(FLEET) },
];

/// Administrators. As the files of the relay, what machines do may be seen by everybody in open mode.
fn hears_of_modules(policy: Policy, principal: &Principal, channel: &Channel) -> bool {
    match principal {
        Principal::Anonymous => policy.open_mode && matches!(channel, Channel::Family(_)),
        Principal::User(user) => user.admin,
        Principal::Service(_) => false,
    }
}

fn hears_of_own(_: Policy, principal: &Principal, channel: &Channel) -> bool {
    match (principal, channel) {
        (Principal::User(user), Channel::Topic(topic)) => topic.key() == &*user.principal_id,
        _ => false,
    }
}

/// Somebody has a module from now on.
pub(super) const ADDED_TO_OWNER: &str = "user:module:added";

/// A module's device has to identify itself anew.
pub(super) const CREDENTIAL_CHANGED: &str = "module_credential_changed";

/// What is said of modules by this server alone: what became of commands, what is wrong with a module, and answers to
/// pages, which cannot tell them from events. The names that an application uses for modules of its own are not among them: see
/// [`modules_of`].
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

/// Events of modules that an application may publish of modules of its own, under the names that its pages know.
const OF_MODULES: &[&str] =
    &["rt_telemetry_updated", "module_telemetry", "module_added", "module_updated", "module_removed"];
const OF_MODULES_PREFIXES: &[&str] = &["rt_module_", "user:module:"];

/// The modules of which an event speaks, in each of the fields where a page may look for it; none of any other event.
pub(super) fn modules_of<'a>(name: &str, data: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
    let of_modules =
        OF_MODULES.contains(&name) || OF_MODULES_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let nested = data.get("module").and_then(Value::as_object);
    let fields = ["moduleId", "module_id"].map(|field| data.get(field));
    let nested = ["module_id", "moduleId", "id"].map(|field| nested?.get(field));
    fields.into_iter().chain(nested).filter(move |_| of_modules).flatten().filter_map(Value::as_str)
}

/// The topic of a module in a family. Ids that are none were refused when modules were added.
pub(super) fn module_topic(family: &str, module: &str) -> Option<Topic> {
    Topic::new(&format!("{family}:{module}")).ok()
}

/// The topic of an owner's modules.
pub(super) fn owner_topic(family: &str, tier: Tier, owner: &str) -> Option<Topic> {
    Topic::new(&format!("{family}{}:{owner}", tier.suffix())).ok()
}
