//! Calls and clients of the chat.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use relais_hub::Hub;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::world::{Person, World};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    /// A call of the chat; the status and the whole reply.
    pub(crate) async fn call(&self, who: &Person, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.request(who, method, &format!("/api/chat/{path}"), body).await
    }

    /// The data of a call that succeeds.
    pub(crate) async fn get(&self, who: &Person, path: &str) -> Value {
        self.done(self.call(who, Method::GET, path, Value::Null).await)
    }

    pub(crate) async fn post(&self, who: &Person, path: &str, body: Value) -> Value {
        self.done(self.call(who, Method::POST, path, body).await)
    }

    pub(crate) async fn put(&self, who: &Person, path: &str, body: Value) -> Value {
        self.done(self.call(who, Method::PUT, path, body).await)
    }

    pub(crate) async fn delete(&self, who: &Person, path: &str) -> Value {
        self.done(self.call(who, Method::DELETE, path, Value::Null).await)
    }

    /// The conversations as they are listed under one of the addresses of the chat.
    pub(crate) async fn overview(&self, who: &Person, base: &str) -> Value {
        self.done(self.request(who, Method::GET, &format!("{base}/conversations"), Value::Null).await)
    }

    fn done(&self, (status, reply): (u16, Value)) -> Value {
        assert!(matches!(status, 200 | 201), "{status}: {reply}");
        assert_eq!(reply["success"], true);
        reply["data"].clone()
    }

    /// Begins the conversation of two people.
    pub(crate) async fn befriend(&self, one: &Person, other: &Person) -> String {
        let invited = self.post(one, "invitations", json!({ "to_user_id": other.id })).await;
        let path = format!("invitations/{}/respond", invited["invitation_id"].as_str().unwrap());
        let begun = self.put(other, &path, json!({ "action": "accept" })).await;
        begun["conversation_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn send(&self, who: &Person, conversation: &str, content: &str) -> Value {
        let path = format!("conversations/{conversation}/messages");
        self.post(who, &path, json!({ "content": content })).await["message"].clone()
    }

    /// A connection that has said nothing yet.
    pub(crate) async fn open(&self) -> Socket {
        let url = format!("ws://{}/ws/chat", self.running.address());
        let hub = self.running.app().hub().clone();
        Socket { stream: tokio_tungstenite::connect_async(url).await.unwrap().0, hub }
    }

    /// A connection with the hub's own protocol that has said nothing yet.
    pub(crate) async fn open_native(&self) -> Socket {
        self.open_at("/api/v1/ws").await
    }

    /// A connection to an address of the server that has said nothing yet.
    pub(crate) async fn open_at(&self, path: &str) -> Socket {
        let url = format!("ws://{}{path}", self.running.address());
        let hub = self.running.app().hub().clone();
        Socket { stream: tokio_tungstenite::connect_async(url).await.unwrap().0, hub }
    }

    /// A connection of somebody, who hears what is for them.
    pub(crate) async fn connect(&self, who: &Person) -> Socket {
        self.connect_with(who, json!({})).await.0
    }

    /// The same, with more in `authenticate`; and the answer.
    pub(crate) async fn connect_with(&self, who: &Person, mut with: Value) -> (Socket, Value) {
        let mut socket = self.open().await;
        with["type"] = "authenticate".into();
        with["token"] = who.token.as_str().into();
        socket.say(&with).await;
        let answer = socket.hear("authenticated").await;
        assert_eq!(answer["user_id"], who.id.as_str());
        (socket, answer)
    }
}

/// A client of `/ws/chat`.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    hub: Hub,
}

impl Socket {
    pub(crate) async fn say(&mut self, frame: &Value) {
        self.say_text(&frame.to_string()).await;
    }

    /// Says what may be no JSON.
    pub(crate) async fn say_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// The next text, as it came.
    pub(crate) async fn next_text(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            if let Message::Text(text) = message.expect("a frame").unwrap() {
                return text.to_string();
            }
        }
    }

    /// Says the same many times, at once.
    pub(crate) async fn say_many(&mut self, frame: &Value, times: usize) {
        for _ in 0..times {
            // The server may have closed meanwhile.
            if self.stream.feed(Message::text(frame.to_string())).await.is_err() {
                return;
            }
        }
        let _ = self.stream.flush().await;
    }

    /// The next frame, or the code with which the server closed.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            match message.expect("a frame or a close").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
    }

    /// The next frame of this type; others before it are left out.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        self.hear_all_until(kind).await.pop().unwrap()
    }

    /// All frames up to the next of this type.
    pub(crate) async fn hear_all_until(&mut self, kind: &str) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let frame = self.next().await.unwrap_or_else(|code| panic!("closed with {code} after {heard:?}"));
            let found = frame["type"] == kind;
            heard.push(frame);
            if found {
                return heard;
            }
        }
    }

    /// Everything that was published until now. The answer to a ping says that what was asked before is done; once the hub
    /// has written what that has told, the answer to another comes after it.
    pub(crate) async fn heard(&mut self) -> Vec<Value> {
        let mut heard = Vec::new();
        for _ in 0..2 {
            self.hub.settled().await;
            self.say(&json!({ "type": "ping" })).await;
            heard.extend(self.hear_all_until("pong").await);
            heard.pop();
        }
        heard
    }
}
