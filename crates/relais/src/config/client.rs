//! Settings of the client commands.

use serde::{Deserialize, Serialize};

/// The server and the key that the client commands use.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// The address of the server; `http://127.0.0.1:8000` if unset.
    pub server: Option<String>,
    /// An API key.
    pub key: Option<String>,
}
