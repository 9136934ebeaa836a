//! What can go wrong in the store, sorted by what the caller can do about it.

use std::path::PathBuf;

/// Why the database did not do what was asked.
///
/// Cloned when one failure concerns every command of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A unique constraint was violated. Named the same way on both databases: `table(column, column)`.
    #[error("a row with the same {constraint} exists already")]
    Conflict {
        /// The table and its columns: `jobs(kind, dedup_key)`.
        constraint: String,
    },
    /// The database cannot be reached or is too busy; nothing was stored. Trying again later can succeed.
    #[error("the database is not available at the moment, nothing was stored, try again: {0}")]
    Unavailable(String),
    /// Another transaction held for too long what this one needs, or both waited for each other; nothing was stored. Trying
    /// again later can succeed.
    #[error("another transaction held for too long what this one needs, nothing was stored, try again: {0}")]
    Locked(String),
    /// The connection was lost between sending the commit and receiving its result.
    #[error(
        "the connection to the database was lost during the commit: whether the change was stored is not \
         known; send it again with the same id: {0}"
    )]
    CommitUnknown(String),
    /// The disk, or the size that the configuration allows, is full; nothing was stored.
    #[error("the database has no space left, nothing was stored: free some space or raise the limit")]
    Full,
    /// The store was shut down.
    #[error("the database is closed: the server is stopping")]
    Closed,
    /// Another process holds the database.
    #[error("{} is in use by another server: stop it, or choose another database", .0.display())]
    InUse(PathBuf),
    /// The configured address of the database cannot be understood.
    #[error("{0:?} is not a database address: expected sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME")]
    Url(String),
    /// A parameter in the address of the database is unknown, or does not go with the others.
    #[error("the address of the database cannot be used: {0}")]
    Parameter(String),
    /// The connection to the database is not as safe as `sslmode` asks; it was not used.
    #[error("there is no secure connection to the database: {0}")]
    Tls(String),
    /// The schema in the database does not fit this program.
    #[error("the database schema does not fit this program: {0}")]
    Schema(String),
    /// A parameter that no column can hold: a text with the character U+0000, which PostgreSQL does not have, or a number
    /// beyond 64 bits. Refused alike on both databases; what is wrong is in the request.
    #[error("this cannot be stored: {0}")]
    Unstorable(&'static str),
    /// A limit is reached or a lease is lost: what is wrong is said, and nothing of it is stored.
    #[error("{0}")]
    Refused(String),
    /// A value cannot be stored, or a column has another type than the caller expects.
    #[error("a database value does not fit: {0}")]
    Value(String),
    /// The closure panicked; its changes were rolled back.
    #[error("the command failed unexpectedly and its changes were rolled back; the server's log says why")]
    Panicked,
    /// Anything else: a wrong statement, a damaged file.
    #[error("the database reports: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the same request can succeed later: what is wrong is not in the request.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Locked(_)
                | Self::CommitUnknown(_)
                | Self::Full
                | Self::Closed
                | Self::Tls(_)
        )
    }

    /// Whether a unique constraint was violated.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }
}
