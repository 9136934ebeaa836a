//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge, and `mod.rs` declares it.

pub mod accounts;
pub mod chat;
pub mod live;
mod pace;
pub mod publish;
pub mod relay;

use relais_protocol::event::Event;
use relais_store::Migration;

use crate::feature::Feature;

/// Every feature, a line each, in the order in which they open.
pub const ALL: [&Feature; 5] =
    [&accounts::FEATURE, &relay::FEATURE, &live::FEATURE, &chat::FEATURE, &publish::FEATURE];

/// The schema of every feature.
#[must_use]
pub fn migrations() -> Vec<Migration> {
    ALL.iter().flat_map(|feature| feature.migrations.concat()).collect()
}

/// What is told of an event, if that is not what the log has.
pub(crate) fn told(event: &Event) -> Option<Event> {
    ALL.iter().find_map(|feature| (feature.told)(event))
}
