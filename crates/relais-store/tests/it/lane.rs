//! Commands that come in crowds: run together, each with a result of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;
use relais_store::{Lane, StoreError, params};

use super::{Bench, emit, on_each};

/// Adds notes; a name that begins with `no` is refused, one that begins with `panic` is not survived.
fn notes(bench: &Bench, calls: &Arc<Mutex<Vec<usize>>>) -> Lane<String, u64, StoreError> {
    let calls = Arc::clone(calls);
    bench.store.lane(move |tx, names: &[String]| {
        calls.lock().push(names.len());
        let mut results = Vec::new();
        for name in names {
            assert!(!name.starts_with("panic"), "on purpose");
            if name.starts_with("no") {
                results.push(Err(StoreError::Value(name.clone())));
                continue;
            }
            results.push(Ok(emit(tx, "notes", name)?));
        }
        let taken: Vec<_> =
            names.iter().filter(|name| !name.starts_with("no")).map(|name| [name.into()]).collect();
        tx.execute_each("INSERT INTO notes (id, body) VALUES ($1, '')", &taken)?;
        Ok(results)
    })
}

fn write(
    bench: &Bench,
    lane: &Lane<String, u64, StoreError>,
    names: &[&str],
) -> Vec<Result<u64, StoreError>> {
    let held = bench.hold_writer();
    let writes = names.iter().map(|name| lane.write((*name).to_owned()));
    let release = async { drop(held) };
    bench.runtime.block_on(async { futures_util::join!(join_all(writes), release).0 })
}

#[test]
fn what_waits_is_run_by_one_call_in_order_and_each_has_its_result() {
    on_each(|bench| {
        let calls = Arc::default();
        let lane = notes(&bench, &calls);
        let results = write(&bench, &lane, &["a", "no", "b", "c"]);
        assert_eq!(results, [Ok(1), Err(StoreError::Value("no".into())), Ok(2), Ok(3)]);
        assert_eq!(*calls.lock(), [4]);
        assert_eq!(bench.notes(), ["a", "b", "c"]);
        assert_eq!(bench.sink.told(), [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 3)]);
    });
}

#[test]
fn one_that_cannot_be_carried_out_keeps_no_other_from_it() {
    on_each(|bench| {
        let calls = Arc::default();
        let lane = notes(&bench, &calls);
        let results = write(&bench, &lane, &["a", "a", "b", "panic", "c"]);
        let conflict = Err(StoreError::Conflict { constraint: "notes(id)".into() });
        assert_eq!(results, [Ok(1), conflict, Ok(2), Err(StoreError::Panicked), Ok(3)]);
        assert_eq!(*calls.lock(), [5, 1, 1, 1, 1, 1]);
        assert_eq!(bench.notes(), ["a", "b", "c"]);
        assert_eq!(bench.sink.seqs(), [1, 2, 3]);
    });
}

#[test]
fn commands_of_a_lane_share_the_commit_with_others_and_are_undone_without_them() {
    on_each(|bench| {
        let calls = Arc::default();
        let lane = notes(&bench, &calls);
        let held = bench.hold_writer();
        let other = bench.store.write(|tx| {
            super::add_note(tx, "other")?;
            emit(tx, "notes", "other")
        });
        let refused = lane.write("other".to_owned());
        let release = async { drop(held) };
        let (other, refused, ()) =
            bench.runtime.block_on(async { futures_util::join!(other, refused, release) });
        assert_eq!(other, Ok(1));
        assert!(refused.is_err_and(|error: StoreError| error.is_conflict()));
        assert_eq!((bench.notes(), bench.sink.seqs()), (vec!["other".to_owned()], vec![1]));
    });
}

#[test]
fn more_than_may_wait_at_once_all_have_an_answer() {
    on_each(|bench| {
        let calls = Arc::default();
        let lane = notes(&bench, &calls);
        let names: Vec<String> = (0..1500).map(|number| format!("{number:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let results = write(&bench, &lane, &names);
        assert!(results.iter().all(Result::is_ok));
        assert!(calls.lock().iter().all(|count| *count <= 512), "{calls:?}");
        assert_eq!(bench.notes(), names);
        assert_eq!(bench.sink.seqs(), (1..=1500).collect::<Vec<_>>());
    });
}

#[test]
fn whoever_waits_when_the_store_is_closed_hears_of_it() {
    on_each(|bench| {
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let lane: Lane<(), (), StoreError> = bench.store.lane(move |tx, all| {
            counted.fetch_add(all.len(), Ordering::SeqCst);
            tx.execute("INSERT INTO notes (id, body) VALUES ('a', '')", params![])?;
            Ok(all.iter().map(|()| Ok(())).collect())
        });
        bench.runtime.block_on(lane.write(())).unwrap();
        bench.runtime.block_on(bench.store.shutdown());
        assert_eq!(bench.runtime.block_on(lane.write(())), Err(StoreError::Closed));
        assert_eq!(ran.load(Ordering::SeqCst), 1);
    });
}
