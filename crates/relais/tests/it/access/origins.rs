//! Which pages may call, and by which names an open server answers.

use relais::config::{AuthMode, Config};

use super::World;
use super::wire::{Raw, socket};

/// Everything that a page can open or send.
const SOCKETS: [&str; 4] =
    ["/api/v1/ws", "/api/files/ws", "/ws/chat", "/socket.io/?EIO=4&transport=websocket"];
const CALLS: [&str; 6] = [
    "GET /api/files/societes",
    "GET /api/files/events",
    "GET /api/files/changes?wait=0",
    "GET /socket.io/?EIO=4&transport=polling",
    "POST /api/files/sync/rsp-bgs",
    "DELETE /api/files/delete/rsp-bgs/a.json",
];

async fn sent(world: &World, call: &str, headers: &str) -> (u16, String) {
    let mut raw = Raw::to(world).await;
    let length = if call.starts_with("POST") { "Content-Length: 0\r\n" } else { "" };
    raw.write(format!("{call} HTTP/1.1\r\n{headers}{length}\r\n")).await;
    raw.answer().await
}

/// Only on SQLite: no database is asked.
async fn open(settings: impl Fn(&mut Config)) -> World {
    World::alone(|config| {
        config.auth.mode = AuthMode::Open;
        settings(config);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_server_answers_to_its_own_names_only() {
    let world = open(|config| config.server.names = vec!["relais.lan".parse().unwrap()]).await;
    let port = world.running.address().port();
    for own in ["localhost", "127.0.0.1", "[::1]", "relais.lan", "LOCALHOST"] {
        for call in CALLS {
            let (status, _) = sent(&world, call, &format!("Host: {own}:{port}\r\n")).await;
            assert_ne!(status, 403, "{call} on {own}");
        }
    }
    for foreign in ["evil.example", "10.1.2.3", "localhost.evil.example"] {
        let host = format!("{foreign}:{port}");
        let page = format!("Host: {host}\r\nOrigin: http://{host}\r\nSec-Fetch-Site: same-origin\r\n");
        for call in CALLS {
            let (status, head) = sent(&world, call, &page).await;
            assert_eq!(status, 403, "{call} on {host}: {head}");
        }
        for path in SOCKETS {
            let headers = [("host", &*host), ("origin", &format!("http://{host}"))];
            assert_eq!(socket(&world, path, &headers).await.err(), Some(403), "{path} on {host}");
        }
    }
    assert_eq!(
        sent(&world, "GET http://evil.example/api/files/societes", "Host: localhost\r\n").await.0,
        403
    );
    assert_eq!(sent(&world, "GET /api/files/societes", "").await.0, 400, "HTTP/1.1 has a host");
    assert_eq!(
        sent(&world, "GET /api/files/societes", "Host: localhost\r\nHost: localhost\r\n").await.0,
        400
    );
}

/// Devices call a server in a network by whatever name they were given; on a loopback address there is only this computer.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_loopback_address_devices_call_the_server_by_its_names_too() {
    let world = open(|config| config.server.names = vec!["relais.lan".parse().unwrap()]).await;
    let port = world.running.address().port();
    let report = "POST /api/v1/modules/MC-1001-STN/report";
    for own in ["localhost", "127.0.0.1", "relais.lan"] {
        let host = format!("{own}:{port}");
        assert!(socket(&world, "/esp32", &[("host", &*host), ("origin", "file://")]).await.is_ok(), "{own}");
        assert_eq!(sent(&world, report, &format!("Host: {host}\r\n")).await.0, 400, "no values");
    }
    let host = format!("evil.example:{port}");
    assert_eq!(socket(&world, "/esp32", &[("host", &*host)]).await.err(), Some(403));
    assert_eq!(sent(&world, report, &format!("Host: {host}\r\n")).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_credentials_are_required_any_name_will_do() {
    let world = World::alone(|_| {}).await;
    let (status, _) = sent(&world, "GET /healthz", "Host: relais.example\r\n").await;
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_is_own_if_scheme_host_and_port_are() {
    let world = open(|_| {}).await;
    let host = format!("localhost:{}", world.running.address().port());
    let sent = |origin: String| {
        let (world, host) = (&world, &host);
        async move {
            let headers = format!("Host: {host}\r\nOrigin: {origin}\r\n");
            let (status, _) = sent(world, "POST /api/files/sync/rsp-bgs", &headers).await;
            let socket = socket(world, "/api/files/ws", &[("host", host), ("origin", &origin)]).await;
            assert_eq!(status == 403, socket.err() == Some(403), "{origin}");
            status
        }
    };
    assert_eq!(sent(format!("http://{host}")).await, 404, "there is no such société");
    for foreign in [
        format!("https://{host}"),
        format!("file://{host}"),
        "file://".into(),
        "null".into(),
        "http://localhost".into(),
        "http://localhost:1".into(),
    ] {
        assert_eq!(sent(foreign.clone()).await, 403, "{foreign}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_the_scheme_is_the_one_that_it_says() {
    let page = "Host: localhost\r\nOrigin: https://localhost\r\nX-Forwarded-Proto: https\r\n";
    let call = "POST /api/files/sync/rsp-bgs";
    let untrusted = open(|_| {}).await;
    assert_eq!(sent(&untrusted, call, page).await.0, 403);
    let trusted = open(|config| config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    assert_eq!(sent(&trusted, call, page).await.0, 404);
    let plain = page.replace("https\r\n", "http\r\n");
    assert_eq!(sent(&trusted, call, &plain).await.0, 403);
}

const PREFLIGHT: &str = "OPTIONS /api/auth/login";

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_origin_gets_the_headers_that_it_asks_for() {
    let world = World::alone(|config| {
        config.server.allowed_origins = vec!["HTTPS://App.Example.com:443/".parse().unwrap()];
    })
    .await;
    let asked = "content-type,ngrok-skip-browser-warning,x-request-id";
    let preflight = |origin: &str, headers: &str| {
        format!(
            "Host: relais.fr\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: {headers}\r\n"
        )
    };
    let (status, head) = sent(&world, PREFLIGHT, &preflight("https://app.example.com", asked)).await;
    assert_eq!(status, 200);
    assert!(head.contains(&format!("access-control-allow-headers: {asked}")), "{head}");
    assert!(head.contains("access-control-allow-origin: https://app.example.com\r\n"), "{head}");
    assert!(head.contains("access-control-allow-credentials: true"), "{head}");
    let (_, head) = sent(&world, PREFLIGHT, &preflight("https://evil.example", asked)).await;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
    let (status, _) =
        sent(&world, PREFLIGHT, &preflight("https://app.example.com", &"x-a,".repeat(2000))).await;
    assert_eq!(status, 400, "within bounds");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_origin_is_allowed_without_cookies() {
    let world = World::alone(|config| config.server.allowed_origins = vec!["*".parse().unwrap()]).await;
    let headers = "Host: relais.fr\r\nOrigin: https://any.example\r\nAccess-Control-Request-Method: POST\r\n\
                   Access-Control-Request-Headers: authorization\r\n";
    let (_, head) = sent(&world, PREFLIGHT, headers).await;
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(
        head.contains("access-control-allow-headers: authorization"),
        "a star would leave it out: {head}"
    );
    assert!(!head.contains("allow-credentials"), "{head}");
}
