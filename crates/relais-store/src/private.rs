//! Files and folders that only the user who runs the program may read.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Of files: the owner reads and writes.
const FILE: u32 = 0o600;
/// Of folders: the owner goes in.
const FOLDER: u32 = 0o700;

/// Makes a folder, and those above it that are missing, for the owner alone. One that is there stays as it is: whoever
/// made it may share it.
///
/// # Errors
/// What the disk reports.
pub fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// As [`create_folder`], for a folder that nobody else uses: access by others is removed from an existing one.
pub fn own_folder(path: &Path) -> io::Result<()> {
    create_folder(path)?;
    close_to_others(path)
}

/// Makes a file that is not there yet.
///
/// # Errors
/// What the disk reports, for instance that it is there.
pub fn create_file(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// With what a file of ours is opened that may have to be made.
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE);
    options
}

/// Takes the rights away that others have to a file or a folder of ours, as an earlier version left them. What is not
/// there needs none. The file is not opened: closing it would let go of the locks that this process has on it.
///
/// # Errors
/// What the disk reports.
pub fn close_to_others(path: &Path) -> io::Result<()> {
    let mode = match path.metadata() {
        Ok(found) => found.permissions().mode(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if mode & 0o077 == 0 {
        return Ok(());
    }
    match std::fs::set_permissions(path, Permissions::from_mode(mode & 0o700)) {
        // Of another user's file they decide.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_the_owners_alone_and_what_was_open_is_closed() {
        let base = tempfile::tempdir().unwrap();
        let (folder, file) = (base.path().join("a/b"), base.path().join("file"));
        create_folder(&folder).unwrap();
        create_file(&file).unwrap();
        assert_eq!((mode(&folder), mode(folder.parent().unwrap()), mode(&file)), (0o700, 0o700, 0o600));
        for path in [&folder, &file] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        create_folder(&folder).unwrap();
        assert_eq!(mode(&folder), 0o755, "whoever made it may share it");
        own_folder(&folder).unwrap();
        close_to_others(&file).unwrap();
        close_to_others(&base.path().join("absent")).unwrap();
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o700));
    }
}
