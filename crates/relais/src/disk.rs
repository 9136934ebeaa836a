//! Whether a folder can be written, and what to do about an error of a disk.

use std::io::{Error, ErrorKind};
use std::path::Path;

use relais_store::private;

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

/// Whether the server can write into a folder, which is made if it is missing.
///
/// # Errors
/// What to do.
pub(crate) fn check_folder(path: &Path) -> Result<String, String> {
    let fix = |error: Error| format!("{}: {error}; {}", path.display(), remedy(&error));
    private::create_folder(path).map_err(fix)?;
    let probe = path.join(format!(".relais-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"probe");
    let removed = std::fs::remove_file(&probe);
    written.and(removed).map_err(fix)?;
    Ok(format!("{} can be written", path.display()))
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
