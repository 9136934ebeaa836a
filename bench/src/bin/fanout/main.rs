//! The smallest server on the hub and the gateways of Relais: every client that connects hears one channel, and
//! whatever one says goes to all, by Socket.IO at `/socket.io/` and as plain WebSocket texts at `/ws`. Events have
//! their place in a log in memory, so that clients can recover.

#![expect(clippy::disallowed_methods, reason = "its tasks end with the process")]

mod plain;
mod room;
mod socketio;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Parser;
use relais::config::ServerConfig;
use relais::said::FrenchAddresses;
use relais::web::{Server, listen};

use room::Room;

/// As the server itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever one client says goes to all.
#[derive(Parser)]
#[command(name = "relais-fanout")]
struct Arguments {
    /// Where to listen.
    #[arg(value_name = "ADDR:PORT")]
    address: SocketAddr,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    // As the server itself does: a huge page is resident as a whole however little of it is used.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let room = Arc::new(Room::open());
    let routes: Router<()> = socketio::routes(&room).merge(plain::routes(&room));
    let config = ServerConfig { connections_max: 100_000, ..ServerConfig::default() };
    let address = Arguments::parse().address;
    let mut server = Server::start(listen(address)?, routes, &config, FrenchAddresses::default());
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    terminated.recv().await;
    tokio::join!(server.stop(), room.hub.drain(Duration::ZERO));
    Ok(())
}
