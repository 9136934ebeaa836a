//! socketioxide as its guide shows it: whatever one client says goes to all.

use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{Data, SocketRef};

/// The allocator of Relais, so that it makes no difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: fanout-socketioxide ADDR:PORT")?;
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("message", async |io: SocketIo, Data::<Value>(message)| {
            let _ = io.emit("message", &message).await;
        });
    });
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, axum::Router::new().layer(layer)).await?;
    Ok(())
}
