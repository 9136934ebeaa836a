//! A process killed in the middle of writing: what it acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relais_protocol::time::SharedClock;
use relais_store::{Lane, Store, StoreConfig, StoreError, WriteTx};
use relais_testkit::{TestClock, TestDb};

use super::{NOTES, packs, topic};

/// Set for the process that is to be killed.
const VICTIM: &str = "RELAIS_STORE_TEST_VICTIM";
const ROUNDS: usize = 8;
/// Acknowledgements after which the process is killed, in the midst of others.
const ACKNOWLEDGED: usize = 40;
const WRITERS: usize = 16;

fn open(address: &str) -> Store {
    let clock: SharedClock = TestClock::at(0);
    Store::open(&StoreConfig::new(address.parse().unwrap()), &[NOTES], clock).unwrap()
}

fn put(tx: &mut WriteTx<'_>, id: &str) -> Result<(), StoreError> {
    packs::keep(tx, id, &packs::content_of(id))?;
    tx.emit(&topic("notes"), id, "{}".into())?;
    Ok(())
}

/// Writes without end and prints each id when it is acknowledged. Only a process of its own does anything here.
#[test]
fn victim() {
    let Ok(address) = std::env::var(VICTIM) else { return };
    let store = open(&address);
    let first = store.head().seq;
    let lane: Lane<String, (), StoreError> = store.lane(|tx, ids: &[String]| {
        ids.iter()
            .map(|id| put(tx, id))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.into_iter().map(Ok).collect())
    });
    let write = |number: u64| {
        let id = format!("{first}-{number}");
        let (store, lane) = (&store, &lane);
        async move {
            let own = id.clone();
            // By either way.
            match number % 2 {
                0 => store.write(move |tx| put(tx, &own)).await.unwrap(),
                _ => lane.write(own).await.unwrap(),
            }
            id
        }
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut under_way: FuturesUnordered<_> = (0..WRITERS as u64).map(write).collect();
        for number in WRITERS as u64.. {
            let id = under_way.next().await.unwrap();
            writeln!(std::io::stdout(), "stored {id}").unwrap();
            under_way.push(write(number));
        }
    });
}

fn start_victim(address: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, address)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the process after a few acknowledgements and returns everything it acknowledged.
fn kill_in_the_midst(mut victim: Child) -> Vec<String> {
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut note = |line: &str| {
        acknowledged.extend(line.split_once("stored ").map(|(_, id)| id.to_owned()));
        acknowledged.len()
    };
    while note(&lines.next().unwrap().unwrap()) < ACKNOWLEDGED {}
    victim.kill().unwrap();
    victim.wait().unwrap();
    for line in lines {
        note(&line.unwrap());
    }
    acknowledged
}

#[test]
fn every_acknowledged_write_survives_kill_9_once_and_in_order() {
    TestDb::each().into_iter().for_each(|make| survives(&make()));
}

fn survives(db: &TestDb) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        acknowledged.extend(kill_in_the_midst(start_victim(db.address())));
    }
    let store = open(db.address());
    let head = store.head().seq;
    let all = "notes".parse().unwrap();
    let events = runtime.block_on(store.events_after(&all, 0, head, 1_000_000)).unwrap();
    let places: Vec<(u64, u64)> = events.iter().map(|e| (e.seq, e.offset)).collect();
    assert_eq!(places, (1..=head).map(|n| (n, n)).collect::<Vec<_>>());
    let names: std::collections::HashSet<Arc<str>> = events.iter().map(|e| Arc::clone(&e.name)).collect();
    assert_eq!(names.len(), events.len(), "nothing is stored twice");
    for id in &acknowledged {
        assert!(names.contains(id.as_str()), "{id} was acknowledged and is gone");
    }
    let kept = packs::kept(&store, &runtime);
    assert_eq!(kept.len(), events.len());
    assert!(kept.iter().all(|(id, content)| *content == packs::content_of(id)), "a content is not whole");
    assert!(acknowledged.len() >= ROUNDS * ACKNOWLEDGED);
    runtime.block_on(store.shutdown());
}
