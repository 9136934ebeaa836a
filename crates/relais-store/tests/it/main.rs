//! The contract of the store, kept by both databases.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and start tasks of their own")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commits;
mod crash;
mod delivery;
mod failures;
mod groups;
mod jobs;
mod lane;
mod locks;
mod log;
mod order;
mod outage;
mod packs;
mod tls;

use std::sync::Arc;

use parking_lot::Mutex;
use relais_protocol::event::{Event, Topic};
use relais_protocol::time::SharedClock;
use relais_store::{EventSink, Migration, Query, Store, StoreConfig, StoreError, WriteTx, params};
use relais_testkit::{TestClock, TestDb};

const NOTES: Migration = Migration {
    version: 100,
    name: "notes",
    sql: "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL, bytes {blob})",
};

/// Keeps what the store published, in the order in which it did; and the events that it amended, each with its data and
/// how many events had come before.
#[derive(Default)]
struct Recorder(Mutex<Vec<Arc<Event>>>, Mutex<Vec<(u64, String, usize)>>);

impl EventSink for Recorder {
    fn committed(&self, event: Arc<Event>) {
        self.0.lock().push(event);
    }

    fn amended(&self, seq: u64, data: Arc<str>) {
        let before = self.0.lock().len();
        self.1.lock().push((seq, data.to_string(), before));
    }
}

impl Recorder {
    /// What was told: name and offset, in order.
    fn told(&self) -> Vec<(String, u64)> {
        self.0.lock().iter().map(|event| (event.name.to_string(), event.offset)).collect()
    }

    fn seqs(&self) -> Vec<u64> {
        self.0.lock().iter().map(|event| event.seq).collect()
    }
}

/// A closure of a group.
type Job<T> = Box<dyn FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError> + Send>;

/// The writer waits until this is gone.
struct Held {
    _release: std::sync::mpsc::SyncSender<()>,
    _done: tokio::task::JoinHandle<()>,
}

/// One test on one database.
struct Bench {
    db: TestDb,
    store: Store,
    sink: Arc<Recorder>,
    clock: Arc<TestClock>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new(db: TestDb) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let clock = TestClock::at(1_700_000_000_000);
        let (store, sink) = open(&db, &clock).unwrap();
        Self { db, store, sink, clock, runtime }
    }

    /// Closes the store and opens it again, as a restart does.
    fn reopen(&mut self) {
        self.runtime.block_on(self.store.shutdown());
        (self.store, self.sink) = open(&self.db, &self.clock).unwrap();
    }

    fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.runtime.block_on(self.store.write(f))
    }

    /// Holds the writer inside a closure until the end of what is returned, so that what comes meanwhile is one group.
    fn hold_writer(&self) -> Held {
        let (started, has_started) = std::sync::mpsc::sync_channel(1);
        let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
        let store = self.store.clone();
        let done = self.runtime.spawn(async move {
            let held = store.write(move |_| {
                let _ = started.send(());
                let _ = released.recv();
                Ok::<_, StoreError>(())
            });
            held.await.unwrap();
        });
        has_started.recv().unwrap();
        Held { _release: release, _done: done }
    }

    /// The results of closures that ran in one group, in their order.
    fn group<T: Send + 'static>(&self, closures: Vec<Job<T>>) -> Vec<Result<T, StoreError>> {
        let held = self.hold_writer();
        let writes = closures.into_iter().map(|run| self.store.write(run));
        // They are polled in their order, so all are queued when the last is polled.
        let release = async { drop(held) };
        self.runtime
            .block_on(async { futures_util::join!(futures_util::future::join_all(writes), release).0 })
    }

    fn notes(&self) -> Vec<String> {
        let read = self
            .store
            .read(|tx| tx.query("SELECT id FROM notes ORDER BY id LIMIT 10000", params![], |r| r.text(0)));
        self.runtime.block_on(read).unwrap()
    }
}

fn open(db: &TestDb, clock: &Arc<TestClock>) -> Result<(Store, Arc<Recorder>), StoreError> {
    let clock: SharedClock = clock.clone();
    let store = Store::open(&StoreConfig::new(db.url()), &[NOTES], clock)?;
    let sink = Arc::new(Recorder::default());
    assert!(store.set_sink(sink.clone()));
    Ok((store, sink))
}

fn on_each(test: impl Fn(Bench)) {
    for make in TestDb::each() {
        test(Bench::new(make()));
    }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

/// A second process on the same database, which hears nothing.
fn other_process(bench: &Bench) -> Store {
    let mut config = StoreConfig::new(bench.db.url());
    config.beside_server = true;
    let clock: SharedClock = bench.clock.clone();
    Store::open(&config, &[NOTES], clock).unwrap()
}

fn emit(tx: &mut WriteTx<'_>, to: &str, name: &str) -> Result<u64, StoreError> {
    tx.emit(&topic(to), name, "{}".into()).map(|emitted| emitted.position.offset)
}

fn add_note(tx: &mut WriteTx<'_>, id: &str) -> Result<(), StoreError> {
    tx.execute("INSERT INTO notes (id, body) VALUES ($1, $2)", params![id, "text"])?;
    Ok(())
}
