//! A server that is already there, a database of a newer program, no space, a lost connection.

use relais_protocol::time::SharedClock;
use relais_store::{Migration, Query, Store, StoreConfig, StoreError, params};
use relais_testkit::{TestClock, TestDb};

use super::{Bench, NOTES, add_note, emit, on_each, open};

#[test]
fn a_second_server_on_the_same_file_is_told_so() {
    let bench = Bench::new(TestDb::sqlite());
    assert!(matches!(open(&bench.db, &bench.clock), Err(StoreError::InUse(_))));
    bench.runtime.block_on(bench.store.shutdown());
    assert!(open(&bench.db, &bench.clock).is_ok());
}

#[test]
fn a_tool_works_beside_a_server_and_both_see_the_other() {
    let bench = Bench::new(TestDb::sqlite());
    let mut config = StoreConfig::new(bench.db.url());
    config.beside_server = true;
    let clock: SharedClock = bench.clock.clone();
    let tool = Store::open(&config, &[NOTES], clock).unwrap();
    bench.runtime.block_on(tool.write(|tx| add_note(tx, "tool"))).unwrap();
    bench.write(|tx| add_note(tx, "server")).unwrap();
    assert_eq!(bench.notes(), ["server", "tool"]);
    for (store, name) in [(&tool, "by_tool"), (&bench.store, "by_server"), (&tool, "by_tool")] {
        let emit = store.write(move |tx| tx.emit(&super::topic("notes"), name, "{}".into()));
        bench.runtime.block_on(emit).unwrap();
    }
    bench.write(|_| Ok(())).unwrap();
    let heard: Vec<_> = bench.sink.0.lock().iter().map(|e| (e.seq, e.offset, e.name.to_string())).collect();
    let expected = [(1, 1, "by_tool"), (2, 2, "by_server"), (3, 3, "by_tool")];
    assert_eq!(heard, expected.map(|(seq, offset, name)| (seq, offset, name.to_owned())));
    bench.runtime.block_on(tool.shutdown());
}

#[test]
fn a_migration_is_applied_once_and_a_newer_database_is_refused() {
    on_each(|mut bench| {
        bench.write(|tx| add_note(tx, "a")).unwrap();
        bench.reopen();
        assert_eq!(bench.notes(), ["a"]);
        bench.runtime.block_on(bench.store.shutdown());
        let clock: SharedClock = TestClock::at(0);
        let older = Store::open(&StoreConfig::new(bench.db.url()), &[], clock);
        assert!(matches!(older, Err(StoreError::Schema(_))));
    });
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() {
    on_each(|bench| {
        bench.runtime.block_on(bench.store.shutdown());
        let broken = Migration {
            version: 101,
            name: "broken",
            sql: "CREATE TABLE half (id TEXT); CREATE TABLE notes (id TEXT)",
        };
        let clock: SharedClock = TestClock::at(0);
        assert!(Store::open(&StoreConfig::new(bench.db.url()), &[NOTES, broken], clock).is_err());
        let (store, _) = open(&bench.db, &bench.clock).unwrap();
        let half = bench.runtime.block_on(
            store.read(|tx| tx.query_opt("SELECT id FROM half LIMIT 1", params![], |row| row.text(0))),
        );
        assert!(half.is_err(), "the table of the broken step is not there");
    });
}

#[test]
fn a_full_database_refuses_and_goes_on_when_there_is_space() {
    let db = TestDb::sqlite();
    let clock = TestClock::at(0);
    let mut config = StoreConfig::new(db.url());
    config.sqlite_bytes_max = Some(512 * 1024);
    let shared: SharedClock = clock.clone();
    let store = Store::open(&config, &[NOTES], shared).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fill = |id: &'static str, bytes: usize| {
        runtime.block_on(store.write(move |tx| {
            let content = vec![7u8; bytes];
            let row = params![id, "", &content];
            tx.execute("INSERT INTO notes (id, body, bytes) VALUES ($1, $2, $3)", row)
        }))
    };
    fill("a", 200 * 1024).unwrap();
    assert_eq!(fill("b", 600 * 1024), Err(StoreError::Full));
    fill("c", 10 * 1024).unwrap();
    runtime.block_on(store.write(|tx| tx.execute("DELETE FROM notes WHERE id = $1", params!["a"]))).unwrap();
    fill("d", 200 * 1024).unwrap();
    runtime.block_on(store.shutdown());
}

