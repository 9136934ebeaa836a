//! The relay: a company's JSON files reach every device the moment they change.
//!
//! A file belongs to a société (a company). Storing one checks it, writes the row, the version and the event
//! in one transaction, puts the plain file into the folder right after the commit, and then tells the
//! listeners. The plain files stay readable and writable for other programs: what they change is noticed and
//! announced like an upload.
//!
//! - [`Relay`]: what can be asked of it;
//! - `change`: the transactions; `folder`: the plain files; `index`: the present in memory;
//! - `reconcile` and `watch`: what other programs changed, and what a crash interrupted;
//! - `json`, `schema`, `name`: what is accepted; `left_out`: what is not, named for the operators;
//! - `http` and `frame`: the edge.

mod change;
mod compact;
mod content;
mod error;
mod folder;
mod folder_id;
mod forms;
pub mod frame;
pub mod http;
mod in_use;
mod index;
mod inspect;
pub mod json;
mod left_out;
mod listing;
mod model;
mod name;
mod plain_file;
mod reconcile;
mod schema;
mod service;
mod spare;
mod store;
mod watch;

pub use change::{Content, TOPIC_FAMILY};
pub use content::Coding;
pub use error::RelayError;
pub use inspect::{Inspection, broken_rows, inspect};
pub use left_out::{Cause, LeftOut, Spot};
pub use model::{Announced, FileMeta, Origin, Precondition, Request, Stored, Totals, Version, sha256_hex};
pub use name::{FileName, NameFault, SocieteName};
pub use schema::Violation;
pub use service::{Changes, Comparison, Relay};
pub use store::MIGRATIONS;
pub(crate) use watch::run as watch;

/// What the relay alone tells.
pub const NAMES: &[&str] = &["file_uploaded", "file_deleted", "sync_completed"];

/// The schemas of the configuration that cannot be used, each with what is wrong with it.
#[must_use]
pub fn broken_schemas(rules: &[crate::config::SchemaRule]) -> Vec<String> {
    schema::Schemas::load(rules)
        .1
        .into_iter()
        .map(|broken| format!("{}: {}", broken.file, broken.fault))
        .collect()
}
