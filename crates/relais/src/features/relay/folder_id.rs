//! The identity of the folder: another one, or the empty mount point of a missing disk, must not be taken for the known
//! folder with all its files deleted.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{self, Mode, OFlags};

use crate::auth::secret::random_hex;

/// Hidden from programs that look for sociétés.
const MARKER: &str = ".relais-folder";
/// Random bytes of an id.
const ID_BYTES: usize = 16;

/// The id stored in the folder; a folder without one is assigned one.
///
/// # Errors
/// Why the marker cannot be read or written.
pub(super) fn of(base: &OwnedFd) -> io::Result<String> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut marker = File::from(fs::openat(base, MARKER, flags, Mode::from(0o644))?);
    let mut found = Vec::new();
    Read::by_ref(&mut marker).take(ID_BYTES as u64 * 4).read_to_end(&mut found)?;
    if found.len() == ID_BYTES * 2
        && let Ok(id) = String::from_utf8(found)
    {
        return Ok(id);
    }
    // New, or truncated by a crash; then it counts as another folder, which costs no more than a comparison.
    let id = random_hex::<ID_BYTES>().map_err(io::Error::other)?;
    marker.set_len(0)?;
    marker.rewind()?;
    marker.write_all(id.as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_id_and_shares_it_with_no_other() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = |dir: &tempfile::TempDir| of(&File::open(dir.path()).unwrap().into()).unwrap();
        assert_eq!(id(&one), id(&one));
        assert_ne!(id(&one), id(&other));
        std::fs::write(one.path().join(MARKER), "torn").unwrap();
        let fresh = id(&one);
        assert_eq!(fresh.len(), ID_BYTES * 2);
        assert_eq!(id(&one), fresh);
    }
}
