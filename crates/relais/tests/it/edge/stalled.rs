//! Clients that connect and then do not do their part, in every way there is.

use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Edge, eventually, parsed, until_closed};

/// Far more than the buffers of both systems hold.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
/// Time between two bytes of a client that trickles: shorter than any limit.
const TRICKLE: Duration = Duration::from_millis(100);

async fn edge() -> Edge {
    let edge = Edge::start(|config| {
        config.server.header_timeout_s = 1;
        config.server.body_stall_timeout_s = 1;
        config.hub.ping_interval_s = 1;
        config.hub.idle_timeout_s = 2;
    })
    .await;
    assert_eq!(edge.upload("large.json", format!("\"{}\"", "x".repeat(LARGE_BYTES))).await, 200);
    edge
}

fn login(headers: &str) -> String {
    format!("POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n")
}

/// Every request of this kind is ended while others are served; what its clients were told.
async fn ends(edge: &Edge, clients: Vec<TcpStream>, trickle: &'static [u8]) -> Vec<String> {
    let mut told = Vec::new();
    let waiting = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            if trickle.is_empty() {
                return until_closed(&mut client).await;
            }
            let (mut incoming, mut outgoing) = client.split();
            let trickling = async {
                for byte in trickle.iter().cycle() {
                    if outgoing.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                    tokio::time::sleep(TRICKLE).await;
                }
                std::future::pending::<()>().await;
            };
            let mut said = Vec::new();
            tokio::select! {
                () = trickling => {}
                _ = incoming.read_to_end(&mut said) => {}
                () = tokio::time::sleep(super::PATIENCE) => panic!("it is never ended"),
            }
            String::from_utf8_lossy(&said).into_owned()
        })
    });
    let waiting: Vec<_> = waiting.collect();
    assert_eq!(edge.health().await, 200);
    assert_eq!(edge.upload("small.json", "[1]".into()).await, 200);
    assert_eq!(edge.download("small.json").await, "[1]");
    for client in waiting {
        told.push(client.await.unwrap());
    }
    told
}

