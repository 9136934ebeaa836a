//! The relay's metadata of a file.

use std::sync::Arc;

use relais_protocol::event::Cursor;
use relais_protocol::time::Timestamp;
use relais_store::Query;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::name::{FileName, SocieteName};
use super::plain_file::Stat;
use crate::AppError;
use crate::auth::{Action, Permit};

/// The current state of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// Its name.
    pub filename: FileName,
    /// Counts contents from 1; a deletion does not count.
    pub version: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 lower-case hexadecimal digits.
    pub sha256: Arc<str>,
    /// When this version was stored.
    pub modified_at: Timestamp,
    /// The modification time of the plain file, in nanoseconds: with the size and what follows it tells whether
    /// another program wrote to it.
    pub mtime_ns: i64,
    /// The time of the last change of the plain file's inode, in nanoseconds; 0 if it is not known.
    pub ctime_ns: i64,
    /// The number of the plain file's inode; 0 if it is not known.
    pub ino: u64,
    /// The place in the log of the event that told of it.
    pub seq: u64,
}

impl FileMeta {
    /// The stat of the plain file while it holds this content.
    #[must_use]
    pub fn stat(&self) -> Stat {
        Stat { size: self.size, mtime_ns: self.mtime_ns, ctime_ns: self.ctime_ns, ino: self.ino }
    }

    /// The same content in a plain file with this stat.
    #[must_use]
    pub fn looking_like(self, stat: Stat) -> Self {
        Self { mtime_ns: stat.mtime_ns, ctime_ns: stat.ctime_ns, ino: stat.ino, ..self }
    }
}

/// Where a content came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A client sent it.
    Upload,
    /// Another program wrote it into the folder.
    Folder,
    /// An earlier version was put back.
    Restore,
}

impl Origin {
    /// The identifier on the wire and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Folder => "folder",
            Self::Restore => "restore",
        }
    }
}

/// One kept version.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Who stored it.
    pub created_by: String,
    /// Where it came from: see [`Origin`].
    pub origin: String,
    /// Whether it is what the file holds now.
    pub current: bool,
}

/// The outcome of an upload or a restore.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The file as it is now.
    pub meta: FileMeta,
    /// Whether anything changed: the same content again makes no version and no event.
    pub changed: bool,
    /// The position of the event in its société's topic; none if nothing changed.
    pub offset: Option<u64>,
    /// The cursor of a subscriber that has received it.
    pub cursor: Cursor,
}

/// The outcome of an event that is about the société or a deletion.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// The place in the société's topic.
    pub offset: u64,
    /// The cursor of a subscriber that has received it.
    pub cursor: Cursor,
}

/// The precondition of a change (RFC 9110 section 13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// The file has one of these contents now (`If-Match`).
    Match(Vec<String>),
    /// There is a file (`If-Match: *`).
    Exists,
    /// There is no such file (`If-None-Match: *`).
    Absent,
    /// The file, if there is one, was not changed at or after the beginning of this second (`If-Unmodified-Since`).
    UnmodifiedSince(i64),
}

impl Precondition {
    /// Whether it holds for the file as it is now, if there is one.
    #[must_use]
    pub fn holds(&self, current: Option<&FileMeta>) -> bool {
        match (self, current) {
            (Self::None, _) | (Self::Exists, Some(_)) | (Self::Absent | Self::UnmodifiedSince(_), None) => {
                true
            }
            (Self::Match(hashes), Some(now)) => hashes.iter().any(|hash| **hash == *now.sha256),
            (Self::UnmodifiedSince(second), Some(now)) => now.modified_at.as_secs() < *second,
            (Self::Match(_) | Self::Exists, None) | (Self::Absent, Some(_)) => false,
        }
    }
}

/// The caller and the precondition of a change.
#[derive(Clone, Debug)]
pub struct Request {
    /// The name of the caller, for the versions and the audit.
    pub by: Arc<str>,
    /// The caller, checked again in the transaction that stores: rights may be revoked while a content is received.
    /// None for what was found in the folder.
    pub permit: Option<Permit>,
    /// The société.
    pub societe: SocieteName,
    /// The file.
    pub filename: FileName,
    /// The precondition.
    pub precondition: Precondition,
}

impl Request {
    /// A change of one file, without conditions.
    #[must_use]
    pub fn new(permit: Permit, societe: SocieteName, filename: FileName) -> Self {
        let by = permit.principal().display_name().into();
        Self { by, permit: Some(permit), societe, filename, precondition: Precondition::None }
    }

    /// Refuses a caller who may not write here any more.
    pub(super) fn check_permit(&self, tx: &mut impl Query) -> Result<(), AppError> {
        match &self.permit {
            Some(permit) => permit.check(tx, Action::RelayWrite(self.societe.as_str())),
            None => Ok(()),
        }
    }
}

/// The state of the relay as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Sociétés.
    pub societes: usize,
    /// Files.
    pub files: usize,
    /// When a file last changed.
    pub last_update: Option<Timestamp>,
}

/// SHA-256 in lower-case hexadecimal digits.
#[must_use]
pub fn sha256_hex(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Whether a text could be one of our hashes.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
