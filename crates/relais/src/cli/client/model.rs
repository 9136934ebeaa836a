//! The server's answers, as far as the commands read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// File names and the SHA-256 of their contents, in hexadecimal.
pub(crate) type Manifest = BTreeMap<String, String>;

/// `GET /api/files/societes`.
#[derive(Debug, Deserialize)]
pub(crate) struct Societes {
    pub societes: Vec<String>,
}

/// `GET /api/files/societe/{s}/files`: a snapshot that the changes after `cursor` keep fresh.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Listing {
    pub files: Vec<RemoteFile>,
    #[serde(default)]
    pub cursor: Option<String>,
}

/// One file as the server has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RemoteFile {
    pub filename: String,
    pub sha256: String,
    pub size: u64,
}

/// `POST /api/files/sync/{s}` with a manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SyncReply {
    /// The server has it and the client does not, or has an older one.
    pub fetch: Vec<RemoteFile>,
    /// The server never had this content.
    pub send: Vec<String>,
    /// The client has it and the server deleted it.
    pub delete: Vec<String>,
    /// No file on the server can have these names.
    pub refused: Vec<RefusedName>,
    /// The same on both sides.
    pub unchanged: u64,
}

/// A name that the server takes no file under.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RefusedName {
    pub filename: String,
    pub detail: String,
}

/// `POST /api/files/upload/{s}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Uploaded {
    #[serde(default)]
    pub sha256: Option<String>,
    #[serde(default)]
    pub changed: Option<bool>,
}

/// `GET /api/files/changes`.
#[derive(Debug, Deserialize)]
pub(crate) struct Changes {
    pub changes: Vec<Frame>,
    pub cursor: String,
    #[serde(default)]
    pub has_more: bool,
}

/// A notification: what the socket, the event stream and the change feed carry.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Frame {
    #[serde(rename = "type")]
    pub kind: String,
    pub societe: Option<String>,
    pub filename: Option<String>,
    pub timestamp: Option<String>,
    pub size: Option<u64>,
    pub sha256: Option<String>,
    pub files_count: Option<u64>,
    pub cursor: Option<String>,
    pub recovered: Option<bool>,
    /// With `close`: why.
    pub reason: Option<String>,
    /// With `close`: whether to come back.
    pub reconnect: Option<bool>,
}
