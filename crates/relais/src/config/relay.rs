//! Settings of the relay.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What to do with a JSON object that names a key twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateKeys {
    /// Refuse the file: readers disagree on which value counts, so one of them would be lost.
    #[default]
    Reject,
    /// Take it as it is.
    Accept,
}

/// A JSON Schema for some files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRule {
    /// Sociétés it holds for, as a glob: `rsp-*`.
    #[serde(default = "any")]
    pub societe: String,
    /// File names it holds for, as a glob: `comptes_*.json`.
    #[serde(default = "any")]
    pub files: String,
    /// The file of the schema.
    pub schema: PathBuf,
}

fn any() -> String {
    "*".into()
}

/// The relay of JSON files.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelayConfig {
    /// The folder of the plain files; none: `payloads_societes` in the data folder.
    pub files_dir: Option<PathBuf>,
    /// Bytes of one file at most.
    pub file_bytes_max: u64,
    /// Bytes of one société's current files at most; 0 is no limit.
    pub quota_bytes: u64,
    /// Files of one société at most.
    pub files_per_societe_max: usize,
    /// File name endings that are taken, in lower case. Their contents are JSON whatever the ending.
    pub extensions: Vec<String>,
    /// Levels of nesting that a JSON text may have, at most 127.
    pub depth_max: usize,
    /// What to do with an object that names a key twice.
    pub duplicate_keys: DuplicateKeys,
    /// Earlier versions kept of each file.
    pub versions_kept: u32,
    /// Bytes of file contents kept in memory for downloads.
    pub cache_bytes: u64,
    /// Bytes of uploads that may be in memory at once; beyond it an upload is asked to come back (503).
    pub upload_memory_bytes: u64,
    /// Seconds between two comparisons of the folder with the database, beside the live watch.
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
