//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge.

pub mod accounts;
pub mod relay;

use std::sync::Arc;

use crate::App;
use crate::gateways::socketio::Namespace;

/// The Socket.IO namespaces of every feature.
#[must_use]
pub fn namespaces(app: &App) -> Vec<(&'static str, Arc<dyn Namespace>)> {
    let _ = app;
    Vec::new()
}

/// The schema of every feature.
#[must_use]
pub fn migrations() -> Vec<relais_store::Migration> {
    [accounts::MIGRATIONS, relay::MIGRATIONS].concat()
}
