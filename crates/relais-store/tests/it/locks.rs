//! Others that hold what a transaction needs: for too long, or while they wait for it themselves. And rows beside the log,
//! which wait for nobody's events.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use relais_protocol::time::SharedClock;
use relais_store::{DatabaseUrl, RowTx, Store, StoreConfig, StoreError, params};
use relais_testkit::{TestClock, TestDb};

use super::{Bench, NOTES, add_note, emit, on_each};

/// Somebody else with a transaction that is open until this goes.
struct Stranger {
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stranger {
    /// `sql` is what they did in it, on PostgreSQL; on SQLite they write, whatever it is.
    fn holding(db: &TestDb, sql: &'static str) -> Self {
        let (end, ends) = sync_channel::<()>(1);
        let (begun, has_begun) = sync_channel(1);
        let (url, address) = (db.url(), db.address().to_owned());
        let thread = std::thread::spawn(move || match url {
            DatabaseUrl::Sqlite(path) => {
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                begun.send(()).unwrap();
                let _ = ends.recv();
                connection.execute_batch("ROLLBACK").unwrap();
            }
            DatabaseUrl::Postgres(_) => {
                let mut client = postgres::Client::connect(&address, postgres::NoTls).unwrap();
                client.batch_execute("BEGIN").unwrap();
                client.batch_execute(sql).unwrap();
                begun.send(()).unwrap();
                let _ = ends.recv();
                client.batch_execute("ROLLBACK").unwrap();
            }
        });
        has_begun.recv().unwrap();
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn impatient(db: &TestDb) -> Store {
    let mut config = StoreConfig::new(db.url());
    config.lock_timeout = Duration::from_millis(100);
    let clock: SharedClock = TestClock::at(0);
    Store::open(&config, &[NOTES], clock).unwrap()
}

const HEAD: &str = "SELECT seq FROM log_head WHERE id = 1 FOR UPDATE";

#[test]
fn whoever_finds_the_log_locked_for_too_long_is_told_and_succeeds_later() {
    for make in TestDb::each() {
        let db = make();
        let store = impatient(&db);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let write = || {
            runtime.block_on(store.write(|tx| {
                add_note(tx, "a")?;
                emit(tx, "notes", "added")
            }))
        };
        let stranger = Stranger::holding(&db, HEAD);
        let refused = write().unwrap_err();
        assert!(matches!(refused, StoreError::Locked(_)) && refused.is_temporary(), "{refused}");
        assert_eq!(runtime.block_on(store.check()), Ok(()), "reading goes on");
        drop(stranger);
        assert_eq!(write(), Ok(1), "nothing was stored before");
        runtime.block_on(store.shutdown());
    }
}

#[test]
fn a_row_that_is_locked_for_too_long_is_an_error_of_its_closure() {
    let db = TestDb::postgres();
    let store = impatient(&db);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store.write(|tx| add_note(tx, "held"))).unwrap();
    let stranger = Stranger::holding(&db, "UPDATE notes SET body = 'theirs' WHERE id = 'held'");
    let change = |id: &'static str| {
        store.write(move |tx| {
            emit(tx, "notes", id)?;
            tx.execute("UPDATE notes SET body = 'ours' WHERE id = $1", params![id])
        })
    };
    let (held, free) = runtime.block_on(async { futures_util::join!(change("held"), change("free")) });
    assert!(matches!(held, Err(StoreError::Locked(_))), "{held:?}");
    assert_eq!(free, Ok(0));
    assert_eq!(store.head().seq, 1, "the event of the other one alone");
    drop(stranger);
    assert_eq!(runtime.block_on(change("held")), Ok(1));
    runtime.block_on(store.shutdown());
}

fn set(tx: &mut RowTx<'_, '_>, id: &str, body: &str) -> Result<u64, StoreError> {
    tx.execute(
        "INSERT INTO notes (id, body) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        params![id, body],
    )
}

#[test]
fn rows_without_events_are_written_whole_or_not_at_all() {
    on_each(|bench: Bench| {
        let write = |fails: bool| {
            bench.runtime.block_on(bench.store.write_rows(move |tx| {
                set(tx, "a", "1")?;
                set(tx, "b", "1")?;
                if fails { Err(StoreError::Value("no".into())) } else { Ok(()) }
            }))
        };
        assert_eq!(write(true), Err(StoreError::Value("no".into())));
        assert!(bench.notes().is_empty());
        assert_eq!(write(false), Ok(()));
        assert_eq!(bench.notes(), ["a", "b"]);
        let conflict = bench.runtime.block_on(
            bench
                .store
                .write_rows(|tx| tx.execute("INSERT INTO notes (id, body) VALUES ('a', '')", params![])),
        );
        assert!(conflict.is_err_and(|error: StoreError| error.is_conflict()));
        let panicked: Result<(), StoreError> = bench.runtime.block_on(bench.store.write_rows(|tx| {
            set(tx, "c", "1")?;
            panic!("on purpose")
        }));
        assert_eq!(panicked, Err(StoreError::Panicked));
        assert_eq!(bench.notes(), ["a", "b"]);
        bench.runtime.block_on(bench.store.shutdown());
        assert_eq!(write(false), Err(StoreError::Closed));
    });
}

#[test]
fn rows_without_events_do_not_wait_for_the_log_nor_the_log_for_them() {
    let bench = Bench::new(TestDb::postgres());
    let held = bench.hold_writer();
    let written = bench.runtime.block_on(bench.store.write_rows(|tx| set(tx, "a", "1")));
    assert_eq!(written, Ok(1), "while a transaction holds the head");
    drop(held);
    let stranger = Stranger::holding(&bench.db, "UPDATE notes SET body = 'theirs' WHERE id = 'a'");
    let store = bench.store.clone();
    let waiting = bench.runtime.spawn(async move { store.write_rows(|tx| set(tx, "a", "2")).await });
    bench.write(|tx| emit(tx, "notes", "added")).unwrap();
    assert!(!waiting.is_finished());
    drop(stranger);
    assert_eq!(bench.runtime.block_on(waiting).unwrap(), Ok(1));
}

#[test]
fn rows_without_events_give_way_to_whoever_waits_for_them_and_are_written_after() {
    let bench = Bench::new(TestDb::postgres());
    bench
        .runtime
        .block_on(bench.store.write_rows(|tx| set(tx, "a", "0").and_then(|_| set(tx, "b", "0"))))
        .unwrap();
    // One holds `a` and wants `b`, the other holds `b` and wants `a`.
    let (holds, is_held) = sync_channel(1);
    let (go_on, may_go_on) = sync_channel::<()>(1);
    let may_go_on = parking_lot::Mutex::new(Some(may_go_on));
    let store = bench.store.clone();
    let rows = bench.runtime.spawn(async move {
        let both = store.write_rows(move |tx| {
            set(tx, "a", "rows")?;
            if let Some(first_time) = may_go_on.lock().take() {
                holds.send(()).unwrap();
                let _ = first_time.recv();
            }
            set(tx, "b", "rows")
        });
        both.await
    });
    is_held.recv().unwrap();
    let began = Instant::now();
    let written = bench.write(move |tx| {
        tx.execute("UPDATE notes SET body = 'log' WHERE id = 'b'", params![])?;
        go_on.send(()).map_err(|_| StoreError::Panicked)?;
        tx.execute("UPDATE notes SET body = 'log' WHERE id = 'a'", params![])?;
        emit(tx, "notes", "changed")
    });
    assert_eq!(written, Ok(1), "the log never gives way");
    assert!(began.elapsed() < Duration::from_secs(9), "and nobody waited until the lock's time-out");
    assert_eq!(bench.runtime.block_on(rows).unwrap(), Ok(1));
}
