//! Keeps a second server out of a folder.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use relais_store::private;

/// The file of the data folder that its server has locked.
const DATA_LOCK: &str = "server.lock";

/// Why a folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FolderLockError {
    /// Another server has it.
    #[error(
        "{} is in use by another server: stop it, or give this server a folder of its own with {remedy}. Servers may share a \
         PostgreSQL database, but not a folder", .folder.display()
    )]
    InUse {
        /// Which folder.
        folder: PathBuf,
        /// The settings that choose another.
        remedy: &'static str,
    },
    /// It cannot be used.
    #[error("{}: {error}; {}", .folder.display(), crate::disk::remedy(error))]
    Io {
        /// Which folder.
        folder: PathBuf,
        /// The error of the disk.
        error: io::Error,
    },
}

/// A folder that no other server has until this is dropped. The system lets go of it when the process ends, however it
/// ends. Commands of the command line do not ask for it: they work beside a server.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes a folder, by a lock on `file`, which is the folder or in it; `remedy` names the settings that choose another folder.
    ///
    /// # Errors
    /// [`FolderLockError`], at once.
    pub fn take(folder: &Path, file: File, remedy: &'static str) -> Result<Self, FolderLockError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FolderLockError::InUse { folder: folder.to_owned(), remedy });
            }
            // Some network file systems know no locks.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, folder = %folder.display(), "a second server in this folder is not noticed");
            }
        }
        Ok(Self { _file: file })
    }

    /// Takes the data folder.
    ///
    /// # Errors
    /// [`FolderLockError`], at once.
    pub fn take_data(folder: &Path) -> Result<Self, FolderLockError> {
        let opened = private::options().create(true).truncate(false).write(true).open(folder.join(DATA_LOCK));
        let file = opened.map_err(|error| FolderLockError::Io { folder: folder.to_owned(), error })?;
        Self::take(folder, file, "--data or RELAIS_DATA")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_servers_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take_data(folder.path()).unwrap();
        let refused = FolderLock::take_data(folder.path()).unwrap_err();
        assert!(matches!(refused, FolderLockError::InUse { .. }), "{refused}");
        drop(first);
        FolderLock::take_data(folder.path()).unwrap();
    }
}
