//! Plain WebSocket: a text that one client sends is a text that all get.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use relais::AppError;
use relais::gateways::upgrade::{Handshake, Upgraded};
use relais_hub::{
    CloseReason, Dialect, Flow, Identity, Receiver, Session, SessionSpec, StartPosition, Subscription,
    Transport, run_socket,
};
use relais_protocol::event::Event;
use relais_protocol::websocket::{Limits, close_frame, text_frame_with};
use tokio::net::TcpStream;

use crate::room::Room;

pub(crate) fn routes(room: &Arc<Room>) -> Router<()> {
    let state = Plain { room: Arc::clone(room), dialect: Arc::new(Texts) };
    Router::new().route("/ws", get(open)).with_state(state)
}

#[derive(Clone)]
struct Plain {
    room: Arc<Room>,
    dialect: Arc<dyn Dialect>,
}

/// Each event is the text that was said.
struct Texts;

impl Dialect for Texts {
    fn name(&self) -> &'static str {
        "texts"
    }

    fn encode(&self, event: &Event, out: &mut Vec<u8>) {
        text_frame_with(out, |out| out.extend_from_slice(event.data.as_bytes()));
    }

    fn ping(&self) -> Bytes {
        Bytes::from_static(&[0x89, 0])
    }

    fn close(&self, reason: &CloseReason) -> Bytes {
        let mut out = Vec::new();
        close_frame(reason.code.number(), &reason.text, &mut out);
        out.into()
    }
}

/// What a client says goes to all.
struct Speaker(Arc<Room>);

impl Receiver for Speaker {
    fn text(&mut self, _: &Arc<Session>, text: &str) -> Flow {
        self.0.say(text);
        Flow::Continue
    }
}

async fn open(State(plain): State<Plain>, mut request: Request) -> Result<Response, AppError> {
    let handshake = Handshake::new(&mut request)?;
    let address = handshake.address.ip();
    let (response, stream) = handshake.accept();
    let entered = Box::pin(async move {
        let Upgraded { stream, leftover, .. } = stream.await?;
        let session = plain.enter(address, stream).await?;
        Some((session, leftover, Speaker(plain.room)))
    });
    tokio::spawn(async move {
        if let Some((session, leftover, speaker)) = entered.await {
            run_socket(session, leftover, speaker, Limits::default()).await;
        }
    });
    Ok(response)
}

impl Plain {
    async fn enter(&self, address: std::net::IpAddr, stream: TcpStream) -> Option<Arc<Session>> {
        let hub = &self.room.hub;
        let spec = SessionSpec {
            identity: Identity::anonymous(),
            address,
            dialect: Arc::clone(&self.dialect),
            transport: Transport::socket(stream),
            identify_within_s: None,
        };
        let session = hub.open(spec).ok()?;
        let Subscription { channel, filter } = self.room.subscription();
        hub.subscribe(&session, channel, filter, StartPosition::Now, |_| Bytes::new()).await.ok()?;
        Some(session)
    }
}
