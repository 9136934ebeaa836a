//! A hub with a log in memory, a server with one namespace, and clients on real sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use relais::AppError;
use relais::auth::{Access, Grants, Principal, User};
use relais::config::ServerConfig;
use relais::gateways::engineio::{Callers, Endpoint, Settings as EngineSettings};
use relais::gateways::socketio::{
    Admission, ConnectRequest, Guest, Incoming, Namespace, Namespaces, Refused, Reply, Settings, Socket,
    SocketIo, Welcome,
};
use relais::said::FrenchAddresses;
use relais::web::{Server, listen};
use relais_hub::{Hub, HubConfig, NobodyWatches, Subscription, Ticks};
use relais_protocol::engineio::PayloadLimits;
use relais_protocol::event::{Channel, Epoch, Event, Topic};
use relais_protocol::time::Timestamp;
use relais_testkit::MemoryLog;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const PATIENCE: Duration = Duration::from_secs(60);
const EPOCH: Epoch = Epoch(7);

/// What the namespace was told, in order.
#[derive(Clone)]
pub(crate) struct Calls(watch::Sender<Vec<String>>);

impl Calls {
    fn new() -> Self {
        Self(watch::Sender::default())
    }

    fn add(&self, call: String) {
        self.0.send_modify(|calls| calls.push(call));
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until they are so.
    pub(crate) async fn until(&self, what: &str, are_so: impl Fn(&[String]) -> bool) {
        let mut calls = self.0.subscribe();
        let waited = tokio::time::timeout(PATIENCE, calls.wait_for(|calls| are_so(calls))).await;
        assert!(waited.is_ok(), "{what} in {:?}", self.all());
    }
}

type Kept = Arc<Mutex<Vec<Socket>>>;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) calls: Calls,
    /// Events that take their time are done when there is a permit for them.
    pub(crate) gate: Arc<Semaphore>,
    /// Clients that asked to be kept.
    pub(crate) kept: Kept,
    pub(crate) log: Arc<MemoryLog>,
    url: String,
    _server: Arc<Server>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl Fn(&mut Settings)) -> Self {
        Self::on(Arc::default(), HubConfig { ticks: Ticks::Manual, ..HubConfig::default() }, change)
    }

    pub(crate) fn on(log: Arc<MemoryLog>, config: HubConfig, change: impl Fn(&mut Settings)) -> Self {
        Self::shared(log, config, change, None)
    }

    /// With somebody who hears some of what clients say in the room.
    pub(crate) fn with_guest(guest: Arc<dyn Guest>) -> Self {
        let config = HubConfig { ticks: Ticks::Manual, ..HubConfig::default() };
        Self::shared(Arc::default(), config, |_| {}, Some(guest))
    }

    fn shared(
        log: Arc<MemoryLog>,
        config: HubConfig,
        change: impl Fn(&mut Settings),
        guest: Option<Arc<dyn Guest>>,
    ) -> Self {
        let head = log.head(EPOCH);
        let hub = Hub::start(config, head, Arc::clone(&log) as _, Arc::new(NobodyWatches));
        let mut settings = Settings::default();
        change(&mut settings);
        let calls = Calls::new();
        let callers: Arc<dyn Callers> = Arc::new(Anybody);
        let (gate, kept) = (Arc::new(Semaphore::new(0)), Kept::default());
        let room = Room { calls: calls.clone(), gate: Arc::clone(&gate), kept: Arc::clone(&kept) };
        let room: Arc<dyn Namespace> = Arc::new(room);
        let mut namespaces = Namespaces::default();
        namespaces.add("/room", Arc::clone(&room));
        guest.into_iter().for_each(|guest| namespaces.join("/room", guest));
        let served = SocketIo::new(settings, Arc::clone(&callers))
            .with_all(namespaces)
            .with_family(|name| name.starts_with("/room-"), room)
            .serve();
        let rules = EngineSettings {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(35),
            upgrade_timeout: Duration::from_secs(10),
            payload: PayloadLimits::default(),
            allow_v3: true,
            deflate: true,
        };
        let routes: Router = Endpoint::new(hub.clone(), rules, callers, served).router("/socket.io/");
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = listener.local_addr().unwrap().to_string();
        let server =
            Arc::new(Server::start(listener, routes, &ServerConfig::default(), FrenchAddresses::default()));
        Self { hub, calls, gate, kept, log, url, _server: server }
    }

    /// Another server on the same log.
    pub(crate) fn restarted(&self) -> Self {
        Self::on(Arc::clone(&self.log), HubConfig { ticks: Ticks::Manual, ..HubConfig::default() }, |_| {})
    }

    /// The log forgets what came before `seq`.
    pub(crate) fn forget_before(&self, seq: u64) {
        self.log.forget_before(seq);
    }

    /// Commits an event and publishes it.
    pub(crate) fn publish(&self, topic: &str, data: &Value) {
        self.hub.publish(self.log.append(event(topic, data)));
    }

    pub(crate) fn publish_ephemeral(&self, topic: &str, data: &Value) {
        self.hub.publish(Arc::new(event(topic, data)));
    }

    /// A WebSocket: a new connection, or to take over one that polls.
    pub(crate) async fn open(&self, sid: &str) -> Client {
        let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
        let url = format!("ws://{}/socket.io/?EIO=4&transport=websocket{sid}", self.url);
        Client(tokio_tungstenite::connect_async(url).await.unwrap().0)
    }

    pub(crate) async fn connect(&self) -> Client {
        let mut client = self.open("").await;
        assert!(client.next().await.starts_with("0{"));
        client
    }

    /// A polling connection and its id.
    pub(crate) async fn poll_open(&self) -> String {
        let opened = reqwest::get(self.polling_url("")).await.unwrap().text().await.unwrap();
        let handshake: Value = serde_json::from_str(&opened[1..]).unwrap();
        handshake["sid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn polling_url(&self, sid: &str) -> String {
        let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
        format!("http://{}/socket.io/?EIO=4&transport=polling{sid}", self.url)
    }

    /// A POST of which the server has the head and waits for the body.
    pub(crate) async fn post_head(&self, sid: &str, body_bytes: usize) -> TcpStream {
        let mut stream = TcpStream::connect(&self.url).await.unwrap();
        let head = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {body_bytes}\r\nExpect: 100-continue\r\n\r\n",
            self.url
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// Waits until the namespace was told this.
    pub(crate) async fn told(&self, call: &str) {
        self.calls.until(call, |calls| calls.iter().any(|known| known == call)).await;
    }

    /// Waits until the hub has so many sessions and subscriptions.
    pub(crate) async fn holds(&self, sessions: usize, subscriptions: usize) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.hub.settled().await;
            let stats = self.hub.stats();
            if (stats.sessions, stats.subscriptions) == (sessions, subscriptions) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{stats:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn tick(&self, seconds: u32) {
        (0..seconds).for_each(|_| self.hub.tick());
        self.hub.settled().await;
    }
}

fn event(topic: &str, data: &Value) -> Event {
    Event {
        topic: Topic::new(topic).unwrap(),
        epoch: EPOCH,
        offset: 0,
        seq: 0,
        name: "news".into(),
        data: data.to_string().into(),
        at: Timestamp::default(),
    }
}

/// A client that speaks the bare protocol.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Says it although the server may have ended the connection: whoever listens learns that.
    pub(crate) async fn try_say(&mut self, text: &str) {
        let _ = self.0.send(Message::text(text)).await;
    }

    /// The next text; panics if the connection ends.
    pub(crate) async fn next(&mut self) -> String {
        self.heard().await.unwrap()
    }

    /// The next text, or the close code.
    pub(crate) async fn heard(&mut self) -> Result<String, u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("something comes") {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => self.say("3").await,
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Close(close))) => return Err(close.map_or(1005, |close| close.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Joins the room, and returns the reply's data.
    pub(crate) async fn join(&mut self, auth: &Value) -> Value {
        self.say(&format!("40/room,{auth}")).await;
        let reply = self.next().await;
        let data = reply.strip_prefix("40/room,").unwrap_or_else(|| panic!("joined: {reply}"));
        serde_json::from_str(data).unwrap()
    }

    /// The next event of the room: its array.
    pub(crate) async fn event(&mut self) -> Vec<Value> {
        let heard = self.next().await;
        let data = heard.strip_prefix("42/room,").unwrap_or_else(|| panic!("an event: {heard}"));
        serde_json::from_str(data).unwrap()
    }
}

/// Whoever comes is nobody until a namespace knows better.
struct Anybody;

impl Callers for Anybody {
    fn caller<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        async { Ok(Principal::Anonymous) }.boxed()
    }
}

/// The person of that name.
fn person(name: &str) -> Principal {
    Principal::User(Arc::new(User {
        principal_id: format!("user:{name}").into(),
        id: name.to_owned(),
        email: String::new(),
        display_name: name.to_owned(),
        admin: false,
        staff: false,
        grants: Grants { read: Access::none(), write: Access::none() },
        expires_at: None,
        generation: None,
        session: None,
    }))
}

/// A namespace with one channel, `room:1`. `auth.user` says who comes; nobody may stay for five seconds.
struct Room {
    calls: Calls,
    gate: Arc<Semaphore>,
    kept: Kept,
}

impl Namespace for Room {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        async move {
            let auth: Value = request
                .auth
                .as_ref()
                .map_or(Value::Null, |auth| serde_json::from_str(auth.as_str()).unwrap());
            if auth["user"] == "mallory" {
                return Err(Refused::new("forbidden", "not you"));
            }
            let principal = auth["user"].as_str().map_or(request.principal, person);
            let channels = vec![subscription("room:1")];
            Ok(Admission { principal, channels, since: None, identify_within_s: Some(5) })
        }
        .boxed()
    }

    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        let calls = self.calls.clone();
        async move {
            calls.add(format!("connected {} {}", socket.principal().id(), welcome.recovered));
        }
        .boxed()
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        let (calls, gate, kept) = (self.calls.clone(), Arc::clone(&self.gate), Arc::clone(&self.kept));
        async move {
            match &*incoming.event().name {
                "1" => return Some(Reply::json(&json!(incoming.arguments()))),
                "whoami" => return Some(Reply::json(&json!(&*socket.principal().id()))),
                "i am" => {
                    let name: String = incoming.first().unwrap();
                    return Some(Reply::json(&json!(socket.identify(&person(&name)).is_ok())));
                }
                "tell me" => socket.emit("told", &incoming.arguments()).unwrap(),
                "ask me" => drop(tokio::spawn(async move {
                    let answer =
                        socket.ask("question", "1").await.map(|answer| answer.elements()[0].to_string());
                    calls.add(format!("answered {answer:?}"));
                })),
                "listen" => {
                    let joined = socket.join(subscription(&incoming.first::<String>().unwrap())).await;
                    return Some(Reply::json(&json!(joined.is_ok())));
                }
                "listen since" => {
                    let (name, since): (String, String) = incoming.first().unwrap();
                    let joined =
                        socket.join_since(vec![subscription(&name)], since.parse().unwrap()).await.unwrap();
                    return Some(Reply::json(&json!(joined)));
                }
                "stop" => socket.leave(&channel(&incoming.first::<String>().unwrap())),
                "take your time" => {
                    calls.add(format!("began {}", incoming.arguments()));
                    gate.acquire().await.unwrap().forget();
                    calls.add(format!("ended {}", incoming.arguments()));
                }
                "keep me" => kept.lock().push(socket),
                "throw me out" => socket.disconnect(),
                other => panic!("{other}"),
            }
            None
        }
        .boxed()
    }

    fn disconnected(&self, socket: &Socket) {
        self.calls.add(format!("disconnected {}", socket.principal().id()));
    }
}

fn channel(name: &str) -> Channel {
    name.parse().unwrap()
}

fn subscription(name: &str) -> Subscription {
    Subscription { channel: channel(name), filter: None }
}
