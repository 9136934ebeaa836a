//! The inspection of `relais doctor`: whether everything in the folder could be served. Changes nothing, so it may run
//! beside a server.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use relais_store::{Store, StoreError};
use rustix::fs::{self, Mode, OFlags};

use super::json;
use super::left_out::{Cause, LeftOut, Spot};
use super::listing::{self, open_dir};
use super::name::{FileName, SocieteName};
use super::plain_file::{Found, read_at};
use super::schema::Schemas;
use super::service::rules;
use super::store;
use crate::config::RelayConfig;

/// The result.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// Sociétés that are served.
    pub societes: usize,
    /// Files that are served.
    pub files: usize,
    /// What is not served, and why.
    pub left_out: Vec<LeftOut>,
}

/// Examines everything in the folder as the server would.
///
/// # Errors
/// A disk error of the folder as a whole.
pub(super) fn inspect(path: &Path, config: &RelayConfig) -> io::Result<Inspection> {
    let base = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (schemas, _) = Schemas::load(&config.schemas);
    let mut found = Inspection::default();
    let listing = listing::societes(&base, &config.extensions)?;
    found.leave_out(listing.left_out, Spot::outside);
    for societe in listing.served {
        found.societes += 1;
        let looked = open_dir(&base, &societe.on_disk)
            .and_then(|dir| found.look_into(&dir, &societe.name, config, &schemas));
        if let Err(error) = looked {
            let cause = Cause::Unreadable(error.to_string());
            found.left_out.push(LeftOut { spot: Spot::societe(&societe.name), cause });
        }
    }
    Ok(found)
}

impl Inspection {
    fn leave_out(&mut self, some: Vec<(String, Cause)>, spot: impl Fn(&str) -> Spot) {
        self.left_out.extend(some.into_iter().map(|(name, cause)| LeftOut { spot: spot(&name), cause }));
    }

    fn look_into(
        &mut self,
        dir: &OwnedFd,
        societe: &SocieteName,
        config: &RelayConfig,
        schemas: &Schemas,
    ) -> io::Result<()> {
        let listing = listing::files(dir, &config.extensions)?;
        self.leave_out(listing.left_out, |name| Spot::entry(societe, name));
        for file in listing.served {
            let cause = match read_at(dir, &file.on_disk, config.file_bytes_max) {
                Err(error) => Some(Cause::Unreadable(error.to_string())),
                Ok(Found::Nothing) => None,
                Ok(Found::Unfit(cause)) => Some(cause),
                Ok(Found::Content(_, content)) => fault(societe, &file.name, &content, config, schemas),
            };
            match cause {
                None => self.files += 1,
                Some(cause) => {
                    self.left_out.push(LeftOut { spot: Spot::file(societe, &file.name), cause });
                }
            }
        }
        Ok(())
    }
}

fn fault(
    societe: &SocieteName,
    filename: &FileName,
    content: &[u8],
    config: &RelayConfig,
    schemas: &Schemas,
) -> Option<Cause> {
    if content.is_empty() {
        return Some(Cause::Content(super::RelayError::Empty.said().french().to_owned()));
    }
    let checked = json::check(content, rules(config)).map_err(super::RelayError::Json);
    let checked =
        checked.and_then(|()| schemas.check(societe, filename, content).map_err(super::RelayError::Schema));
    checked.err().map(|error| Cause::Content(error.said().french().to_owned()))
}

/// The invalid rows of files, each with its fault.
///
/// # Errors
/// A database error.
pub async fn broken_rows(store: &Store) -> Result<Vec<String>, StoreError> {
    let (_, broken) = store.read(|tx| store::all_files(tx)).await?;
    Ok(broken.into_iter().map(|row| format!("{}/{}: {}", row.societe, row.filename, row.fault)).collect())
}
