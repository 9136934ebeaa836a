//! What the closures of one group emit is written together; each is undone alone, and each sees what those before it did.

use relais_protocol::event::Channel;
use relais_store::{Query as _, StoreError, WriteTx, log, params};

use super::{Bench, Job, add_note, emit, on_each, topic};

fn no() -> StoreError {
    StoreError::Value("no".into())
}

/// The names of the events that a closure sees in the log.
fn seen(tx: &mut WriteTx<'_>) -> Result<Vec<String>, StoreError> {
    tx.query("SELECT name FROM events ORDER BY seq LIMIT 1000", params![], |row| row.text(0))
}

fn stored(bench: &Bench, channel: &str) -> Vec<(String, u64)> {
    let channel: Channel = channel.parse().unwrap();
    let events = bench.store.events_after(&channel, 0, u64::MAX >> 1, 1000);
    bench.runtime.block_on(events).unwrap().iter().map(|e| (e.name.to_string(), e.offset)).collect()
}

fn expected(all: &[(&str, u64)]) -> Vec<(String, u64)> {
    all.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect()
}

#[test]
fn an_undone_closure_takes_its_events_with_it_and_gives_their_numbers_back() {
    on_each(|bench| {
        let jobs: Vec<Job<u64>> = vec![
            Box::new(|tx| emit(tx, "societe:a", "one")),
            Box::new(|tx| {
                add_note(tx, "undone")?;
                emit(tx, "societe:a", "undone")?;
                emit(tx, "societe:begun", "undone")?;
                Err(no())
            }),
            Box::new(|tx| emit(tx, "societe:a", "two")),
            Box::new(|tx| {
                emit(tx, "societe:begun", "undone without a statement")?;
                Err(no())
            }),
            Box::new(|tx| emit(tx, "societe:begun", "three")),
        ];
        let results = bench.group(jobs);
        assert_eq!(results, [Ok(1), Err(no()), Ok(2), Err(no()), Ok(1)]);
        let all = expected(&[("one", 1), ("two", 2), ("three", 1)]);
        assert_eq!((bench.sink.told(), stored(&bench, "societe:*")), (all.clone(), all));
        assert_eq!(bench.sink.seqs(), [1, 2, 3]);
        assert!(bench.notes().is_empty());
        bench.write(|tx| emit(tx, "societe:begun", "four")).unwrap();
        assert_eq!(stored(&bench, "societe:begun"), expected(&[("three", 1), ("four", 2)]));
    });
}

#[test]
fn a_closure_that_reads_the_log_sees_the_events_of_those_before_it() {
    on_each(|bench| {
        let jobs: Vec<Job<Vec<String>>> = vec![
            Box::new(|tx| emit(tx, "societe:a", "one").map(|_| Vec::new())),
            Box::new(seen),
            Box::new(|tx| {
                emit(tx, "societe:a", "two")?;
                seen(tx)
            }),
            Box::new(|tx| {
                let position = log::topic_position(tx, &topic("societe:a"), 2)?;
                assert_eq!(position.offset, 2);
                tx.amend(1, |_| Some("{\"a\":2}".into()))?;
                emit(tx, "societe:a", "three")?;
                seen(tx)
            }),
        ];
        let results: Vec<Vec<String>> = bench.group(jobs).into_iter().map(Result::unwrap).collect();
        assert_eq!(results, [vec![], vec!["one"], vec!["one", "two"], vec!["one", "two", "three"]]);
        let events = bench.runtime.block_on(bench.store.events_after(&"societe:*".parse().unwrap(), 0, 9, 9));
        let data: Vec<String> = events.unwrap().iter().map(|event| event.data.to_string()).collect();
        assert_eq!(data, ["{\"a\":2}", "{}", "{}"]);
    });
}

#[test]
fn what_an_undone_closure_wrote_of_the_log_for_others_is_written_all_the_same() {
    on_each(|bench| {
        let jobs: Vec<Job<u64>> = vec![
            Box::new(|tx| emit(tx, "societe:a", "one")),
            Box::new(|tx| {
                emit(tx, "societe:b", "undone")?;
                assert_eq!(seen(tx)?, ["one", "undone"]);
                add_note(tx, "undone")?;
                Err(no())
            }),
            Box::new(|tx| emit(tx, "societe:a", "two")),
            Box::new(|tx| {
                assert_eq!(seen(tx)?, ["one", "two"]);
                add_note(tx, "a")?;
                add_note(tx, "a")?;
                Ok(0)
            }),
            Box::new(|tx| {
                assert_eq!(seen(tx)?, ["one", "two"]);
                emit(tx, "societe:b", "three")
            }),
        ];
        let results = bench.group(jobs);
        assert_eq!(results[..3], [Ok(1), Err(no()), Ok(2)]);
        assert!(results[3].as_ref().is_err_and(StoreError::is_conflict));
        assert_eq!(results[4], Ok(1));
        let all = expected(&[("one", 1), ("two", 2), ("three", 1)]);
        assert_eq!((bench.sink.told(), stored(&bench, "societe:*")), (all.clone(), all));
        assert!(bench.notes().is_empty());
    });
}

