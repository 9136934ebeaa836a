//! Settings of the relay.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to do with a JSON object that has duplicate keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateKeys {
    /// Reject the file: parsers disagree on which value counts, so one of them would be lost.
    #[default]
    Reject,
    /// Accept it unchanged.
    Accept,
}

/// A JSON Schema for some files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRule {
    /// The sociétés it applies to, as a glob: `rsp-*`.
    #[serde(default = "any")]
    pub societe: String,
    /// The file names it applies to, as a glob: `comptes_*.json`.
    #[serde(default = "any")]
    pub files: String,
    /// The schema file.
    pub schema: PathBuf,
}

fn any() -> String {
    "*".into()
}

/// The relay of JSON files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// The folder of the plain files; if unset, `payloads_societes` in the data folder.
    pub files_dir: Option<PathBuf>,
    /// Maximum bytes of one file.
    pub file_bytes_max: u64,
    /// Maximum bytes of one société's current files; 0 is no limit.
    pub quota_bytes: u64,
    /// Maximum number of files of one société.
    pub files_per_societe_max: usize,
    /// Accepted file name extensions, in lower case. The content is JSON whatever the extension.
    pub extensions: Vec<String>,
    /// Maximum nesting depth of a JSON text, at most 127.
    pub depth_max: usize,
    /// What to do with an object that has duplicate keys.
    pub duplicate_keys: DuplicateKeys,
    /// Earlier versions kept per file.
    pub versions_kept: u32,
    /// Bytes of file contents kept in memory for downloads.
    pub cache_bytes: u64,
    /// Maximum bytes of uploads in memory at once; beyond it an upload is asked to retry (503).
    pub upload_memory_bytes: u64,
    /// Seconds between two full comparisons of the folder with the database, in addition to live change notification.
    pub rescan_s: u64,
    /// JSON Schemas.
    pub schemas: Vec<SchemaRule>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            files_dir: None,
            file_bytes_max: 32 * 1024 * 1024,
            quota_bytes: 0,
            files_per_societe_max: 10_000,
            extensions: vec![".json".into()],
            depth_max: 64,
            duplicate_keys: DuplicateKeys::Reject,
            versions_kept: 10,
            cache_bytes: 32 * 1024 * 1024,
            upload_memory_bytes: 256 * 1024 * 1024,
            rescan_s: 300,
            schemas: Vec::new(),
        }
    }
}
