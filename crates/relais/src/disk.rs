//! What to do about an error of a disk.

use std::io::{Error, ErrorKind};

/// The remedy for an error that writing to a file or folder met.
#[must_use]
pub fn remedy(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on this disk",
        ErrorKind::ReadOnlyFilesystem => {
            "it is mounted for reading only: mount it for writing, or choose another folder"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a file is where a folder has to be: move it away, or choose another folder"
        }
        ErrorKind::PermissionDenied => {
            "check its permissions: the user that runs this has to be able to write there"
        }
        _ => "check its permissions and its mount",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_matter_of_permissions() {
        for full in [28, 122] {
            assert_eq!(remedy(&Error::from_raw_os_error(full)), "free some space on this disk");
        }
        assert!(remedy(&Error::from_raw_os_error(30)).contains("reading only"));
        assert!(remedy(&Error::from_raw_os_error(13)).contains("permissions"));
        assert!(remedy(&Error::from_raw_os_error(5)).contains("mount"));
    }
}
