//! A connection that is lost in the midst of a commit: nobody knows at first what became of it, and nothing is told twice or
//! not at all.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use relais_protocol::time::SharedClock;
use relais_store::{Store, StoreConfig, StoreError};
use relais_testkit::{TestClock, TestDb};

use super::{NOTES, Recorder, add_note, emit};

/// What becomes of the next commit.
const PASS: u8 = 0;
/// It reaches the server, and the answer nobody.
const LOSE_ANSWER: u8 = 1;
/// It does not reach the server.
const LOSE_COMMIT: u8 = 2;

/// Stands between the store and the server.
struct Proxy {
    address: String,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    fn to(db: &TestDb) -> Self {
        let (base, name) = db.address().rsplit_once('/').unwrap();
        let (user, server) = base.rsplit_once('@').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(AtomicU8::new(PASS));
        let (server, seen) = (server.to_owned(), Arc::clone(&mode));
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                let (client_reads, server_writes) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                let mode = Arc::clone(&seen);
                std::thread::spawn(move || pass(&server, &client, |_| true));
                std::thread::spawn(move || pass(&client_reads, &server_writes, |bytes| decide(bytes, &mode)));
            }
        });
        Self { address: format!("{user}@127.0.0.1:{port}/{name}?sslmode=disable"), mode }
    }
}

/// Passes on what comes, as long as that is wanted; then both ends are closed.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut wanted: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut bytes = buffer[..count].to_vec();
        let goes_on = wanted(&mut bytes);
        if to.write_all(&bytes).is_err() || !goes_on {
            break;
        }
    }
    // What was passed on is still read there; nothing comes back.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Looks for the commit and does with it what the mode says, once. What was sent with it goes with it.
fn decide(bytes: &mut Vec<u8>, mode: &AtomicU8) -> bool {
    if !bytes.windows(6).any(|part| part == b"COMMIT") {
        return true;
    }
    match mode.swap(PASS, Ordering::SeqCst) {
        PASS => true,
        LOSE_ANSWER => false,
        _ => {
            bytes.clear();
            false
        }
    }
}

struct World {
    db: TestDb,
    proxy: Proxy,
    store: Store,
    sink: Arc<Recorder>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let db = TestDb::postgres();
        let proxy = Proxy::to(&db);
        let clock: SharedClock = TestClock::at(0);
        let config = StoreConfig::new(proxy.address.parse().unwrap());
        let store = Store::open(&config, &[NOTES], clock).unwrap();
        let sink = Arc::new(Recorder::default());
        store.set_sink(sink.clone());
        Self { db, proxy, store, sink, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    fn write(&self, name: &'static str) -> Result<u64, StoreError> {
        self.runtime.block_on(self.store.write(move |tx| {
            add_note(tx, name)?;
            emit(tx, "notes", name)
        }))
    }

    /// How many rows there are, asked past the proxy.
    fn count(&self, sql: &'static str) -> i64 {
        let address = self.db.address().to_owned();
        let count = move || {
            let mut client = postgres::Client::connect(&address, postgres::NoTls).unwrap();
            client.query_one(sql, &[]).unwrap().get(0)
        };
        std::thread::spawn(count).join().unwrap()
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_unknown_and_its_events_are_told_once_it_is_known() {
    let world = World::new();
    assert_eq!(world.write("a"), Ok(1));
    world.proxy.mode.store(LOSE_ANSWER, Ordering::SeqCst);
    let unknown = world.write("b").unwrap_err();
    assert!(matches!(unknown, StoreError::CommitUnknown(_)) && unknown.is_temporary(), "{unknown}");
    assert_eq!(world.sink.seqs(), [1], "nothing is told that may not be so");
    // The server works on the commit while the answer has nowhere to go.
    let began = Instant::now();
    while world.count("SELECT COUNT(*) FROM notes") < 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "the commit had reached the server");
    }
    assert!(world.write("b").unwrap_err().is_conflict(), "sending it again makes it once");
    assert_eq!(world.write("c"), Ok(3));
    let told = [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)];
    assert_eq!(world.sink.told(), told, "in order, each once");
    assert_eq!(world.count("SELECT COUNT(*) FROM events"), 3);
    world.runtime.block_on(world.store.shutdown());
}

#[test]
fn a_commit_that_never_reached_the_server_is_unknown_and_stored_when_it_is_sent_again() {
    let world = World::new();
    assert_eq!(world.write("a"), Ok(1));
    world.proxy.mode.store(LOSE_COMMIT, Ordering::SeqCst);
    assert!(matches!(world.write("b"), Err(StoreError::CommitUnknown(_))));
    assert_eq!(world.write("b"), Ok(2), "the number of what was not stored is given out again");
    assert_eq!(world.sink.told(), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(world.count("SELECT COUNT(*) FROM notes"), 2);
    world.runtime.block_on(world.store.shutdown());
}

#[test]
fn an_unknown_commit_of_rows_is_told_as_such() {
    let world = World::new();
    let write = || {
        world.runtime.block_on(world.store.write_rows(|tx| {
            let sql = "INSERT INTO notes (id, body) VALUES ('a', '') ON CONFLICT (id) DO NOTHING";
            tx.execute(sql, &[])
        }))
    };
    world.proxy.mode.store(LOSE_COMMIT, Ordering::SeqCst);
    let unknown: Result<u64, StoreError> = write();
    assert!(matches!(unknown, Err(StoreError::CommitUnknown(_))), "{unknown:?}");
    assert_eq!(write(), Ok(1));
    world.runtime.block_on(world.store.shutdown());
}
