//! A process killed in the middle of writing: what it acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use relais_protocol::time::SharedClock;
use relais_store::{DatabaseUrl, Store, StoreConfig, StoreError, WriteTx};
use relais_testkit::TestClock;

use super::{NOTES, packs, topic};

/// Set for the process that is to be killed.
const VICTIM: &str = "RELAIS_STORE_TEST_VICTIM";
const ROUNDS: usize = 8;
/// Acknowledgements after which the process is killed, in the midst of others.
const ACKNOWLEDGED: usize = 40;
const WRITERS: usize = 16;

fn open(path: &Path) -> Store {
    let clock: SharedClock = TestClock::at(0);
    Store::open(&StoreConfig::new(DatabaseUrl::sqlite(path)), &[NOTES], clock).unwrap()
}

fn put(tx: &mut WriteTx<'_>, id: &str) -> Result<(), StoreError> {
    packs::keep(tx, id, &packs::content_of(id))?;
    tx.emit(&topic("notes"), id, "{}".into())?;
    Ok(())
}

/// Writes without end and prints each id when it is acknowledged. Only a process of its own does anything here.
#[test]
fn victim() {
    let Ok(path) = std::env::var(VICTIM) else { return };
    let store = open(Path::new(&path));
    let first = store.head().seq;
    let write = |number: u64| {
        let id = format!("{first}-{number}");
        let store = &store;
        async move {
            let own = id.clone();
            store.write(move |tx| put(tx, &own)).await.unwrap();
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

fn start_victim(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::victim", "--nocapture", "--test-threads=1"])
        .env(VICTIM, path)
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relais.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = Vec::new();
    for _ in 0..ROUNDS {
        acknowledged.extend(kill_in_the_midst(start_victim(&path)));
    }
    let store = open(&path);
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
