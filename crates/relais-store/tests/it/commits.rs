//! Grouped commits: each closure whole or not at all, answered after the commit, in one order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;
use relais_store::{Query, StoreError, params};

use super::{Bench, add_note, on_each, topic};

#[test]
fn values_of_every_kind_come_back_as_they_were() {
    on_each(|bench| {
        let bytes = vec![0u8, 255, 10];
        bench
            .write(move |tx| {
                let row = params!["é", "{\"a\":1}", &bytes];
                tx.execute("INSERT INTO notes (id, body, bytes) VALUES ($1, $2, $3)", row)
            })
            .unwrap();
        let plain = bench.store.read(|tx| {
            tx.query_one("SELECT body, bytes FROM notes WHERE id = $1", params!["é"], |row| {
                Ok((row.text(0)?, row.opt_bytes(1)?))
            })
        });
        assert_eq!(bench.runtime.block_on(plain).unwrap(), ("{\"a\":1}".into(), Some(vec![0, 255, 10])));
    });
}

#[test]
fn an_error_undoes_its_own_closure_and_no_other() {
    on_each(|bench| {
        let writes = (0..60).map(|n| {
            bench.store.write(move |tx| {
                add_note(tx, &format!("{n:02}"))?;
                tx.emit(&topic("notes"), "added", "{}".into())?;
                if n % 3 == 0 { Err(StoreError::Value("no".into())) } else { Ok(()) }
            })
        });
        let outcomes = bench.runtime.block_on(join_all(writes));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 40);
        assert_eq!(bench.notes().len(), 40);
        assert_eq!(bench.sink.seqs(), (1..=40).collect::<Vec<_>>());
    });
}

#[test]
fn a_conflict_is_named_alike_on_both_databases() {
    on_each(|bench| {
        bench.write(|tx| add_note(tx, "a")).unwrap();
        let again = bench.write(|tx| add_note(tx, "a")).unwrap_err();
        assert_eq!(again, StoreError::Conflict { constraint: "notes(id)".into() });
        bench.write(|tx| add_note(tx, "b")).unwrap();
    });
}

#[test]
fn a_panic_is_an_error_of_its_closure() {
    on_each(|bench| {
        let broken = bench.write::<()>(|tx| {
            add_note(tx, "a")?;
            panic!("on purpose")
        });
        assert_eq!(broken, Err(StoreError::Panicked));
        bench.write(|tx| add_note(tx, "b")).unwrap();
        assert_eq!(bench.notes(), ["b"]);
    });
}

#[test]
fn hooks_run_after_the_commit_in_order_and_before_the_answer() {
    on_each(|bench| {
        let done = Arc::new(Mutex::new(Vec::new()));
        let writes = (0..50).map(|n| {
            let done = Arc::clone(&done);
            let write = bench.store.write(move |tx| {
                add_note(tx, &n.to_string())?;
                let hook = Arc::clone(&done);
                tx.after_commit(move || hook.lock().push(n));
                Ok::<_, StoreError>(done)
            });
            async move { assert!(write.await.unwrap().lock().contains(&n)) }
        });
        bench.runtime.block_on(join_all(writes));
        assert_eq!(*done.lock(), (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn what_is_told_after_the_events_comes_after_them_and_before_the_answer() {
    on_each(|bench| {
        let counted = Arc::new(Mutex::new(Vec::new()));
        let (before, after, sink) = (Arc::clone(&counted), Arc::clone(&counted), Arc::clone(&bench.sink));
        bench
            .write(move |tx| {
                let events = Arc::clone(&sink);
                tx.after_events(move || after.lock().push(events.seqs().len()));
                tx.after_commit(move || before.lock().push(sink.seqs().len()));
                tx.emit(&topic("notes"), "added", "{}".into())
            })
            .unwrap();
        assert_eq!(*counted.lock(), [0, 1]);
    });
}

#[test]
fn a_hook_that_panics_keeps_nobody_from_an_answer() {
    on_each(|bench| {
        bench
            .write(|tx| {
                tx.after_commit(|| panic!("on purpose"));
                tx.emit(&topic("notes"), "added", "{}".into())
            })
            .unwrap();
        bench.write(|tx| add_note(tx, "a")).unwrap();
        assert_eq!(bench.sink.seqs(), [1]);
    });
}

#[test]
fn a_failed_statement_undoes_the_closure_even_if_it_says_ok() {
    on_each(|bench| {
        bench.write(|tx| add_note(tx, "a")).unwrap();
        let ignored = bench.write(|tx| {
            add_note(tx, "b")?;
            let _ = add_note(tx, "a");
            Ok(())
        });
        assert!(ignored.unwrap_err().is_conflict());
        assert_eq!(bench.notes(), ["a"]);
    });
}

#[test]
fn a_hook_of_what_was_undone_never_runs() {
    on_each(|bench| {
        let ran = Arc::new(AtomicUsize::new(0));
        let hook = Arc::clone(&ran);
        let refused = bench.write(move |tx| {
            tx.after_commit(move || {
                hook.fetch_add(1, Ordering::SeqCst);
            });
            Err::<(), _>(StoreError::Value("no".into()))
        });
        assert!(refused.is_err());
        bench.write(|tx| add_note(tx, "a")).unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn offsets_and_seqs_have_no_gaps_whatever_fails_meanwhile() {
    on_each(|bench: Bench| {
        let mut random = fastrand::Rng::with_seed(7);
        let plans: Vec<(usize, bool)> = (0..640).map(|_| (random.usize(..5), random.u8(..10) < 3)).collect();
        let writes = plans.iter().map(|(which, fails)| {
            let (topic, fails) = (topic(&format!("societe:{which}")), *fails);
            bench.store.write(move |tx| {
                let first = tx.emit(&topic, "first", "{}".into())?;
                let second = tx.emit(&topic, "second", "{}".into())?;
                assert_eq!(second.position.offset, first.position.offset + 1);
                if fails { Err(StoreError::Value("no".into())) } else { Ok(()) }
            })
        });
        bench.runtime.block_on(join_all(writes));
        let events = bench.sink.0.lock().clone();
        let kept = plans.iter().filter(|(_, fails)| !fails).count() * 2;
        assert_eq!(bench.sink.seqs(), (1..=kept as u64).collect::<Vec<_>>());
        for which in 0..5 {
            let name = format!("societe:{which}");
            let offsets: Vec<u64> =
                events.iter().filter(|e| e.topic.as_str() == name).map(|e| e.offset).collect();
            assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>(), "{name}");
        }
    });
}