#[test]
fn a_disk_that_is_full_when_the_events_of_a_group_are_written_undoes_all_of_it_and_tells_nothing() {
    for make in TestDb::each() {
        let db = make();
        let mut config = StoreConfig::new(db.url());
        config.sqlite_bytes_max = Some(512 * 1024);
        let clock: SharedClock = TestClock::at(0);
        let store = Store::open(&config, &[NOTES], clock).unwrap();
        let sink = std::sync::Arc::new(super::Recorder::default());
        store.set_sink(sink.clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        if db.is_postgres() {
            runtime.block_on(store.write(refuse_large_events)).unwrap();
        }
        let write = |bytes: usize| {
            let write = store.write(move |tx| {
                add_note(tx, &bytes.to_string())?;
                let data = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
                tx.emit(&super::topic("notes"), "added", data).map(|emitted| emitted.position.offset)
            });
            runtime.block_on(write)
        };
        assert_eq!(write(10), Ok(1));
        assert_eq!(write(900_000), Err(StoreError::Full));
        assert_eq!(write(11), Ok(2), "the number of what was not stored is given out again");
        assert_eq!(sink.seqs(), [1, 2]);
        let notes =
            store.read(|tx| tx.query("SELECT id FROM notes ORDER BY id", params![], |row| row.text(0)));
        let notes: Result<Vec<String>, StoreError> = runtime.block_on(notes);
        assert_eq!(notes.unwrap(), ["10", "11"]);
        runtime.block_on(store.shutdown());
    }
}

/// As a full disk refuses them.
fn refuse_large_events(tx: &mut relais_store::WriteTx<'_>) -> Result<(), StoreError> {
    tx.execute(
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
        params![],
    )?;
    tx.execute(
        "CREATE TRIGGER no_space BEFORE INSERT ON events FOR EACH ROW WHEN (LENGTH(NEW.data) > 100000) \
         EXECUTE FUNCTION no_space()",
        params![],
    )?;
    Ok(())
}

#[test]
fn a_log_that_lost_events_takes_no_more_of_them_before_a_restart() {
    on_each(|mut bench| {
        for name in ["one", "two"] {
            bench.write(move |tx| emit(tx, "notes", name)).unwrap();
        }
        let lose = |tx: &mut relais_store::WriteTx<'_>| {
            tx.execute("DELETE FROM events WHERE seq = 2", params![])?;
            tx.execute("UPDATE topics SET last_offset = 1", params![])?;
            tx.execute("UPDATE log_head SET seq = 1 WHERE id = 1", params![])
        };
        bench.write(lose).unwrap();
        let refused = bench.write(|tx| emit(tx, "notes", "three"));
        assert!(matches!(refused, Err(StoreError::Schema(_))), "{refused:?}");
        bench.reopen();
        assert_eq!(bench.write(|tx| emit(tx, "notes", "three")), Ok(2));
    });
}

#[test]
fn a_lost_connection_is_replaced() {
    let bench = Bench::new(TestDb::postgres());
    bench.write(|tx| add_note(tx, "a")).unwrap();
    bench.db.cut_connections();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match bench.write(|tx| add_note(tx, "b")) {
            Ok(()) => break,
            Err(error) => {
                assert!(error.is_temporary(), "{error}");
                assert!(std::time::Instant::now() < deadline, "the connection does not come back");
            }
        }
    }
    assert_eq!(bench.notes(), ["a", "b"]);
    bench.write(|tx| tx.emit(&super::topic("notes"), "added", "{}".into())).unwrap();
    assert_eq!(bench.sink.seqs(), [1]);
}

#[test]
fn after_the_shutdown_nothing_is_taken() {
    on_each(|bench| {
        bench.runtime.block_on(bench.store.shutdown());
        assert_eq!(bench.write(|tx| add_note(tx, "a")), Err(StoreError::Closed));
    });
}
