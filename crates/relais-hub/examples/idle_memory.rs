//! What an idle subscribed WebSocket costs: opens many on loopback and prints resident bytes per session.
//!
//! `cargo run --release -p relais-hub --example idle_memory [sessions]`. The clients are plain sockets in the
//! same process, whose memory is in the kernel only; a session includes its task and socket registration.

#![expect(clippy::disallowed_methods, reason = "its tasks end with the process")]

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use relais_hub::{
    CloseReason, Dialect, Flow, Hub, HubConfig, Identity, NobodyWatches, Receiver, Session, SessionSpec,
    StartPosition, Transport, run_socket,
};
use relais_protocol::event::{Channel, Cursor, Epoch, Event};
use relais_protocol::websocket::{Limits, Opcode, encode_frame, text_frame_with};
use relais_testkit::MemoryLog;
use tokio::net::TcpListener;

struct Plain;

impl Dialect for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        text_frame_with(out, |out| out.extend_from_slice(event.data.as_bytes()));
    }

    fn ping(&self) -> Bytes {
        let mut out = Vec::new();
        encode_frame(Opcode::Ping, b"", &mut out);
        out.into()
    }

    fn close(&self, _reason: &CloseReason) -> Bytes {
        Bytes::new()
    }
}

struct Silent;

impl Receiver for Silent {
    fn text(&mut self, _: &Arc<Session>, _: &str) -> Flow {
        Flow::Continue
    }
}

fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident: usize = pages.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(resident * rustix::param::page_size())
}

#[expect(clippy::print_stdout, reason = "the figure is what this program is for")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let sessions: usize = std::env::args().nth(1).map_or(Ok(9_000), |n| n.parse())?;
    let head = Cursor { epoch: Epoch(1), seq: 0 };
    let hub = Hub::start(HubConfig::default(), head, Arc::new(MemoryLog::default()), Arc::new(NobodyWatches));
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let address = listener.local_addr()?;
    let dialect: Arc<dyn Dialect> = Arc::new(Plain);
    let mut clients = Vec::with_capacity(sessions);
    let mut before = 0;
    // The first thousand pay for what all share: worker threads, scratch buffers, tables.
    for n in 0..sessions + 1000 {
        if n == 1000 {
            hub.settled().await;
            before = resident_bytes()?;
        }
        let client = std::net::TcpStream::connect(address)?;
        let (stream, _) = listener.accept().await?;
        clients.push(client);
        let session = hub.open(SessionSpec {
            identity: Identity { principal: format!("user:{n}").into(), anonymous: false, sign_in: None },
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            dialect: Arc::clone(&dialect),
            transport: Transport::socket(stream),
            identify_within_s: None,
        })?;
        let channel: Channel = "societe:*".parse()?;
        hub.subscribe(&session, channel, None, StartPosition::Now, |_| Bytes::new()).await?;
        tokio::spawn(run_socket(session, Bytes::new(), Silent, Limits::default()));
    }
    hub.settled().await;
    let each = resident_bytes()?.saturating_sub(before) / sessions;
    println!("{sessions} idle subscribed sessions: {each} resident bytes each");
    println!("size of Session {}, of its task's future {}", size_of::<Session>(), {
        size_of::<relais_hub::SocketRun<Silent>>()
    });
    Ok(())
}
