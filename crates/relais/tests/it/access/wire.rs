//! Requests as bytes, and live connections of every kind.

use std::time::Duration;

use futures_util::StreamExt as _;
use relais_store::StoreError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use reqwest::{Client, Method, Response};

use super::World;

/// Longer than anything here takes; what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which requests are written byte by byte.
pub(crate) struct Raw {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Raw {
    pub(crate) async fn to(world: &World) -> Self {
        Self { stream: TcpStream::connect(world.running.address()).await.unwrap(), heard: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything up to and with `end`.
    pub(crate) async fn read_to(&mut self, end: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = find(&self.heard, end.as_bytes()) {
                    let rest = self.heard.split_off(at + end.len());
                    return std::mem::replace(&mut self.heard, rest);
                }
                let mut bytes = [0; 4096];
                let read = self.stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&self.heard));
                self.heard.extend_from_slice(&bytes[..read]);
            }
        };
        let heard = tokio::time::timeout(PATIENCE, reading).await.expect("the answer comes");
        String::from_utf8(heard).unwrap()
    }

    /// The status and the head of one answer.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let head = self.read_to("\r\n\r\n").await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_ascii_lowercase())
    }
}

fn find(heard: &[u8], end: &[u8]) -> Option<usize> {
    heard.windows(end.len()).position(|window| window == end)
}

/// A WebSocket with headers of its own, or the status of its refusal.
pub(crate) async fn socket(world: &World, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
    let url = format!("ws://{}{path}", world.running.address());
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// A WebSocket that stands.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// The code and the reason with which the server closes it; what comes before is let go.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let closing = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(Some(close)))) => {
                        return (close.code.into(), close.reason.to_string());
                    }
                    Some(Ok(_)) => {}
                    other => panic!("ended without a close frame: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, closing).await.expect("it is closed")
    }

    /// What it is told before it is closed.
    pub(crate) async fn closed_after(&mut self) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => heard.push(text.to_string()),
                Some(Ok(Message::Close(_))) | None => return heard,
                Some(_) => {}
            }
        }
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        let heard = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => return text.to_string(),
                    Some(Ok(Message::Ping(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("something comes")
    }

    /// Says something.
    pub(crate) async fn say(&mut self, text: &str) {
        use futures_util::SinkExt as _;
        self.0.send(Message::text(text)).await.unwrap();
    }
}

/// A client of Engine.IO that polls, with one header on each request.
pub(crate) struct Polling {
    url: String,
    header: (String, String),
}

impl Polling {
    pub(crate) async fn open(world: &World, name: &str, value: &str) -> Self {
        let url = format!("http://{}/socket.io/?EIO=4&transport=polling", world.running.address());
        let mut polling = Self { url, header: (name.to_owned(), value.to_owned()) };
        let opened = polling.get().await.text().await.unwrap();
        let handshake: serde_json::Value = serde_json::from_str(&opened[1..]).unwrap();
        polling.url = format!("{}&sid={}", polling.url, handshake["sid"].as_str().unwrap());
        polling
    }

    async fn send(&self, method: Method, body: String) -> Response {
        let request = Client::new().request(method, &self.url).header(&self.header.0, &self.header.1);
        let request = request.header("sec-fetch-site", "same-origin").body(body).timeout(PATIENCE);
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self) -> Response {
        self.send(Method::GET, String::new()).await
    }

    pub(crate) async fn post(&self, body: impl Into<String>) -> Response {
        self.send(Method::POST, body.into()).await
    }

    /// Joins a namespace and takes the answer.
    pub(crate) async fn connect(&self, namespace: &str) {
        assert_eq!(self.post(format!("40{namespace}")).await.status(), 200);
        let answer = self.get().await.text().await.unwrap();
        assert!(answer.starts_with("40"), "{answer}");
    }
}

/// Stores an event that everybody may hear who has an account.
pub(crate) async fn emit(world: &World, channel: &'static str) {
    let emitted = world.running.app().store().write(move |tx| {
        let topic = relais_protocol::event::Topic::new(channel).unwrap();
        tx.emit(&topic, "changed", "{}".into()).map(drop)?;
        Ok::<_, StoreError>(())
    });
    emitted.await.unwrap();
}
