//! Replaced files, reused for new contents.
//!
//! Creating a file and deleting the one it replaces costs a file system far more than the content does (on ext4 a
//! millisecond and more under load, because freed inodes are not reused for a while). So a new content changes places
//! with the old one by an exchange of names, and the old file becomes a spare that the next content is written into.
//!
//! A spare may still be open in a program that started to read it before the exchange, and must then not be modified.
//! The kernel detects this: it grants a write lease (`fcntl(2)`, `F_SETLEASE`) only on a file that nobody else has open
//! or mapped. Without a lease the spare is discarded.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

/// Permissions of the relay's files.
pub(super) const MODE: u32 = 0o644;

/// Maximum number of spares.
const SPARES_MAX: usize = 256;

/// The spares of one folder, by their names in the staging folder.
#[derive(Default)]
pub(super) struct Spares(Mutex<Vec<String>>);

impl Spares {
    /// A spare that nobody else uses, open for writing from its beginning. Its old content is still there.
    pub(super) fn take(&self, staging: &OwnedFd) -> Option<(String, File)> {
        loop {
            let name = self.0.lock().pop()?;
            if let Some(file) = open_alone(staging, &name) {
                return Some((name, file));
            }
            discard(staging, &name);
        }
    }

    /// Keeps a replaced file for the next content.
    pub(super) fn give(&self, staging: &OwnedFd, name: String) {
        let mut spares = self.0.lock();
        if spares.len() < SPARES_MAX {
            spares.push(name);
        } else {
            drop(spares);
            discard(staging, &name);
        }
    }
}

fn discard(staging: &OwnedFd, name: &str) {
    if let Err(error) = fs::unlinkat(staging, name, AtFlags::empty()) {
        tracing::warn!(%error, name, "a replaced file could not be removed");
    }
}

/// Opens a spare if it is a plain file as the relay creates them, has no other name, and is open nowhere else.
fn open_alone(staging: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::openat(staging, name, flags, Mode::empty()).ok()?;
    let stat = fs::fstat(&file).ok()?;
    let ordinary = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && Mode::from_raw_mode(stat.st_mode) == Mode::from(MODE)
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw();
    (ordinary && lease(&file)).then(|| File::from(file))
}

/// Asks for a write lease, which ends when the file is closed.
#[expect(
    unsafe_code,
    reason = "no safe wrapper of F_SETLEASE exists; the descriptor is open and the call takes an integer"
)]
fn lease(file: &OwnedFd) -> bool {
    // SAFETY: `file` is an open descriptor for the whole call, and F_SETLEASE reads no memory of the process.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0 }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn staging_with(name: &str) -> (tempfile::TempDir, OwnedFd) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), "old").unwrap();
        let fd = fs::open(dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn a_file_that_nobody_uses_is_used_again() {
        let (_dir, staging) = staging_with("1");
        let spares = Spares::default();
        spares.give(&staging, "1".into());
        assert_eq!(spares.take(&staging).map(|(name, _)| name), Some("1".into()));
        assert!(spares.take(&staging).is_none());
    }

    #[test]
    fn a_file_that_a_reader_has_open_does_not_change_under_its_eyes() {
        let (dir, staging) = staging_with("1");
        let mut reader = File::open(dir.path().join("1")).unwrap();
        let spares = Spares::default();
        spares.give(&staging, "1".into());
        assert!(spares.take(&staging).is_none());
        assert!(!dir.path().join("1").exists(), "it is thrown away");
        let mut content = String::new();
        reader.read_to_string(&mut content).unwrap();
        assert_eq!(content, "old");
    }

    #[test]
    fn a_file_with_another_name_or_other_permissions_is_not_used() {
        let (dir, staging) = staging_with("1");
        std::fs::hard_link(dir.path().join("1"), dir.path().join("backup")).unwrap();
        assert!(open_alone(&staging, "1").is_none());
        std::fs::remove_file(dir.path().join("backup")).unwrap();
        assert!(open_alone(&staging, "1").is_some());
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.path().join("1"), private).unwrap();
        assert!(open_alone(&staging, "1").is_none());
    }
}
