//! A connection that is lost in the midst of a commit: nobody knows at first what became of it, and nothing is told twice or
//! not at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use relais_protocol::time::SharedClock;
use relais_store::{Store, StoreConfig, StoreError};
use relais_testkit::{Break, Proxy, TestClock, TestDb};

use super::{NOTES, Recorder, add_note, emit};

struct World {
    db: TestDb,
    wire: Proxy,
    store: Store,
    sink: Arc<Recorder>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let db = TestDb::postgres();
        let (wire, address) = db.wire();
        let clock: SharedClock = TestClock::at(0);
        let config = StoreConfig::new(address.parse().unwrap());
        let store = Store::open(&config, &[NOTES], clock).unwrap();
        let sink = Arc::new(Recorder::default());
        store.set_sink(sink.clone());
        Self { db, wire, store, sink, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    fn write(&self, name: &'static str) -> Result<u64, StoreError> {
        self.runtime.block_on(self.store.write(move |tx| {
            add_note(tx, name)?;
            emit(tx, "notes", name)
        }))
    }

    /// The next commit breaks the connection.
    fn break_commit(&self, place: Break) {
        self.wire.break_at(&["COMMIT"], place);
    }

    /// How many rows there are, asked past the wire.
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
    world.break_commit(Break::After);
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
    world.break_commit(Break::Before);
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
    world.break_commit(Break::Before);
    let unknown: Result<u64, StoreError> = write();
    assert!(matches!(unknown, Err(StoreError::CommitUnknown(_))), "{unknown:?}");
    assert_eq!(write(), Ok(1));
    world.runtime.block_on(world.store.shutdown());
}
