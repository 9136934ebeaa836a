//! The file in which the credentials of simulated devices are kept: a JSON object from id to credential.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::cli::CliError;

/// Credentials by the ids of their modules.
pub(super) type Credentials = BTreeMap<String, String>;

/// Reads the file; empty if there is none.
pub(super) fn read(path: &Path) -> Result<Credentials, CliError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Credentials::new()),
        Err(error) => return Err(failed(path, &error)),
    };
    serde_json::from_slice(&text).map_err(|error| {
        let text =
            format!("{}: not an object from ids to credentials: {error}; name another file", path.display());
        CliError::new(text)
    })
}

/// Writes the file anew, readable by its owner only: the former content stays until the new one is whole.
pub(super) fn write(path: &Path, credentials: &Credentials) -> Result<(), CliError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let written = || -> std::io::Result<()> {
        let mut file = create_private(beside)?;
        serde_json::to_writer_pretty(&mut file, credentials)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(beside, path)
    };
    written().map_err(|error| failed(path, &error))
}

fn create_private(path: &Path) -> std::io::Result<File> {
    // One that was left behind may have another mode.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn failed(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(format!("{}: {error}; name a file with --credentials that can be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nobody_else_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        assert_eq!(read(&path).unwrap(), Credentials::new());
        let credentials = Credentials::from([("MC-0000-STN".to_owned(), "secret".to_owned())]);
        for _ in 0..2 {
            write(&path, &credentials).unwrap();
            assert_eq!(read(&path).unwrap(), credentials);
        }
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "[]").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("name another file"));
    }
}
