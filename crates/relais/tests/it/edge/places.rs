//! How many connections there may be, in all and from one address.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Edge, eventually, parsed, until_closed};

type Live = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A live connection, of a client that a proxy names.
async fn live(edge: &Edge, client: &str) -> Result<Live, u16> {
    let mut request = format!("ws://{}/api/v1/ws", edge.address()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {}", edge.token).parse().unwrap());
    headers.insert("x-forwarded-for", client.parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((mut socket, _)) => {
            assert!(socket.next().await.unwrap().is_ok());
            Ok(socket)
        }
        Err(tokio_tungstenite::tungstenite::Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn get(edge: &Edge, path: &str, client: &str) -> (u16, serde_json::Value, bool) {
    let call = edge.client.get(edge.url(path)).header("x-forwarded-for", client).bearer_auth(&edge.token);
    let reply = call.send().await.unwrap();
    let has_retry_after = reply.headers().contains_key("retry-after");
    (reply.status().as_u16(), reply.json().await.unwrap_or_default(), has_retry_after)
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_make_room_for_those_who_come() {
    let edge = Edge::start(|config| {
        config.server.connections_max = 20;
        // Nobody is ended for anything else.
        config.server.body_stall_timeout_s = 600;
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..30 {
        let login = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
        stalled.push(edge.saying(login).await);
    }
    assert_eq!(edge.health().await, 200);
    assert_eq!(edge.sign_in().await.0, 200);
    assert_eq!(edge.upload("a.json", "[1]".into()).await, 200);
    assert_eq!(edge.download("a.json").await, "[1]");
    // Which of the thirty it is that make room is not said.
    let told: FuturesUnordered<_> = stalled.iter_mut().map(until_closed).collect();
    let told: Vec<String> = told.take(10).collect().await;
    for told in told {
        let (status, reply) = parsed(&told);
        assert_eq!((status, &reply["code"]), (503, &json!("server_full")), "{told}");
    }
    assert!(edge.ended("places") >= 10);
}

/// WebSockets of which nobody says whose they are.
async fn strangers(edge: &Edge, path: &str, count: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..count {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        all.push(edge.saying(&request).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_do_not_say_whose_they_are_make_room_too() {
    let edge = Edge::start(|config| config.server.connections_max = 20).await;
    let _known = live(&edge, "").await.unwrap();
    for path in ["/ws/chat", "/socket.io/?EIO=4&transport=websocket", "/esp32", "/api/v1/ws"] {
        let _strangers = strangers(&edge, path, 40).await;
        let began = std::time::Instant::now();
        assert_eq!((edge.health().await, edge.sign_in().await.0), (200, 200), "{path}");
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{path}: {:?}", began.elapsed());
        eventually("the strangers make room", || async {
            get(&edge, "/api/files/societes", "").await.0 == 200
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_ends_its_sockets_that_are_nobodys_for_those_that_come() {
    let edge = Edge::start(|config| {
        config.server.connections_unlimited_from = Vec::new();
        config.server.connections_per_address_max = 10;
    })
    .await;
    let _strangers = strangers(&edge, "/ws/chat", 10).await;
    eventually("one more has a place", || async { live(&edge, "").await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_a_place_hold_up_neither_health_nor_sign_in() {
    let edge = Edge::start(|config| config.server.connections_max = 2).await;
    let _first = live(&edge, "203.0.113.9").await.unwrap();
    let _second = live(&edge, "203.0.113.9").await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        waiting.push(edge.saying("GET /api/files/societes HTTP/1.1\r\nHost: x\r\n\r\n").await);
    }
    let began = std::time::Instant::now();
    assert_eq!((edge.health().await, edge.sign_in().await.0), (200, 200));
    assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_are_in_use_health_answers_and_others_are_told() {
    let edge = Edge::start(|config| config.server.connections_max = 2).await;
    let first = live(&edge, "203.0.113.9").await.unwrap();
    let _second = live(&edge, "203.0.113.9").await.unwrap();
    assert_eq!(edge.health().await, 200);
    let (status, reply, has_retry_after) = get(&edge, "/api/files/societes", "203.0.113.9").await;
    assert_eq!((status, &reply["code"], has_retry_after), (503, &json!("server_full"), true));
    assert_eq!(live(&edge, "203.0.113.9").await.unwrap_err(), 503);
    drop(first);
    eventually("a place is free again", || async {
        get(&edge, "/api/files/societes", "203.0.113.9").await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_and_its_silent_ones_make_room() {
    let edge = Edge::start(|config| {
        config.server.connections_unlimited_from = Vec::new();
        config.server.connections_per_address_max = 3;
    })
    .await;
    let mut silent = edge.connect().await;
    let mut served = Vec::new();
    // Once it was silent for a while it makes room; those who are served do not.
    let began = std::time::Instant::now();
    while served.len() < 3 {
        match live(&edge, "").await {
            Ok(socket) => served.push(socket),
            Err(status) => assert_eq!(status, 429),
        }
        assert!(began.elapsed() < super::PATIENCE, "the silent one does not make room");
    }
    assert_eq!(until_closed(&mut silent).await, "");
    let mut refused = edge.saying("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let told = until_closed(&mut refused).await;
    let (status, reply) = parsed(&told);
    assert_eq!((status, &reply["code"]), (429, &json!("too_many_from_address")), "{told}");
    assert!(told.contains("retry-after: 5\r\n"), "{told}");
    served.pop();
    eventually("a place is free again", || async { live(&edge, "").await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_real_client_counts() {
    let edge = Edge::start(|config| {
        config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.server.connections_per_address_max = 1;
    })
    .await;
    let socket = live(&edge, "203.0.113.9").await.unwrap();
    let (status, reply, has_retry_after) = get(&edge, "/api/files/societes", "203.0.113.9").await;
    assert_eq!((status, &reply["code"], has_retry_after), (429, &json!("too_many_from_address"), true));
    assert_eq!(live(&edge, "203.0.113.9").await.unwrap_err(), 429);
    // One network of IPv6 is one client.
    let _other = live(&edge, "2001:db8::7").await.unwrap();
    assert_eq!(get(&edge, "/api/files/societes", "2001:db8::8").await.0, 429);
    assert_eq!(get(&edge, "/api/files/societes", "2001:db8:0:1::8").await.0, 200);
    assert_eq!(get(&edge, "/api/files/societes", "203.0.113.10").await.0, 200);
    // The proxy itself, and what it does of its own, has no limit.
    assert_eq!(edge.health().await, 200);
    assert_eq!(edge.ended("address"), 3);
    drop(socket);
    eventually("the client has its place again", || async {
        get(&edge, "/api/files/societes", "203.0.113.9").await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_have_a_limit_together_and_sign_in_goes_on() {
    let edge = Edge::start(|config| {
        config.server.body_memory_bytes = 1024 * 1024;
        // Nobody is ended for anything else.
        config.server.body_stall_timeout_s = 600;
    })
    .await;
    let head = "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(edge.saying(&format!("{head}{}", " ".repeat(400_000))).await);
    }
    // Two fit at most.
    let told: FuturesUnordered<_> = clients.iter_mut().map(until_closed).collect();
    let told: Vec<String> = told.take(2).collect().await;
    for told in told {
        let (status, reply) = parsed(&told);
        assert_eq!((status, &reply["code"]), (503, &json!("body_memory_exhausted")), "{told}");
    }
    assert_eq!(edge.sign_in().await.0, 200);
    drop(clients);
    let call = json!({ "email": "admin@relais.fr", "password": super::PASSWORD }).to_string();
    eventually("a large body alone is taken", || async {
        let body = format!("{call}{}", " ".repeat(400_000));
        let call = edge.client.post(edge.url("/api/auth/login")).header("content-type", "application/json");
        call.body(body).send().await.unwrap().status() == 200
    })
    .await;
}
