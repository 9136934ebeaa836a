//! Reading the event log: everything after a place, once, in order; and its end and beginning.

use relais_protocol::event::{Channel, Cursor, Epoch};
use relais_protocol::time::SharedClock;
use relais_store::{Query as _, Store, StoreConfig, StoreError, WriteTx, params};

use super::{Bench, NOTES, on_each, topic};

fn emit(bench: &Bench, name: &str, times: usize) {
    for _ in 0..times {
        let topic = topic(name);
        bench.write(move |tx| tx.emit(&topic, "happened", "{\"a\":1}".into())).unwrap();
    }
}

fn channel(text: &str) -> Channel {
    text.parse().unwrap()
}

#[test]
fn the_log_holds_what_the_sink_was_given() {
    on_each(|bench| {
        emit(&bench, "societe:a", 3);
        emit(&bench, "other:x", 2);
        emit(&bench, "societe:b", 2);
        let read = |text: &str, after: u64| {
            let channel = channel(text);
            let found = bench.store.events_after(&channel, after, 7, 100);
            bench.runtime.block_on(found).unwrap()
        };
        let published = bench.sink.0.lock().clone();
        let family: Vec<_> =
            published.iter().filter(|e| e.topic.family() == "societe").map(|e| (**e).clone()).collect();
        assert_eq!(read("societe:*", 0), family);
        assert_eq!(read("societe:*", 2).iter().map(|e| e.seq).collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(read("societe:b", 0).iter().map(|e| e.offset).collect::<Vec<_>>(), [1, 2]);
        assert!(read("societe:c", 0).is_empty());
        let a = topic("societe:a");
        let by_offset = bench.store.events_after_offset(&a, 1, 7, 100);
        let offsets: Vec<u64> = bench.runtime.block_on(by_offset).unwrap().iter().map(|e| e.offset).collect();
        assert_eq!(offsets, [2, 3]);
        let position = bench.runtime.block_on(bench.store.topic_position(&topic("societe:b"), 6)).unwrap();
        assert_eq!(position.offset, 1);
    });
}

#[test]
fn an_event_whose_topic_cannot_be_read_keeps_none_of_the_others() {
    on_each(|bench| {
        for name in ["societe:a", "societe:b", "societe:c"] {
            emit(&bench, name, 1);
        }
        let sql = "UPDATE topics SET name = $1 WHERE name = 'societe:b'";
        bench.write(move |tx| tx.execute(sql, params!["bad name\n"])).unwrap();
        let found =
            bench.runtime.block_on(bench.store.events_after(&channel("societe:*"), 0, 3, 100)).unwrap();
        let told: Vec<_> =
            found.iter().map(|event| (event.seq, event.topic.as_str(), &*event.data)).collect();
        let whole = "{\"a\":1}";
        assert_eq!(told, [(1, "societe:a", whole), (2, "unreadable", "{}"), (3, "societe:c", whole)]);
    });
}

#[test]
fn a_restart_goes_on_in_the_same_life_at_the_same_place() {
    on_each(|mut bench| {
        emit(&bench, "societe:a", 3);
        let before = bench.store.head();
        bench.reopen();
        assert_eq!(bench.store.head(), before);
        emit(&bench, "societe:a", 1);
        let event = bench.sink.0.lock()[0].clone();
        assert_eq!((event.epoch, event.offset, event.seq), (before.epoch, 4, 4));
    });
}

#[test]
fn what_is_forgotten_is_known_to_be() {
    on_each(|bench| {
        emit(&bench, "societe:a", 10);
        bench.clock.advance_ms(1000);
        emit(&bench, "societe:a", 5);
        let before = relais_protocol::time::Timestamp::from_millis(1_700_000_000_500);
        let gone = bench.runtime.block_on(bench.store.trim_events(before, 2)).unwrap();
        assert_eq!(gone, 10);
        let bounds = bench.runtime.block_on(bench.store.log_bounds()).unwrap();
        let epoch = bench.store.epoch();
        assert_eq!(bounds.first_seq_kept, 11);
        for (seq, recoverable) in [(9, false), (10, true), (15, true), (16, false)] {
            assert_eq!(bounds.can_recover(Cursor { epoch, seq }), recoverable, "{seq}");
        }
        assert!(!bounds.can_recover(Cursor { epoch: Epoch(epoch.0 ^ 1), seq: 12 }));
        emit(&bench, "societe:a", 1);
        assert_eq!(bench.sink.0.lock().last().unwrap().offset, 16, "offsets go on");
    });
}

/// Gives the event `seq` other data, and tells so.
fn amend(tx: &mut WriteTx<'_>, seq: u64) -> Result<(), StoreError> {
    tx.amend(seq, |_| Some("{\"a\":2}".into()))?;
    tx.emit(&topic("societe:a"), "changed", "{}".into()).map(drop)
}

#[test]
fn what_another_process_amends_is_amended_here_before_the_event_that_tells_so() {
    on_each(|bench| {
        emit(&bench, "societe:a", 3);
        let mut config = StoreConfig::new(bench.db.url());
        config.beside_server = true;
        let clock: SharedClock = bench.clock.clone();
        let other = Store::open(&config, &[NOTES], clock).unwrap();
        let changed = other.write(|tx| {
            let new = tx.emit(&topic("societe:a"), "happened", "{\"a\":1}".into())?;
            Ok::<_, StoreError>(new.seq)
        });
        let unknown_here = bench.runtime.block_on(changed).unwrap();
        for seq in [2, unknown_here] {
            bench.runtime.block_on(other.write(move |tx| amend(tx, seq))).unwrap();
        }
        bench.runtime.block_on(bench.store.catch_up()).unwrap();
        bench.write(|tx| amend(tx, 3)).unwrap();
        let amended = bench.sink.1.lock().clone();
        assert_eq!(amended, [(2, "{\"a\":2}".to_owned(), 3), (3, "{\"a\":2}".to_owned(), 6)]);
        let events = bench.sink.0.lock().clone();
        assert_eq!(&*events[3].data, "{\"a\":2}", "what comes later comes as it is now");
        bench.runtime.block_on(other.shutdown());
    });
}

#[test]
fn however_many_events_another_process_amended_all_are_amended_here() {
    on_each(|bench| {
        for _ in 0..2 {
            let many = |tx: &mut WriteTx<'_>| {
                (0..600).try_for_each(|_| tx.emit(&topic("societe:a"), "happened", "{}".into()).map(drop))
            };
            bench.write(many).unwrap();
        }
        let mut config = StoreConfig::new(bench.db.url());
        config.beside_server = true;
        let clock: SharedClock = bench.clock.clone();
        let other = Store::open(&config, &[NOTES], clock).unwrap();
        let amended = other.write(|tx| {
            (1..=1200).try_for_each(|seq| tx.amend(seq, |_| Some("{\"a\":2}".into())))?;
            tx.emit(&topic("societe:a"), "changed", "{}".into())
        });
        bench.runtime.block_on(amended).unwrap();
        bench.runtime.block_on(bench.store.catch_up()).unwrap();
        let seqs: Vec<u64> = bench.sink.1.lock().iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(seqs, (1..=1200).collect::<Vec<_>>());
        bench.runtime.block_on(other.shutdown());
    });
}

#[test]
fn what_is_amended_without_an_event_is_amended_here_at_once() {
    on_each(|bench| {
        emit(&bench, "societe:a", 2);
        bench.write(|tx| tx.amend(1, |_| Some("{\"a\":2}".into()))).unwrap();
        assert_eq!(*bench.sink.1.lock(), [(1, "{\"a\":2}".to_owned(), 2)]);
    });
}

#[test]
fn what_was_amended_is_forgotten_with_the_event_that_told_so() {
    on_each(|bench| {
        emit(&bench, "societe:a", 3);
        bench.write(|tx| amend(tx, 2)).unwrap();
        bench.clock.advance_ms(1000);
        bench.write(|tx| amend(tx, 3)).unwrap();
        let before = relais_protocol::time::Timestamp::from_millis(1_700_000_000_500);
        bench.runtime.block_on(bench.store.trim_events(before, 0)).unwrap();
        let read = bench.store.read(|tx| tx.query("SELECT seq FROM amendments", params![], |row| row.u64(0)));
        let kept: Result<Vec<u64>, StoreError> = bench.runtime.block_on(read);
        assert_eq!(kept.unwrap(), [3]);
    });
}
