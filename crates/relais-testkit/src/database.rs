//! A database per test.

use std::net::ToSocketAddrs as _;
use std::sync::atomic::{AtomicU32, Ordering};

use relais_store::DatabaseUrl;

use crate::Proxy;

/// A database that exists for one test.
pub struct TestDb {
    url: String,
    _folder: Option<tempfile::TempDir>,
    server: Option<String>,
}

impl TestDb {
    /// An empty SQLite file.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    #[must_use]
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("relais.db").display());
        Self { url, _folder: Some(folder), server: None }
    }

    /// An empty database on the server that `RELAIS_TEST_POSTGRES` names. Blocks briefly.
    ///
    /// # Panics
    /// If there is no such server: a test that needs one must not pass without it.
    #[must_use]
    pub fn postgres() -> Self {
        let server = std::env::var("RELAIS_TEST_POSTGRES").expect(
            "RELAIS_TEST_POSTGRES has the address of a PostgreSQL server: run the tests with `make test`",
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("relais_test_{}_{number}", std::process::id());
        administer(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        administer(&server, &format!("CREATE DATABASE {name}"));
        let (base, _) = server.rsplit_once('/').expect("an address ends with the name of a database");
        Self { url: format!("{base}/{name}"), _folder: None, server: Some(server) }
    }

    /// Both kinds, one after the other.
    #[must_use]
    pub fn each() -> [fn() -> Self; 2] {
        [Self::sqlite, Self::postgres]
    }

    /// Its address.
    ///
    /// # Panics
    /// Never: this type built the address.
    #[must_use]
    pub fn url(&self) -> DatabaseUrl {
        self.url.parse().expect("an address")
    }

    /// Its address, in the form that settings take.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.url
    }

    /// Whether it is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        self.server.is_some()
    }

    /// A proxy to a PostgreSQL database, and the address of the database through it.
    ///
    /// # Panics
    /// If the database is not PostgreSQL.
    #[must_use]
    pub fn wire(&self) -> (Proxy, String) {
        assert!(self.is_postgres(), "only PostgreSQL has connections");
        let (base, name) = self.url.rsplit_once('/').expect("an address ends with the name of a database");
        let at = base.rfind('@').or_else(|| base.rfind('/')).expect("an address has a host") + 1;
        let server = base[at..].to_socket_addrs().ok().and_then(|mut all| all.next());
        let proxy = Proxy::to(server.expect("the address names host and port"));
        let address = format!("{}{}/{name}?sslmode=disable", &base[..at], proxy.address());
        (proxy, address)
    }

    /// Closes every connection to a PostgreSQL database, as a restart of the server does.
    ///
    /// # Panics
    /// If the database is not PostgreSQL, or the command fails.
    pub fn cut_connections(&self) {
        let server = self.server.as_deref().expect("only PostgreSQL has connections");
        let (_, name) = self.url.rsplit_once('/').expect("an address ends with the name of a database");
        administer(
            server,
            &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
        );
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if let (Some(server), Some((_, name))) = (&self.server, self.url.rsplit_once('/')) {
            administer(server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        }
    }
}

/// In a thread of its own: the client has a runtime, which cannot run inside that of a test.
fn administer(server: &str, statement: &str) {
    let obey = || {
        let mut client =
            postgres::Client::connect(server, postgres::NoTls).expect("the PostgreSQL server answers");
        client.batch_execute(statement).expect("the statement is carried out");
    };
    std::thread::scope(|scope| scope.spawn(obey).join()).expect("the database server does what tests ask");
}
