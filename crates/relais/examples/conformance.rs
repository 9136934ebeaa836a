//! The echo servers that the published protocol documents name in their "Test suite" sections, on the code of the
//! server: Engine.IO at `/engine.io/`, Socket.IO at `/socket.io/` with the namespaces `/` and `/custom`.
//!
//! `cargo run --release --example conformance -- --port 3000`

#![expect(clippy::disallowed_methods, reason = "its tasks end with the process")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use clap::Parser;
use futures_util::future::BoxFuture;
use relais::AppError;
use relais::auth::Principal;
use relais::config::ServerConfig;
use relais::gateways::engineio::{
    Application, Arrival, Callers, Client, Conversation, Endpoint, Opened, Settings as EngineSettings,
};
use relais::gateways::socketio::{
    Admission, ConnectRequest, Incoming, Namespace, Refused, Reply, Settings, Socket, SocketIo, Welcome,
};
use relais::said::FrenchAddresses;
use relais::web::{Server, listen};
use relais_hub::{Flow, Hub, HubConfig, NobodyWatches, Ticks};
use relais_protocol::engineio::{Frame, PayloadLimits};
use relais_protocol::event::{Cursor, Epoch};
use relais_protocol::socketio::Limits;
use relais_testkit::MemoryLog;
use tower_http::cors::CorsLayer;

/// The hub counts seconds; here each is so long, so that the suites' short heartbeats can be kept.
const TICK: Duration = Duration::from_millis(20);
const PAYLOAD_BYTES: u32 = 1_000_000;

/// Serves the echo contracts of the protocols' test suites.
#[derive(Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// Milliseconds from one ping to the next. The suites expect the default.
    #[arg(long, default_value_t = 300)]
    ping_interval: u32,
    /// Milliseconds that a client has for its answer. The suites expect the default.
    #[arg(long, default_value_t = 200)]
    ping_timeout: u32,
    /// Milliseconds that a client has to join a namespace.
    #[arg(long, default_value_t = 1_000)]
    connect_timeout: u32,
    /// Agree on compression (permessage-deflate) with clients that offer it.
    #[arg(long)]
    compression: bool,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let listener = listen(([127, 0, 0, 1], arguments.port).into())?;
    let address = listener.local_addr()?;
    let hub = start_hub(&arguments);
    let routes: Router<()> = Router::new()
        .merge(endpoint(&hub, Arc::new(Echo), &arguments).router("/engine.io/"))
        .merge(endpoint(&hub, namespaces(&arguments), &arguments).router("/socket.io/"));
    let routes = routes.layer(CorsLayer::very_permissive());
    let mut server = Server::start(listener, routes, &ServerConfig::default(), FrenchAddresses::default());
    announce(&address.to_string());
    let _ = tokio::signal::ctrl_c().await;
    tokio::join!(server.stop(), hub.drain(Duration::ZERO));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "whoever chose port 0 reads here which one it is")]
fn announce(address: &str) {
    println!("listening on http://{address}");
}

fn endpoint(hub: &Hub, application: Arc<dyn Application>, arguments: &Arguments) -> Arc<Endpoint> {
    let settings = EngineSettings {
        ping_interval: Duration::from_millis(arguments.ping_interval.into()),
        ping_timeout: Duration::from_millis(arguments.ping_timeout.into()),
        upgrade_timeout: Duration::from_secs(10),
        payload: PayloadLimits { bytes: PAYLOAD_BYTES, ..PayloadLimits::default() },
        allow_v3: true,
        deflate: arguments.compression,
    };
    Endpoint::new(hub.clone(), settings, Arc::new(Anybody), application)
}

// ---- The hub ----

fn ticks(milliseconds: u32) -> u32 {
    u32::try_from(u128::from(milliseconds) / TICK.as_millis()).unwrap_or(u32::MAX)
}

fn start_hub(arguments: &Arguments) -> Hub {
    let config = HubConfig {
        ticks: Ticks::Manual,
        ping_interval_s: ticks(arguments.ping_interval).max(1),
        // A tick early: a client that asks right after the time has passed finds its session gone.
        idle_timeout_s: ticks(arguments.ping_interval.saturating_add(arguments.ping_timeout)).max(2) - 1,
        close_timeout_s: ticks(1_000),
        queue_bytes: 16 * 1024 * 1024,
        ..HubConfig::default()
    };
    let start = Cursor { epoch: Epoch(1), seq: 0 };
    // Nothing is published here, so there is nothing to recover.
    let hub = Hub::start(config, start, Arc::new(MemoryLog::default()), Arc::new(NobodyWatches));
    let ticking = hub.clone();
    tokio::spawn(async move {
        let mut times = tokio::time::interval(TICK);
        loop {
            times.tick().await;
            ticking.tick();
        }
    });
    hub
}

/// Any client from any origin.
struct Anybody;

impl Callers for Anybody {
    fn caller<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        Box::pin(async { Ok(Principal::Anonymous) })
    }
}

// ---- Engine.IO: every message comes back ----

struct Echo;

impl Application for Echo {
    fn open(&self, arrival: Arrival) -> Opened {
        Opened { conversation: Arc::new(EchoTo(arrival.client)), first: Flow::Continue }
    }
}

struct EchoTo(Client);

impl Conversation for EchoTo {
    fn message(&self, message: Frame) -> Flow {
        let echo = match message {
            Frame::Text(text) => Frame::message(text.as_str()),
            binary @ Frame::Binary(_) => binary,
        };
        self.0.send(&[echo]);
        Flow::Continue
    }

    fn closed(&self) {}
}

// ---- Socket.IO: `auth` on connect, `message` → `message-back`, `message-with-ack` → its acknowledgement ----

fn namespaces(arguments: &Arguments) -> Arc<dyn Application> {
    let limits =
        Limits { packet_bytes: PAYLOAD_BYTES, attachment_bytes: 8 * PAYLOAD_BYTES, ..Limits::default() };
    let settings = Settings {
        limits,
        connect_within_s: ticks(arguments.connect_timeout),
        events_per_s: 100_000,
        ..Settings::default()
    };
    SocketIo::new(settings, Arc::new(Anybody))
        .with("/", Arc::new(EchoNamespace))
        .with("/custom", Arc::new(EchoNamespace))
        .serve()
}

struct EchoNamespace;

impl Namespace for EchoNamespace {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        let admission = Admission { principal: request.principal, ..Admission::default() };
        Box::pin(async move { Ok(admission) })
    }

    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let auth = welcome.auth.as_ref().map_or("{}", |auth| auth.as_str());
            let _ = socket.emit("auth", auth);
        })
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        Box::pin(async move {
            let (arguments, attachments) = (incoming.arguments(), incoming.attachments().to_vec());
            match &*incoming.event().name {
                "message" => {
                    let _ = socket.emit_with("message-back", &arguments, attachments);
                    None
                }
                "message-with-ack" => Some(Reply { arguments, attachments }),
                _ => None,
            }
        })
    }
}
