//! Where the database is and how much the store may hold in memory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::StoreError;
use crate::jobs::JobLimits;
use crate::postgres::Address;

/// Which database, and where.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of the embedded database: `sqlite:PATH`.
    Sqlite(PathBuf),
    /// A PostgreSQL server: `postgres://USER:PASSWORD@HOST:PORT/NAME`, with parameters as libpq has them.
    Postgres(String),
}

impl DatabaseUrl {
    /// The embedded database in the file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::Sqlite(path.into())
    }

    /// Whether opening it makes a file that is not there yet.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Sqlite(path) if !path.exists())
    }

    /// Whether what is sent to the database leaves this computer.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.address().is_some_and(|address| address.is_remote())
    }

    /// Whether the server has to prove who it is before anything is sent to it.
    #[must_use]
    pub fn checks_certificate(&self) -> bool {
        self.address().is_some_and(|address| address.authorities.is_some())
    }

    fn address(&self) -> Option<Address> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(url) => Address::parse(url).ok(),
        }
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
            return Address::parse(text).map(|_| Self::Postgres(text.to_owned()));
        }
        Err(StoreError::Url(beginning_without_secret(text)))
    }
}

/// What may be shown of a text that is no address: another scheme, or keywords, may have a password too.
fn beginning_without_secret(text: &str) -> String {
    let is_plain =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    match text.split_once("://") {
        Some((scheme, _)) if is_plain(scheme) => format!("{scheme}://…"),
        _ if text.contains(['@', '=']) => "…".to_owned(),
        _ => text.to_owned(),
    }
}

/// The address without its password.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => match Address::parse(url) {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("postgres://…"),
            },
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
    /// How long a command waits for a lock that another connection holds before it fails as [`StoreError::Locked`].
    pub lock_timeout: Duration,
    /// How long a PostgreSQL outage may last before waiting commands fail as temporarily unavailable.
    pub outage_patience: Duration,
    /// How much work may wait.
    pub jobs: JobLimits,
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
            lock_timeout: Duration::from_secs(10),
            outage_patience: Duration::from_secs(5),
            jobs: JobLimits::default(),
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
    fn an_address_says_whether_it_leads_elsewhere() {
        for (text, remote) in [
            ("sqlite:relais.db", false),
            ("postgres://u@localhost/n", false),
            ("postgres://u@127.0.0.1,[::1]/n", false),
            ("postgres://u@%2Frun%2Fpostgresql/n", false),
            ("postgres://u@localhost,db.example/n", true),
            ("postgres://u@localhost/n?hostaddr=192.0.2.1", true),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>().map(|url| url.is_remote()), Ok(remote), "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "postgres://relais:s3cr@t@db.example/relais?sslmode=disable",
            "postgresql://relais:s3cr?t@db.example:5432/relais",
            "postgres://relais@db.example/relais?password=s3cr@t&sslmode=verify-full",
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(format!("{url} {url:?}"), ["postgres://relais@db.example/relais"; 2].join(" "));
        }
        for text in [
            "postgre://relais:s3cr@t@h/n",
            "postgres://relais:s3cr@h/n?ssl=on",
            "postgres://me:s3cr",
            "host=db password=s3cr",
            "host=db password=s3cr://x",
            "me:s3cr@db/relais",
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cr"), "{error}");
        }
    }
}
