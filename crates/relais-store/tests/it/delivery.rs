//! Events reach the sink once and in order, and nobody waits for that who writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relais_protocol::event::Event;
use relais_protocol::time::SharedClock;
use relais_store::{EventSink, Store, StoreConfig, StoreError, WriteTx};
use relais_testkit::{TestClock, TestDb};

use super::{Bench, NOTES, add_note, emit, on_each, other_process, topic};

const DEADLINE: Duration = Duration::from_secs(20);

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}

/// A sink that has room or not, and notes what it is told: the events of others with a mark.
#[derive(Default)]
struct Gate {
    is_full: AtomicBool,
    told: Mutex<Vec<String>>,
    amended: Mutex<Vec<u64>>,
}

impl EventSink for Gate {
    fn committed(&self, event: Arc<Event>) {
        assert!(!self.is_full.load(Ordering::SeqCst), "there was no room");
        self.told.lock().push(format!("{} {}", event.seq, event.data));
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::SeqCst)
    }

    fn caught_up(&self, event: &Event) {
        self.told.lock().push(format!("of others: {}", event.seq));
    }

    fn amended(&self, seq: u64, _: Arc<str>) {
        self.amended.lock().push(seq);
    }
}

fn open_with(db: &TestDb, sink: Arc<dyn EventSink>) -> Store {
    let clock: SharedClock = TestClock::at(0);
    let store = Store::open(&StoreConfig::new(db.url()), &[NOTES], clock).unwrap();
    store.set_sink(sink);
    store
}

#[test]
fn a_full_sink_holds_up_no_commit_and_is_given_everything_once_in_order() {
    for make in TestDb::each() {
        let db = make();
        let gate = Arc::new(Gate::default());
        let store = open_with(&db, gate.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let write = |name: &'static str| {
            let write = store.write(move |tx| {
                add_note(tx, name)?;
                tx.emit(&topic("notes"), name, format!("{{\"a\":\"{name}\"}}")).map(|emitted| emitted.seq)
            });
            runtime.block_on(write).unwrap()
        };
        write("1");
        gate.is_full.store(true, Ordering::SeqCst);
        // More than may wait for the completion thread, and more than one page of the log.
        for number in 2..=20 {
            assert_eq!(write(number.to_string().leak()), number);
        }
        let many = |tx: &mut WriteTx<'_>| (0..2500).try_for_each(|_| emit(tx, "notes", "many").map(drop));
        runtime.block_on(store.write(many)).unwrap();
        let amending = store.write(|tx| {
            for seq in [1, 5] {
                tx.amend(seq, |_| Some("{\"a\":\"amended\"}".into()))?;
            }
            emit(tx, "notes", "amended")
        });
        runtime.block_on(amending).unwrap();
        assert_eq!((gate.told.lock().len(), store.head().seq), (1, 1), "nothing is given without room");
        gate.is_full.store(false, Ordering::SeqCst);
        wait_for("everything is given", || store.head().seq == 2521);
        write("last");
        let told = gate.told.lock().clone();
        let seqs: Vec<u64> =
            told.iter().map(|told| told.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(seqs, (1..=2522).collect::<Vec<_>>(), "each once, in order, and none as one of others");
        assert_eq!(told[4], "5 {\"a\":\"amended\"}", "as it is now");
        assert_eq!(gate.amended.lock().first(), Some(&1), "what was given before is amended");
        runtime.block_on(store.shutdown());
    }
}

#[test]
fn events_of_others_are_told_apart_from_own_ones_that_found_no_room() {
    for make in TestDb::each() {
        let db = make();
        let gate = Arc::new(Gate::default());
        let store = open_with(&db, gate.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut config = StoreConfig::new(db.url());
        config.beside_server = true;
        let clock: SharedClock = TestClock::at(0);
        let other = Store::open(&config, &[NOTES], clock).unwrap();
        gate.is_full.store(true, Ordering::SeqCst);
        for writer in [&store, &other, &store, &store, &other] {
            runtime.block_on(writer.write(|tx| emit(tx, "notes", "added"))).unwrap();
        }
        gate.is_full.store(false, Ordering::SeqCst);
        runtime.block_on(store.catch_up()).unwrap();
        wait_for("everything is given", || store.head().seq == 5);
        let expected = ["1 {}", "of others: 2", "2 {}", "3 {}", "4 {}", "of others: 5", "5 {}"];
        assert_eq!(*gate.told.lock(), expected);
        runtime.block_on(other.shutdown());
        runtime.block_on(store.shutdown());
    }
}

/// Holds up whoever tells it of an event of others.
struct Slow(Mutex<Option<(SyncSender<()>, Receiver<()>)>>);

impl EventSink for Slow {
    fn committed(&self, _: Arc<Event>) {}

    fn caught_up(&self, _: &Event) {
        if let Some((is_told, may_go_on)) = self.0.lock().take() {
            is_told.send(()).unwrap();
            may_go_on.recv_timeout(DEADLINE).unwrap();
        }
    }
}

#[test]
fn events_of_others_are_handed_out_while_the_log_is_free() {
    for make in TestDb::each() {
        let db = make();
        let (told, is_told) = sync_channel(1);
        let (go_on, may_go_on) = sync_channel(1);
        let store = open_with(&db, Arc::new(Slow(Mutex::new(Some((told, may_go_on))))));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut config = StoreConfig::new(db.url());
        config.beside_server = true;
        let clock: SharedClock = TestClock::at(0);
        let other = Store::open(&config, &[NOTES], clock).unwrap();
        runtime.block_on(other.write(|tx| emit(tx, "notes", "of others"))).unwrap();
        let (own, store_of_own) = (runtime.handle().clone(), store.clone());
        let own = own.spawn(async move { store_of_own.write(|tx| emit(tx, "notes", "own")).await });
        is_told.recv_timeout(DEADLINE).unwrap();
        // The sink is in the midst of it, and what the group wrote is committed already.
        let offset = runtime.block_on(other.write(|tx| emit(tx, "notes", "of others again")));
        assert_eq!(offset, Ok(3));
        go_on.send(()).unwrap();
        assert_eq!(runtime.block_on(own).unwrap(), Ok(2));
        runtime.block_on(other.shutdown());
        runtime.block_on(store.shutdown());
    }
}

#[test]
fn whoever_asks_whether_the_database_answers_waits_for_no_writer() {
    on_each(|bench: Bench| {
        let held = bench.hold_writer();
        assert_eq!(bench.runtime.block_on(bench.store.check()), Ok(()));
        assert_eq!(bench.runtime.block_on(bench.store.catch_up()), Ok(()));
        drop(held);
        assert_eq!(bench.runtime.block_on(bench.store.check_writes()), Ok(()));
        bench.runtime.block_on(bench.store.shutdown());
        assert_eq!(bench.runtime.block_on(bench.store.check()), Err(StoreError::Closed));
    });
}

#[test]
fn whoever_catches_up_hears_of_others_without_writing() {
    on_each(|bench| {
        let other = other_process(&bench);
        let many = |tx: &mut WriteTx<'_>| (0..2500).try_for_each(|_| emit(tx, "notes", "many").map(drop));
        bench.runtime.block_on(other.write(many)).unwrap();
        bench.runtime.block_on(bench.store.catch_up()).unwrap();
        assert_eq!(bench.sink.seqs(), (1..=2500).collect::<Vec<_>>());
        bench.runtime.block_on(other.shutdown());
    });
}