#[test]
fn a_closure_that_fails_first_leaves_the_group_to_the_others() {
    on_each(|bench| {
        bench.write(|tx| add_note(tx, "a")).unwrap();
        let jobs: Vec<Job<u64>> = vec![
            Box::new(|tx| {
                emit(tx, "societe:a", "undone")?;
                add_note(tx, "a")?;
                Ok(0)
            }),
            Box::new(|tx| emit(tx, "societe:a", "one")),
            Box::new(|tx| tx.query_one("SELECT no_such_column FROM notes", params![], |row| row.u64(0))),
            Box::new(|tx| emit(tx, "societe:a", "two")),
        ];
        let results = bench.group(jobs);
        assert!(results[0].as_ref().is_err_and(StoreError::is_conflict));
        assert_eq!(results[1], Ok(1));
        assert!(results[2].is_err());
        assert_eq!(results[3], Ok(2));
        assert_eq!(stored(&bench, "societe:a"), expected(&[("one", 1), ("two", 2)]));
    });
}

#[test]
fn an_event_that_cannot_be_stored_is_an_error_of_its_closure() {
    on_each(|bench| {
        let jobs: Vec<Job<u64>> = vec![
            Box::new(|tx| emit(tx, "societe:a", "one")),
            Box::new(|tx| tx.emit(&topic("societe:a"), "two", "{\"a\":\"\0\"}".into()).map(|e| e.seq)),
            Box::new(|tx| emit(tx, "societe:a", "three")),
        ];
        let results = bench.group(jobs);
        assert!(matches!(results[..], [Ok(1), Err(StoreError::Unstorable(_)), Ok(2)]), "{results:?}");
        assert_eq!(stored(&bench, "societe:a"), expected(&[("one", 1), ("three", 2)]));
    });
}

#[test]
fn more_events_than_may_wait_are_written_in_between() {
    on_each(|bench| {
        let large = |tx: &mut WriteTx<'_>, fails: bool| {
            for _ in 0..30 {
                tx.emit(&topic("societe:a"), "large", format!("{{\"a\":\"{}\"}}", "x".repeat(100_000)))?;
            }
            if fails { Err(no()) } else { Ok(0) }
        };
        let jobs: Vec<Job<u64>> = vec![
            Box::new(|tx| emit(tx, "societe:a", "one")),
            Box::new(move |tx| large(tx, true)),
            Box::new(move |tx| large(tx, false)),
            Box::new(|tx| emit(tx, "societe:a", "last")),
        ];
        let results = bench.group(jobs);
        assert_eq!(results, [Ok(1), Err(no()), Ok(0), Ok(32)]);
        let offsets: Vec<u64> = stored(&bench, "societe:a").iter().map(|(_, offset)| *offset).collect();
        assert_eq!(offsets, (1..=32).collect::<Vec<_>>());
    });
}

#[test]
fn several_statements_at_once_say_what_each_did() {
    on_each(|bench| {
        let changed = bench.write(|tx| {
            tx.execute_each(
                "INSERT INTO notes (id, body) VALUES ($1, $2)",
                &[params!["a", "1"], params!["b", "2"]],
            )?;
            let sql = "UPDATE notes SET body = body || '!' WHERE id = $1";
            tx.execute_each(sql, &[params!["a"], params!["absent"], params!["b"]])
        });
        assert_eq!(changed, Ok(vec![1, 0, 1]));
        let found = bench.store.read(|tx| {
            let sql = "SELECT body FROM notes WHERE id = $1";
            tx.query_opt_each(sql, &[params!["b"], params!["absent"], params!["a"]], |row| row.text(0))
        });
        let found: Result<Vec<Option<String>>, StoreError> = bench.runtime.block_on(found);
        assert_eq!(found.unwrap(), [Some("2!".to_owned()), None, Some("1!".to_owned())]);
        let failed = bench.write(|tx| {
            let sql = "INSERT INTO notes (id, body) VALUES ($1, '')";
            tx.execute_each(sql, &[params!["c"], params!["a"], params!["d"]])
        });
        assert_eq!(failed, Err(StoreError::Conflict { constraint: "notes(id)".into() }));
        assert_eq!(bench.notes(), ["a", "b"]);
    });
}
