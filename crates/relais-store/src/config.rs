//! Where the database is and how much the store may hold in memory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::StoreError;

/// Which database, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of the embedded database: `sqlite:PATH`.
    Sqlite(PathBuf),
    /// A PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    Postgres(String),
}

impl DatabaseUrl {
    /// The embedded database in the file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(path.into())
    }
}

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // Both `sqlite:relative` and the customary `sqlite:///absolute` name a path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err(StoreError::Url(text.to_owned())),
                path => Ok(Self::Sqlite(path.into())),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let url = Self::Postgres(text.to_owned());
            return match text.parse::<postgres::Config>() {
                Ok(_) => Ok(url),
                Err(_) => Err(StoreError::Url(url.to_string())),
            };
        }
        Err(StoreError::Url(text.to_owned()))
    }
}

/// The address without its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
                let rest = rest.split('?').next().unwrap_or("");
                match rest.rsplit_once('@') {
                    Some((user, host)) => {
                        let user = user.split(':').next().unwrap_or("");
                        write!(f, "{scheme}://{user}@{host}")
                    }
                    None => write!(f, "{scheme}://{rest}"),
                }
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a [`Store`](crate::Store) is opened.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Which database, and where.
    pub url: DatabaseUrl,
    /// The most commands that are committed together.
    pub group_max: usize,
    /// The most commands that wait for the writer; when it is full, `write` waits.
    pub queue_max: usize,
    /// Connections for reading, and so the most reads that run at once.
    pub readers: usize,
    /// The size the SQLite file may grow to, in bytes; beyond it writes fail with [`StoreError::Full`].
    pub sqlite_bytes_max: Option<u64>,
    /// Whether this program may work on the SQLite file while a server has it, as short commands do.
    pub beside_server: bool,
    /// How long a PostgreSQL outage may last before waiting commands fail as temporarily unavailable.
    pub outage_patience: Duration,
}

impl StoreConfig {
    /// The defaults for the database at `url`.
    #[must_use]
    pub fn new(url: DatabaseUrl) -> Self {
        Self {
            url,
            group_max: 256,
            queue_max: 4096,
            readers: 4,
            sqlite_bytes_max: None,
            beside_server: false,
            outage_patience: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_databases_are_understood() {
        assert_eq!("sqlite:data/relais.db".parse(), Ok(DatabaseUrl::sqlite("data/relais.db")));
        assert_eq!("sqlite:///var/relais.db".parse(), Ok(DatabaseUrl::sqlite("/var/relais.db")));
        assert!(matches!("postgres://u@h/n".parse(), Ok(DatabaseUrl::Postgres(_))));
    }

    #[test]
    fn other_addresses_are_refused() {
        for text in ["", "sqlite:", "sqlite::memory:", "mysql://h/n", "relais.db", "postgres://h:x/n"] {
            assert!(text.parse::<DatabaseUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: DatabaseUrl = "postgres://relais:s3cr@t@db.example/relais?sslmode=disable".parse().unwrap();
        assert_eq!(format!("{url} {url:?}").matches("s3cr").count(), 0);
        assert_eq!(url.to_string(), "postgres://relais@db.example/relais");
    }
}
