//! A hub with a log in memory, and clients on real sockets.

#![expect(unreachable_pub, reason = "one crate of tests; everything here is for its modules")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use relais_hub::{
    CloseCode, CloseReason, Dialect, Ended, Flow, Hub, HubConfig, Identity, Joined, NobodyWatches,
    PresenceWatcher, Receiver, Session, SessionSpec, Ticks, Transport, run_socket,
};
use relais_protocol::event::{Channel, Cursor, Epoch, Event, Topic};
use relais_protocol::time::Timestamp;
use relais_protocol::websocket::{Limits, Opcode, close_frame, encode_frame, text_frame_with};
use relais_testkit::MemoryLog;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

pub const EPOCH: Epoch = Epoch(7);

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in {PATIENCE:?}"),
    }
}

/// Frames are `seq topic data`, so that a test reads what arrived.
pub struct Plain(pub &'static str);

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        self.0
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        text_frame_with(out, |out| {
            out.extend_from_slice(format!("{} {} {}", event.seq, event.topic, event.data).as_bytes());
        });
    }

    fn ping(&self) -> Bytes {
        let mut out = Vec::new();
        encode_frame(Opcode::Ping, b"", &mut out);
        out.into()
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        let mut out = Vec::new();
        close_frame(reason.code.number(), &reason.text, &mut out);
        out.into()
    }

    fn revoked(&self, channel: &Channel) -> Bytes {
        text(&format!("revoked {channel}"))
    }
}

pub fn text(text: &str) -> Bytes {
    let mut out = Vec::new();
    encode_frame(Opcode::Text, text.as_bytes(), &mut out);
    out.into()
}

pub fn preface(joined: &Joined) -> Bytes {
    text(&format!("joined {} {}", joined.recovered, joined.replayed))
}

pub fn no_preface(_: &Joined) -> Bytes {
    Bytes::new()
}

/// A hub whose time stands still, and its log.
pub struct World {
    pub hub: Hub,
    pub log: Arc<MemoryLog>,
}

pub fn still() -> HubConfig {
    HubConfig { ticks: Ticks::Manual, ..HubConfig::default() }
}

impl World {
    pub fn new() -> Self {
        Self::with(still())
    }

    pub fn with(config: HubConfig) -> Self {
        Self::watched(config, Arc::new(NobodyWatches))
    }

    pub fn watched(config: HubConfig, watcher: Arc<dyn PresenceWatcher>) -> Self {
        let log = Arc::new(MemoryLog::default());
        let hub = Hub::start(config, Cursor { epoch: EPOCH, seq: 0 }, Arc::clone(&log) as _, watcher);
        Self { hub, log }
    }

    /// The same log after a restart of the server.
    pub fn restarted(self, config: HubConfig) -> Self {
        let head = self.log.head(EPOCH);
        let hub = Hub::start(config, head, Arc::clone(&self.log) as _, Arc::new(NobodyWatches));
        Self { hub, log: self.log }
    }

    /// Commits an event and publishes it.
    pub fn publish(&self, topic: &str, data: &str) -> u64 {
        let event = self.log.append(ephemeral(&Topic::new(topic).unwrap(), data));
        let seq = event.seq;
        self.hub.publish(event);
        seq
    }

    /// Another server commits an event. This one hears of it when it asks.
    pub fn commit_elsewhere(&self, topic: &str, data: &str) {
        self.log.append_elsewhere(ephemeral(&Topic::new(topic).unwrap(), data), &self.hub);
    }

    pub fn publish_ephemeral(&self, topic: &str, key: &str, data: &str) {
        let event = ephemeral(&Topic::new(topic).unwrap(), data);
        self.hub.publish_latest(Arc::new(event), key.into());
    }

    pub async fn connect(&self, principal: &str) -> Client {
        self.connect_as(principal, "plain", Silent).await
    }

    pub async fn connect_as<R: Receiver>(
        &self,
        principal: &str,
        dialect: &'static str,
        receiver: R,
    ) -> Client {
        self.connect_with(principal, dialect, receiver, Limits::default()).await
    }

    /// A client whose messages have these limits.
    pub async fn connect_within(&self, principal: &str, limits: Limits) -> Client {
        self.connect_with(principal, "plain", Silent, limits).await
    }

    async fn connect_with<R: Receiver>(
        &self,
        principal: &str,
        dialect: &'static str,
        receiver: R,
        limits: Limits,
    ) -> Client {
        let (near, far) = self.sockets().await;
        let session = self.hub.open(spec(principal, dialect, Transport::socket(near))).unwrap();
        let run = run_socket(Arc::clone(&session), Bytes::new(), receiver, limits);
        let ended = tokio::spawn(run);
        let socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        Client { session, socket, ended }
    }

    /// A connection whose client side has a small receive buffer, so that it is full early.
    pub async fn sockets(&self) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let address = listener.local_addr().unwrap();
        let (far, near) = tokio::join!(socket.connect(address), listener.accept());
        (near.unwrap().0, far.unwrap())
    }

    pub async fn tick(&self, seconds: u32) {
        (0..seconds).for_each(|_| self.hub.tick());
        self.hub.settled().await;
    }
}

pub fn ephemeral(topic: &Topic, data: &str) -> Event {
    Event {
        topic: topic.clone(),
        epoch: EPOCH,
        offset: 0,
        seq: 0,
        name: "happened".into(),
        data: data.into(),
        at: Timestamp::default(),
    }
}

pub fn spec(principal: &str, dialect: &'static str, transport: Transport) -> SessionSpec {
    SessionSpec {
        identity: Identity::of(principal),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        dialect: Arc::new(Plain(dialect)),
        transport,
        identify_within_s: None,
    }
}

pub fn channel(name: &str) -> Channel {
    name.parse().unwrap()
}

/// A receiver that ignores what clients say.
pub struct Silent;

impl Receiver for Silent {
    fn text(&mut self, _session: &Arc<Session>, _text: &str) -> Flow {
        Flow::Continue
    }
}

/// Answers every text; `later …` after some work, `close` by closing.
pub struct Echo(pub Hub);

impl Receiver for Echo {
    fn text(&mut self, session: &Arc<Session>, said: &str) -> Flow {
        let (hub, session, answer) = (self.0.clone(), Arc::clone(session), text(&format!("you said {said}")));
        if said == "close" {
            return Flow::Close(CloseCode::Normal.into());
        }
        if said.starts_with("later") {
            let work = async move {
                tokio::task::yield_now().await;
                hub.send(&session, answer);
                Flow::Continue
            };
            return Flow::Await(work.boxed());
        }
        hub.send(&session, answer);
        Flow::Continue
    }
}

/// A client on a real socket and the session at the other end.
pub struct Client {
    pub session: Arc<Session>,
    pub socket: WebSocketStream<TcpStream>,
    pub ended: JoinHandle<Ended>,
}

impl Client {
    /// The next text; `Err` with the code if the server closes instead, or 1006 if the connection is lost.
    pub async fn next(&mut self) -> Result<String, u16> {
        loop {
            match soon("a frame", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |c| c.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Reads texts up to and including `last`.
    pub async fn until(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|text| text != last) {
            all.push(self.next().await.unwrap());
        }
        all
    }

    pub async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.next().await.unwrap());
        }
        all
    }

    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// How the connection ended, from the server's side.
    pub async fn end(self) -> Ended {
        drop(self.socket);
        soon("the end", self.ended).await.unwrap()
    }
}
