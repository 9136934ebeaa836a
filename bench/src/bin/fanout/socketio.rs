//! Socket.IO: the event `message`, on the gateway of Relais.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use relais::AppError;
use relais::auth::Principal;
use relais::gateways::engineio::{Callers, Endpoint, Settings as EngineSettings};
use relais::gateways::socketio::{
    Admission, ConnectRequest, Incoming, Namespace, Refused, Reply, Settings, Socket, SocketIo,
};
use relais_protocol::engineio::PayloadLimits;
use relais_protocol::event::Event;

use crate::room::Room;

pub(crate) fn routes(room: &Arc<Room>) -> Router<()> {
    let engine = EngineSettings {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        upgrade_timeout: Duration::from_secs(10),
        payload: PayloadLimits::default(),
        allow_v3: false,
        deflate: false,
    };
    let settings = Settings { events_per_s: 1_000_000, ..Settings::default() };
    let served =
        SocketIo::new(settings, Arc::new(Anybody)).with("/", Arc::new(All(Arc::clone(room)))).serve();
    Endpoint::new(room.hub.clone(), engine, Arc::new(Anybody), served).router("/socket.io/")
}

/// Any client from any origin.
struct Anybody;

impl Callers for Anybody {
    fn caller<'a>(&'a self, _: &'a Parts) -> BoxFuture<'a, Result<Principal, AppError>> {
        Box::pin(async { Ok(Principal::Anonymous) })
    }
}

/// The namespace in which everybody hears everybody.
struct All(Arc<Room>);

impl Namespace for All {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        let channels = vec![self.0.subscription()];
        let admission =
            Admission { principal: request.principal, channels, since: None, identify_within_s: None };
        Box::pin(std::future::ready(Ok(admission)))
    }

    fn event(&self, _: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        if incoming.event().name == "message" {
            self.0.say(&incoming.arguments());
        }
        Box::pin(std::future::ready(None))
    }

    fn frame<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        Some((Cow::Borrowed(&*event.name), Cow::Borrowed(&*event.data)))
    }
}
