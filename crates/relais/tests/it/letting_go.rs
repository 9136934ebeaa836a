//! A server that is dropped lets go of everything, also of what those held who were connected.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use relais::boot;
use relais::config::{AuthMode, Config};
use relais_protocol::time::{Clock as _, SharedClock, SystemClock};
use relais_testkit::{TestClock, TestDb};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn asking(address: std::net::SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Every part of a server has the clock, or something that has it: the threads of the hub and of the store, too.
async fn lets_go_of_its_clock(database: Option<String>, is_visited: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.server.data = folder.path().join("data");
    config.auth.mode = AuthMode::Open;
    config.database.url = database;
    let clock = TestClock::at(SystemClock.now().as_millis());
    let running = boot::start_with(config, Arc::clone(&clock) as SharedClock).await.unwrap();
    let address = running.address();
    let mut clients = Vec::new();
    if is_visited {
        for path in ["/api/files/ws", "/api/v1/ws", "/esp32", "/socket.io/?EIO=4&transport=websocket"] {
            clients.push((path, asking(address, path, UPGRADE).await));
        }
        for path in ["/api/files/events", "/socket.io/?EIO=4&transport=polling"] {
            clients.push((path, asking(address, path, "Accept: text/event-stream\r\n").await));
        }
        for (path, client) in &mut clients {
            let mut status = [0; 12];
            client.read_exact(&mut status).await.unwrap();
            assert!(status == *b"HTTP/1.1 101" || status == *b"HTTP/1.1 200", "{path}: {status:?}");
        }
        clients.push(("a poll", asking(address, "/api/files/changes?wait=60", "").await));
        until("a poll waits", || running.app().polls_waiting() == 1).await;
    }
    assert!(Arc::strong_count(&clock) > 1);
    drop(running);
    drop(clients);
    until("everything is let go", || Arc::strong_count(&clock) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_dropped_lets_go_of_everything() {
    let postgres = TestDb::postgres();
    for database in [None, Some(postgres.address().to_owned())] {
        for is_visited in [false, true] {
            lets_go_of_its_clock(database.clone(), is_visited).await;
        }
    }
}
