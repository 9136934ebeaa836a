//! Settings of the commands that talk to a server.

use serde::{Deserialize, Serialize};

/// Which server the commands talk to, and with which key.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// The address of the server: `http://127.0.0.1:8000` if none.
    pub server: Option<String>,
    /// An API key.
    pub key: Option<String>,
}
