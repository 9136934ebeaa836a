//! The edge: every wait for a client has an end, whatever the route, and nobody's waiting keeps others out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod forms;
mod places;
mod refusals;
mod sockets;
mod stalled;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use relais::boot::{self, Running};
use relais::config::{AuthMode, Config};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";

/// A server whose first administrator is `admin@relais.fr`.
struct Edge {
    running: Running,
    token: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Edge {
    async fn start(settings: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.server.data = folder.path().join("data");
        config.server.drain_s = 0;
        config.auth.mode = AuthMode::Required;
        config.auth.admin_email = Some("admin@relais.fr".into());
        config.auth.admin_password = Some(PASSWORD.into());
        settings(&mut config);
        let running = boot::start(config).await.unwrap();
        // No connection of an earlier request is used again: what is tested is who is let in.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
        let mut edge = Self { running, token: String::new(), client, _folder: folder };
        let (status, reply) = edge.sign_in().await;
        assert_eq!(status, 200, "{reply}");
        edge.token = reply["token"].as_str().unwrap().to_owned();
        edge
    }

    fn address(&self) -> SocketAddr {
        self.running.address()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    async fn sign_in(&self) -> (u16, Value) {
        let call = json!({ "email": "admin@relais.fr", "password": PASSWORD });
        let reply = self.client.post(self.url("/api/auth/login")).json(&call).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap_or_default())
    }

    async fn health(&self) -> u16 {
        self.client.get(self.url("/healthz")).send().await.unwrap().status().as_u16()
    }

    async fn upload(&self, name: &str, content: String) -> u16 {
        let part = reqwest::multipart::Part::text(content).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        let call = self.client.post(self.url("/api/files/upload/rsp-bgs")).bearer_auth(&self.token);
        call.multipart(form).send().await.unwrap().status().as_u16()
    }

    async fn download(&self, name: &str) -> String {
        let call = self.client.get(self.url(&format!("/api/files/download/rsp-bgs/{name}")));
        call.bearer_auth(&self.token).send().await.unwrap().text().await.unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    async fn connect_narrow(&self) -> TcpStream {
        connect_narrow(self.address()).await
    }

    async fn saying(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// How many connections this server ended for that reason.
    fn ended(&self, why: &str) -> u64 {
        self.running.ended(why)
    }

    /// A value as `/metrics` shows it. The servers of this process count together there.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.client.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// A client whose system keeps little for it.
async fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// Everything that the server still says, until it closes or resets.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = async {
        let mut bytes = [0; 4096];
        while let Ok(read) = stream.read(&mut bytes).await
            && read > 0
        {
            said.extend_from_slice(&bytes[..read]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server ends the connection");
    String::from_utf8_lossy(&said).into_owned()
}

/// The status and the JSON of a whole answer.
fn parsed(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// Asks again until it is so.
async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