async fn several(edge: &Edge, text: &str) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(edge.saying(text).await);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_let_go() {
    let edge = edge().await;
    let clients = several(&edge, "").await;
    for told in ends(&edge, clients, b"").await {
        assert_eq!(told, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_told() {
    let edge = edge().await;
    let before = edge.ended("head").await;
    for trickle in [&b""[..], b"X-Trickle: 1\r\n"] {
        let clients = several(&edge, "GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
        for told in ends(&edge, clients, trickle).await {
            let (status, body) = parsed(&told);
            assert_eq!((status, &body["code"]), (408, &json!("head_stalled")), "{told}");
        }
    }
    assert!(edge.ended("head").await >= before + 16.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_makes_no_progress_is_told_on_every_route() {
    let edge = edge().await;
    let before = edge.ended("body").await;
    let upload = |rest: &str| {
        format!(
            "POST /api/files/upload/rsp-bgs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n{rest}",
            edge.token
        )
    };
    let sync = format!(
        "POST /api/files/sync/rsp-bgs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\n{{",
        edge.token
    );
    let kinds = [
        (format!("{}{{", login("Content-Length: 1000")), &b""[..]),
        // One byte now and then is no progress.
        (format!("{}{{", login("Content-Length: 100000")), b" "),
        (format!("{}40\r\n{{\"email\"", login("Transfer-Encoding: chunked")), b""),
        (upload("not yet"), b""),
        (upload("--b\r\nContent-Disposition: form-data; na"), b""),
        (upload("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n["), b""),
        (upload("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.json\"\r\n\r\n["), b" "),
        (sync, b""),
    ];
    for (kind, trickle) in kinds {
        let clients = several(&edge, &kind).await;
        for told in ends(&edge, clients, trickle).await {
            let (status, body) = parsed(&told);
            assert_eq!((status, &body["code"]), (408, &json!("upload_stalled")), "{kind}: {told}");
        }
    }
    assert!(edge.ended("body").await >= before + 64.0);
    // What was half sent is stored nowhere.
    assert_eq!(edge.sign_in().await.0, 200);
    assert!(edge.download("a.json").await.contains("file_not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_request_of_engine_io_that_stalls_is_told() {
    let edge = edge().await;
    let opened = edge.client.get(edge.url("/socket.io/?EIO=4&transport=polling")).send().await.unwrap();
    let opened = opened.text().await.unwrap();
    let sid = opened.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let post = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4"
    );
    let told = ends(&edge, vec![edge.saying(&post).await], b"").await;
    assert_eq!(parsed(&told[0]).0, 408, "{told:?}");
}

/// Clients that ask and do not read end with a reset: they see it without reading.
async fn are_reset(edge: &Edge, clients: &[TcpStream]) {
    assert_eq!(edge.health().await, 200);
    assert_eq!(edge.sign_in().await.0, 200);
    assert_eq!(edge.upload("small.json", "[1]".into()).await, 200);
    assert_eq!(edge.download("small.json").await, "[1]");
    for client in clients {
        eventually("a reset", || async { SockRef::from(client).take_error().unwrap().is_some() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_ends() {
    let edge = edge().await;
    let before = edge.ended("answer").await;
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", edge.token)
    };
    let download = get("/api/files/download/rsp-bgs/large.json");
    // Many smaller answers are as large as one.
    assert_eq!(edge.upload("part.json", format!("\"{}\"", "x".repeat(100_000))).await, 200);
    let pipelined = get("/api/files/download/rsp-bgs/part.json").repeat(160);
    for asked in [download, pipelined] {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = edge.connect_narrow().await;
            // The server need not take all of it.
            let _ = tokio::time::timeout(TRICKLE, client.write_all(asked.as_bytes())).await;
            clients.push(client);
        }
        are_reset(&edge, &clients).await;
    }
    assert!(edge.ended("answer").await >= before + 16.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_that_nobody_reads_ends() {
    let edge = edge().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = edge.connect_narrow().await;
        let ask = format!(
            "GET /api/v1/events?channel=system HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
            edge.token
        );
        client.write_all(ask.as_bytes()).await.unwrap();
        // It has begun.
        let mut first = [0; 15];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        clients.push(client);
    }
    // Less than what makes a slow client be closed by the hub, and more than the buffers between hold.
    let accounts = relais::features::accounts::Accounts::new(edge.running.app().auth().clone());
    let actor = relais::features::accounts::Actor::named("test", None);
    let scope = ["events:publish:*".to_owned()];
    let (_, key) = accounts.create_key(&actor, "backend", &scope, None).await.unwrap();
    for _ in 0..64 {
        let event = json!({ "topic": "system", "name": "notice", "data": { "text": "x".repeat(60_000) } });
        let call = edge.client.post(edge.url("/api/v1/events")).bearer_auth(&key).json(&event);
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
    are_reset(&edge, &clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_answers_no_ping_ends() {
    let edge = edge().await;
    let mut clients = Vec::new();
    for path in ["/api/files/ws", "/api/v1/ws", "/ws/chat", "/esp32", "/socket.io/?EIO=4&transport=websocket"]
    {
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
            edge.token
        );
        clients.push(edge.saying(&ask).await);
    }
    for told in ends(&edge, clients, b"").await {
        assert!(told.starts_with("HTTP/1.1 101 "), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_line_brings_is_taken() {
    let edge = edge().await;
    let content = format!("\"{}\"", "x".repeat(3_000));
    let start = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"slow.json\"\r\n\r\n";
    let body = format!("{start}{content}\r\n--b--\r\n");
    let mut client = edge
        .saying(&format!(
            "POST /api/files/upload/rsp-bgs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
            edge.token,
            body.len()
        ))
        .await;
    // Three times as long as a body may make no progress, at three times the rate that counts as progress.
    for piece in body.as_bytes().chunks(80) {
        client.write_all(piece).await.unwrap();
        tokio::time::sleep(TRICKLE).await;
    }
    let told = until_closed(&mut client).await;
    assert_eq!(parsed(&told).0, 200, "{told}");
    assert_eq!(edge.download("slow.json").await, content);
}

/// What this process has resident.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_in_memory_once_however_many_do_not_read_it() {
    let edge = Edge::start(|_| {}).await;
    assert_eq!(edge.upload("large.json", format!("\"{}\"", "x".repeat(LARGE_BYTES))).await, 200);
    let before = resident_bytes();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = edge.connect_narrow().await;
        let asked = format!(
            "GET /api/files/download/rsp-bgs/large.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            edge.token
        );
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut first = [0; 15];
        client.read_exact(&mut first).await.unwrap();
        clients.push(client);
    }
    let grown = resident_bytes().saturating_sub(before);
    // Other tests of this process take memory as well; a copy for each would be sixty-four.
    assert!(grown < 32 * LARGE_BYTES, "{grown} bytes for {} clients", clients.len());
}
