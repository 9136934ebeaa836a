//! What Relais does, one folder per feature: `service.rs` decides, `store.rs` has the SQL, `http.rs` is the
//! edge.

pub mod accounts;
pub mod chat;
pub mod publish;
pub mod relay;

use std::sync::Arc;

use crate::App;
use crate::gateways::socketio::Namespace;

/// The Socket.IO namespaces of every feature.
#[must_use]
pub fn namespaces(app: &App) -> Vec<(&'static str, Arc<dyn Namespace>)> {
    let chat: Arc<dyn Namespace> = Arc::new(crate::gateways::chat::ChatNamespace::new(app.clone()));
    vec![("/", Arc::clone(&chat)), ("/chat", chat)]
}

/// The schema of every feature.
#[must_use]
pub fn migrations() -> Vec<relais_store::Migration> {
    [accounts::MIGRATIONS, relay::MIGRATIONS, chat::MIGRATIONS, publish::MIGRATIONS].concat()
}
