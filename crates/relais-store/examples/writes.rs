//! How fast the store commits: callers that each write one small row and one event at a time, in groups.
//!
//! `cargo run --release -p relais-store --example writes -- sqlite:/path/on/a/disk.db [writers] [seconds]`
//!
//! Prints events per second of wall time, and per second of processor time: of this process, and of the database server
//! where `POSTGRES_PID` names it.

#![expect(clippy::disallowed_methods, reason = "what is measured takes real time")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement fails by panicking and prints what it found"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relais_protocol::event::Topic;
use relais_protocol::time::SystemClock;
use relais_store::{Migration, Store, StoreConfig, StoreError, params};

const NOTES: Migration =
    Migration { version: 100, name: "notes", sql: "CREATE TABLE notes (id {key}, body TEXT NOT NULL)" };
const TOPICS: u64 = 32;
/// The kernel's unit of processor time.
const TICKS_PER_S: f64 = 100.0;

fn cpu_s(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (11..=12).map(|at| fields[at].parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_S
}

/// The server's process and those under it.
fn database_cpu_s(pid: &str) -> f64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().chain([pid]).map(cpu_s).sum()
}

async fn write_one(store: &Store, number: u64) -> Result<(), StoreError> {
    let topic = Topic::new(&format!("notes:{}", number % TOPICS)).unwrap();
    store
        .write(move |tx| {
            tx.execute(
                "INSERT INTO notes (id, body) VALUES ($1, $2)",
                params![number, "a small row of text"],
            )?;
            tx.emit(&topic, "added", format!("{{\"id\":{number},\"body\":\"a small row of text\"}}"))?;
            Ok(())
        })
        .await
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the address of a database");
    let writers: u64 = arguments.next().map_or(64, |text| text.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(4, |text| text.parse().unwrap());
    let store =
        Store::open(&StoreConfig::new(url.parse().unwrap()), &[NOTES], Arc::new(SystemClock)).unwrap();
    let postgres = std::env::var("POSTGRES_PID").ok();
    let database = || postgres.as_deref().map_or(0.0, database_cpu_s);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let next = Arc::new(AtomicU64::new(store.head().seq + 1));
    let before = (Instant::now(), cpu_s("self"), database(), next.load(Ordering::Relaxed));
    let until = before.0 + Duration::from_secs(seconds);
    runtime.block_on(async {
        let tasks = (0..writers).map(|_| {
            let (store, next) = (store.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                while Instant::now() < until {
                    write_one(&store, next.fetch_add(1, Ordering::Relaxed)).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
    let events = (next.load(Ordering::Relaxed) - before.3) as f64;
    let (wall, own, server) =
        (before.0.elapsed().as_secs_f64(), cpu_s("self") - before.1, database() - before.2);
    println!(
        "{:.0} events/s, {:.0} per CPU-second (this process {own:.2} s, database {server:.2} s)",
        events / wall,
        events / (own + server)
    );
    runtime.block_on(store.shutdown());
}
