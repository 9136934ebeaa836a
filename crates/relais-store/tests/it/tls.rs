//! The way to a PostgreSQL server: encrypted, and with the right one, as far as the address asks for it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use relais_protocol::time::SharedClock;
use relais_store::{DatabaseUrl, Query, Store, StoreConfig, StoreError, params};
use relais_testkit::{TestClock, TestDb};

use super::NOTES;

/// A database, and the certificates of the server's authority and of one that has nothing to do with it.
struct Place {
    db: TestDb,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            db: TestDb::postgres(),
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        };
        let store = open(&place.address("")).unwrap();
        for (name, sql) in
            [("ca.crt", "SELECT pg_read_file('ca.crt')"), ("other.crt", "SELECT pg_read_file('other.crt')")]
        {
            let read = store.read(move |tx| tx.query_opt(sql, params![], |row| row.text(0)));
            let text = place.runtime.block_on(read).expect("a server that scripts/test-postgres started");
            std::fs::write(place.folder.path().join(name), text.unwrap()).unwrap();
        }
        place.runtime.block_on(store.shutdown());
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address of the database with these parameters.
    fn address(&self, query: &str) -> String {
        let DatabaseUrl::Postgres(url) = self.db.url() else { panic!("not PostgreSQL") };
        format!("{url}{query}")
    }

    /// The same server under the name `db.example`, which its certificate does not have.
    fn address_by_other_name(&self, query: &str) -> String {
        self.address(query).replace("@127.0.0.1:", "@db.example:") + "&hostaddr=127.0.0.1"
    }

    /// The version of TLS that a store at `address` works over.
    fn tls(&self, address: &str) -> Result<Option<String>, StoreError> {
        let store = open(address)?;
        let version = self.runtime.block_on(store.tls_version());
        self.runtime.block_on(store.shutdown());
        version
    }
}

fn open(address: &str) -> Result<Store, StoreError> {
    let clock: SharedClock = TestClock::at(0);
    Store::open(&StoreConfig::new(address.parse()?), &[NOTES], clock)
}

fn encrypted() -> Result<Option<String>, StoreError> {
    Ok(Some("TLSv1.3".to_owned()))
}

fn with(mode: &str, authority: &Path) -> String {
    format!("?sslmode={mode}&sslrootcert={}", authority.display())
}

#[test]
fn the_connection_is_encrypted_unless_the_address_says_no() {
    let place = Place::new();
    for query in ["", "?sslmode=prefer", "?sslmode=require"] {
        assert_eq!(place.tls(&place.address(query)), encrypted(), "{query}");
    }
    assert_eq!(place.tls(&place.address("?sslmode=disable")), Ok(None));
}

#[test]
fn prefer_goes_without_encryption_where_it_does_not_come_about() {
    let place = Place::new();
    // Without a name for the server there is no handshake.
    let with_name = place.address("");
    let (_, host) = with_name.split_once('@').unwrap();
    let (port, name) = host.trim_start_matches("127.0.0.1:").split_once('/').unwrap();
    let address = format!("postgres://relais@/{name}?hostaddr=127.0.0.1&port={port}");
    assert_eq!(place.tls(&address), Ok(None));
    let refused = place.tls(&format!("{address}&sslmode=require")).unwrap_err();
    assert!(matches!(refused, StoreError::Tls(_)), "{refused}");
}

#[test]
fn a_server_that_its_authority_vouches_for_is_accepted() {
    let place = Place::new();
    let authority = place.file("ca.crt");
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_eq!(place.tls(&place.address(&with(mode, &authority))), encrypted(), "{mode}");
    }
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let place = Place::new();
    let other = place.file("other.crt");
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = place.tls(&place.address(&with(mode, &other))).unwrap_err();
        assert!(matches!(error, StoreError::Tls(_)) && error.is_temporary(), "{mode}: {error}");
        assert!(error.to_string().contains("sslrootcert=FILE"), "{mode}: {error}");
    }
    let public = place.tls(&place.address("?sslmode=verify-full")).unwrap_err();
    assert!(public.to_string().contains("sslrootcert=FILE"), "{public}");
}

#[test]
fn a_server_of_another_name_is_refused_by_verify_full_only() {
    let place = Place::new();
    let authority = place.file("ca.crt");
    let error = place.tls(&place.address_by_other_name(&with("verify-full", &authority))).unwrap_err();
    assert!(matches!(error, StoreError::Tls(_)), "{error}");
    for part in ["localhost", "db.example", "sslmode=verify-ca"] {
        assert!(error.to_string().contains(part), "{part} is missing in: {error}");
    }
    assert_eq!(place.tls(&place.address_by_other_name(&with("verify-ca", &authority))), encrypted());
}

#[test]
fn a_file_without_certificates_is_named() {
    let place = Place::new();
    std::fs::write(place.file("empty.pem"), "no certificate\n").unwrap();
    for name in ["empty.pem", "missing.pem"] {
        let error = place.tls(&place.address(&with("verify-full", &place.file(name)))).unwrap_err();
        assert!(matches!(error, StoreError::Parameter(_)), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_server_without_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 8]).unwrap();
        stream.write_all(b"N").unwrap();
    });
    let refused = open(&format!("postgres://relais:s3cret@{address}/n?sslmode=require")).err().unwrap();
    server.join().unwrap();
    assert!(refused.to_string().contains("ssl = on"), "{refused}");
    assert!(!refused.to_string().contains("s3cret"), "{refused}");
}

#[test]
fn a_password_is_bound_to_the_encrypted_connection_and_never_told() {
    let place = Place::new();
    let admin = open(&place.address("")).unwrap();
    let make = admin.write(|tx| {
        tx.execute("DROP ROLE IF EXISTS relais_scram", params![])?;
        tx.execute("CREATE ROLE relais_scram SUPERUSER LOGIN PASSWORD 's3cret'", params![])
    });
    place.runtime.block_on(make).unwrap();
    let query = with("verify-full", &place.file("ca.crt")) + "&channel_binding=require";
    let address =
        |password: &str| place.address(&query).replace("//relais@", &format!("//relais_scram:{password}@"));
    let (right, wrong) = (place.tls(&address("s3cret")), place.tls(&address("wr0ng")));
    let drop_role = admin.write(|tx| tx.execute("DROP ROLE relais_scram", params![]));
    place.runtime.block_on(drop_role).unwrap();
    assert_eq!(right, encrypted());
    let error = wrong.unwrap_err();
    assert!(!error.to_string().contains("wr0ng"), "{error}");
}
