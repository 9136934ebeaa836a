//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge.

pub mod accounts;
pub mod chat;
pub mod live;
mod pace;
pub mod publish;
pub mod relay;

/// The schema of every feature.
#[must_use]
pub fn migrations() -> Vec<relais_store::Migration> {
    [
        accounts::MIGRATIONS,
        relay::MIGRATIONS,
        chat::MIGRATIONS,
        publish::MIGRATIONS,
        live::MIGRATIONS,
        live::history::MIGRATIONS,
    ]
    .concat()
}
