//! A device and a watcher on real sockets.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Person, World};

/// A JSON WebSocket.
pub(super) struct Wire(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Wire {
    async fn open(world: &World, path: &str, token: Option<&str>) -> Self {
        let url = format!("ws://{}{path}", world.running.address());
        let mut request = url.into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Self(tokio_tungstenite::connect_async(request).await.unwrap().0)
    }

    /// A connection with an `Origin`; the status if it is refused.
    pub(super) async fn from_origin(world: &World, path: &str, origin: &str) -> Result<Self, u16> {
        let url = format!("ws://{}{path}", world.running.address());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(reply)) => Err(reply.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A connection of a device that has not said which it is.
    pub(super) async fn nameless(world: &World) -> Self {
        Self::open(world, "/esp32", None).await
    }

    /// A device that is in.
    pub(super) async fn device(world: &World, id: &str, credential: &str) -> Self {
        let mut device = Self::nameless(world).await;
        device.say(json!({ "type": "module_identify", "moduleId": id, "password": credential })).await;
        assert_eq!(device.next().await["type"], "connected");
        assert_eq!(device.next().await["type"], "auth_success");
        device
    }

    /// Somebody who listens to channels.
    pub(super) async fn watcher(world: &World, who: &Person, channels: &[&str]) -> Self {
        let mut watcher = Self::open(world, "/api/v1/ws", Some(&who.token)).await;
        assert_eq!(watcher.next().await["type"], "connected");
        for channel in channels {
            watcher.say(json!({ "type": "subscribe", "channel": channel })).await;
            let mut answer = watcher.next().await;
            while answer["type"] == "event" {
                // Of a channel before this one.
                answer = watcher.next().await;
            }
            assert_eq!(answer["type"], "subscribed", "{channel}");
        }
        watcher
    }

    pub(super) async fn say(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        // Whoever is closed while it speaks learns so when it reads.
        let _ = self.0.send(Message::text(text)).await;
    }

    /// Bytes as a text or a binary message, whatever they are.
    pub(super) async fn bytes(&mut self, kind: Data, bytes: &[u8]) {
        let frame = Frame::message(bytes.to_vec(), OpCode::Data(kind), true);
        let _ = self.0.send(Message::Frame(frame)).await;
    }

    async fn message(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(20), self.0.next());
        next.await.expect("a message in time").expect("a message before the end").unwrap()
    }

    /// The next JSON.
    pub(super) async fn next(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(close) => panic!("closed: {close:?}"),
                _ => {}
            }
        }
    }

    /// The next event with this name; what comes before it is skipped.
    pub(super) async fn until(&mut self, name: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["name"] == name {
                return frame["data"].clone();
            }
        }
    }

    /// The code and the reason with which the server closes.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(close) = self.message().await {
                let close = close.unwrap();
                return (close.code.into(), close.reason.to_string());
            }
        }
    }

    pub(super) async fn leave(mut self) {
        self.0.close(None).await.unwrap();
        while self.0.next().await.is_some() {}
    }
}
