//! The SQL of modules, one file per table.

use relais_store::{Migration, Store, StoreError};

pub(super) mod commands;
pub(super) mod filters;
pub(super) mod modules;
pub(super) mod states;

/// The tables of this feature.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 500, name: "live", sql: include_str!("modules.sql") },
    Migration { version: 501, name: "live_states", sql: include_str!("states.sql") },
    Migration { version: 516, name: "mqtt_filters", sql: include_str!("filters.sql") },
    Migration { version: 503, name: "live_commands", sql: include_str!("commands.sql") },
    Migration { version: 510, name: "live_claims", sql: include_str!("claims.sql") },
    Migration { version: 520, name: "live_hand_over", sql: include_str!("hand_over.sql") },
];

/// Rows that are named at most.
const UNREADABLE_MAX: usize = 1_000;

/// What `relais doctor` asks: the rows that cannot be understood, each with what is wrong with it.
///
/// # Errors
/// What the database reports.
pub async fn unreadable_rows(store: &Store) -> Result<Vec<String>, StoreError> {
    store.read(|tx| commands::unreadable(tx, UNREADABLE_MAX)).await
}
