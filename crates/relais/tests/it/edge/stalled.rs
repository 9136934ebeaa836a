//! Clients that connect and then do not do their part, in every way there is.

use std::time::Duration;

use futures_util::StreamExt as _;
use relais_testkit::Proxy;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{Edge, PATIENCE, eventually, parsed, until_closed};
use crate::cli::Desk;

/// Far more than the buffers of both systems hold.
const LARGE_BYTES: usize = 16 * 1024 * 1024;
/// Time between two bytes of a client that trickles: shorter than any limit.
const TRICKLE: Duration = Duration::from_millis(100);
/// How long a client may stall, in seconds. Those that do their part are never so late, on a busy computer neither.
const STALL_S: u64 = 5;

async fn edge() -> Edge {
    Edge::start(|config| {
        config.server.header_timeout_s = STALL_S;
        config.server.body_stall_timeout_s = STALL_S;
    })
    .await
}

fn login(headers: &str) -> String {
    format!("POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n")
}

/// What a client is told that sends these bytes again and again, one by one.
async fn told_while_it_trickles(mut client: TcpStream, bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return until_closed(&mut client).await;
    }
    let (mut incoming, mut outgoing) = client.split();
    let trickling = async {
        for byte in bytes.iter().cycle() {
            if outgoing.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(TRICKLE).await;
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let ended = async {
        tokio::select! {
            () = trickling => {}
            _ = incoming.read_to_end(&mut said) => {}
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the server ends the connection");
    String::from_utf8_lossy(&said).into_owned()
}

/// Who does their part is served.
async fn serves(edge: &Edge) {
    assert_eq!(edge.health().await, 200);
    assert_eq!(edge.sign_in().await.0, 200);
    assert_eq!(edge.upload("small.json", "[1]".into()).await, 200);
    assert_eq!(edge.download("small.json").await, "[1]");
}

/// Several requests of each kind are ended while others are served: what the clients of each kind were told. A kind is
/// how a request begins, and what comes of it byte by byte.
async fn ends(edge: &Edge, kinds: &[(String, &'static [u8])]) -> Vec<Vec<String>> {
    let mut waiting = Vec::new();
    for (beginning, trickle) in kinds {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let client = edge.saying(beginning).await;
            clients.push(tokio::spawn(told_while_it_trickles(client, trickle)));
        }
        waiting.push(clients);
    }
    serves(edge).await;
    let mut told = Vec::new();
    for clients in waiting {
        let clients = futures_util::future::join_all(clients).await;
        told.push(clients.into_iter().map(Result::unwrap).collect());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_let_go() {
    let edge = edge().await;
    for told in ends(&edge, &[(String::new(), b"")]).await.concat() {
        assert_eq!(told, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_is_told() {
    let edge = edge().await;
    let head = || "GET /healthz HTTP/1.1\r\nHost: x\r\n".to_owned();
    for told in ends(&edge, &[(head(), b""), (head(), b"X-Trickle: 1\r\n")]).await.concat() {
        let (status, body) = parsed(&told);
        assert_eq!((status, &body["code"]), (408, &json!("head_stalled")), "{told}");
    }
    assert_eq!(edge.ended("head"), 16);
    assert!(edge.metric("relais_http_ended_total{why=\"head\"}").await >= 16.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_makes_no_progress_is_told_on_every_route() {
    let edge = edge().await;
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
    for (told, (kind, _)) in ends(&edge, &kinds).await.iter().zip(&kinds) {
        for told in told {
            let (status, body) = parsed(told);
            assert_eq!((status, &body["code"]), (408, &json!("upload_stalled")), "{kind}: {told}");
        }
    }
    assert_eq!(edge.ended("body"), 64);
    // What was half sent is stored nowhere.
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
    let mut stalled = edge.saying(&post).await;
    serves(&edge).await;
    let told = until_closed(&mut stalled).await;
    assert_eq!(parsed(&told).0, 408, "{told}");
}

/// A client that asks and does not read sees without reading that it was reset. Where the server only closes, the
/// connection still has another end.
fn is_reset(client: &TcpStream) -> bool {
    client.peer_addr().is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_ends() {
    let edge = edge().await;
    assert_eq!(edge.upload("large.json", format!("\"{}\"", "x".repeat(LARGE_BYTES))).await, 200);
    // Many smaller answers are as large as one.
    assert_eq!(edge.upload("part.json", format!("\"{}\"", "x".repeat(100_000))).await, 200);
    let get = |name: &str| {
        format!(
            "GET /api/files/download/rsp-bgs/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
            edge.token
        )
    };
    let mut clients = Vec::new();
    for asked in [get("large.json"), get("part.json").repeat(160)] {
        for _ in 0..8 {
            let (incoming, mut outgoing) = edge.connect_narrow().await.into_split();
            let asked = asked.clone();
            let asking = tokio::spawn(async move {
                // The server need not take all of it.
                let _ = outgoing.write_all(asked.as_bytes()).await;
                outgoing
            });
            clients.push((incoming, asking));
        }
    }
    serves(&edge).await;
    for (client, _asking) in &clients {
        eventually("a reset", || async { is_reset(client.as_ref()) }).await;
    }
    assert_eq!(edge.ended("answer"), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_that_nobody_reads_ends() {
    // A slow client is not closed by the hub.
    let edge = Edge::start(|config| {
        config.server.body_stall_timeout_s = STALL_S;
        config.hub.queue_bytes = 1 << 30;
    })
    .await;
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
    let accounts = relais::features::accounts::Accounts::new(edge.running.app().auth().clone());
    let actor = relais::features::accounts::Actor::named("test", None);
    let scope = ["events:publish:*".to_owned()];
    let (_, key) = accounts.create_key(&actor, "backend", &scope, None).await.unwrap();
    // How much the buffers between hold is the system's business.
    eventually("all are reset", || async {
        let event = json!({ "topic": "system", "name": "notice", "data": { "text": "x".repeat(60_000) } });
        let call = edge.client.post(edge.url("/api/v1/events")).bearer_auth(&key).json(&event);
        assert_eq!(call.send().await.unwrap().status(), 200);
        clients.iter().all(is_reset)
    })
    .await;
    serves(&edge).await;
    assert_eq!(edge.ended("answer"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_answers_no_ping_ends() {
    let edge = Edge::start(|config| {
        config.hub.ping_interval_s = 1;
        config.hub.idle_timeout_s = 5;
        config.hub.authenticate_timeout_s = 600;
    })
    .await;
    let wire = Proxy::to(edge.address());
    let sessions = || edge.running.app().hub().stats().sessions;
    let paths =
        ["/api/files/ws", "/api/v1/ws", "/ws/chat", "/esp32", "/socket.io/?EIO=4&transport=websocket"];
    let mut clients = Vec::new();
    for path in paths.repeat(8) {
        let mut request = format!("ws://{}{path}", wire.address()).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", edge.token).parse().unwrap());
        let (client, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        // It answers pings as long as they come.
        clients.push(tokio::spawn(client.for_each(|_| std::future::ready(()))));
    }
    eventually("all are there", || async { sessions() == clients.len() }).await;
    wire.hold();
    eventually("all are let go", || async { sessions() == 0 }).await;
    serves(&edge).await;
    wire.restore();
    let ends = futures_util::future::join_all(clients);
    tokio::time::timeout(PATIENCE, ends).await.expect("their connections are closed");
}

/// At which rate a body counts as coming is tested where it is measured.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_line_brings_is_taken() {
    let edge = edge().await;
    let content = format!("\"{}\"", "x".repeat(12_000));
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
    // Longer in all than a body may make no progress, each piece well within it and more than has to come meanwhile.
    for piece in body.as_bytes().chunks(3_000) {
        client.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_secs(STALL_S) / 3).await;
    }
    let told = until_closed(&mut client).await;
    assert_eq!(parsed(&told).0, 200, "{told}");
    assert_eq!(edge.download("slow.json").await, content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_in_memory_once_however_many_do_not_read_it() {
    // A process of its own: other tests take memory as well.
    let desk = Desk::new();
    desk.write("large.json", &format!("\"{}\"", "x".repeat(LARGE_BYTES)));
    desk.run(&["push", "large.json", "--societe", "rsp-bgs"]).good();
    let before = desk.resident_bytes();
    let address = desk.address.parse().unwrap();
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = super::connect_narrow(address).await;
        let asked = "GET /api/files/download/rsp-bgs/large.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut first = [0; 15];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        clients.push(client);
    }
    let grown = desk.resident_bytes().saturating_sub(before);
    // A copy for each would be sixty-four.
    assert!(grown < 4 * LARGE_BYTES, "{grown} bytes for {} clients", clients.len());
}
