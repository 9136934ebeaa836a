//! WebSockets for which there is no session: their clients are told why, on every path alike.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures_util::StreamExt as _;
use relais::boot::{self, Running};
use relais::config::{AuthMode, Config};
use tokio_tungstenite::tungstenite::Message;

const PATHS: [&str; 4] = ["/api/files/ws", "/api/v1/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"];

async fn start(settings: impl Fn(&mut Config)) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".parse().unwrap();
    config.server.data = folder.path().join("data");
    config.server.drain_s = 0;
    config.auth.mode = AuthMode::Open;
    settings(&mut config);
    (boot::start(config).await.unwrap(), folder)
}

/// The code and the reason that a client hears first.
async fn turned_away(running: &Running, path: &str) -> (u16, String) {
    let url = format!("ws://{}{path}", running.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.expect("something comes");
    match heard {
        Some(Ok(Message::Close(Some(close)))) => (close.code.into(), close.reason.to_string()),
        other => panic!("{path}: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_too_many_is_told_to_come_later() {
    let (running, _folder) = start(|config| config.hub.sessions_per_address_max = 1).await;
    let url = format!("ws://{}/api/v1/ws", running.address());
    let (mut first, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert!(matches!(first.next().await, Some(Ok(Message::Text(_)))));
    for path in PATHS {
        let (code, reason) = turned_away(&running, path).await;
        assert_eq!((code, reason.contains("already has 1 sessions")), (1013, true), "{path}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_server_that_drains_is_told_to_reconnect() {
    let (running, _folder) = start(|_| {}).await;
    running.app().hub().drain(Duration::ZERO).await;
    for path in PATHS {
        let (code, reason) = turned_away(&running, path).await;
        assert_eq!((code, reason.contains("shutting down")), (1012, true), "{path}: {reason}");
    }
}
