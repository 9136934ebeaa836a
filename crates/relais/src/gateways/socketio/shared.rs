//! The namespaces of a server, as dialects declare them, and how several features share one.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use relais_protocol::event::Event;

use super::{Admission, ConnectRequest, Incoming, Namespace, Refused, Reply, Socket, Welcome};

/// Handles some of the events that clients send in a namespace of another feature, the host, which accepts the clients
/// and delivers events to them.
pub trait Guest: Send + Sync + 'static {
    /// Whether it handles events of this name.
    fn knows(&self, name: &str) -> bool;

    /// Like [`Namespace::event`].
    fn event(
        &self,
        host: Arc<dyn Namespace>,
        socket: Socket,
        incoming: Incoming,
    ) -> BoxFuture<'static, Option<Reply>>;

    /// Like [`Namespace::disconnected`].
    fn disconnected(&self, socket: &Socket) {
        let _ = socket;
    }
}

/// The declared namespaces.
#[derive(Default)]
pub struct Namespaces {
    hosts: Vec<(&'static str, Arc<dyn Namespace>)>,
    guests: Vec<(&'static str, Arc<dyn Guest>)>,
}

impl Namespaces {
    /// Adds a namespace.
    pub fn add(&mut self, name: &'static str, host: Arc<dyn Namespace>) {
        self.hosts.push((name, host));
    }

    /// Adds a guest to a namespace, which may be declared before or after.
    pub fn join(&mut self, name: &'static str, guest: Arc<dyn Guest>) {
        self.guests.push((name, guest));
    }

    /// All namespaces, each with its guests.
    pub(super) fn into_all(self) -> impl Iterator<Item = (&'static str, Arc<dyn Namespace>)> {
        let Self { hosts, guests } = self;
        hosts.into_iter().map(move |(name, host)| {
            let here = guests.iter().filter(|(of, _)| *of == name).map(|(_, guest)| Arc::clone(guest));
            let guests: Vec<_> = here.collect();
            (name, if guests.is_empty() { host } else { Arc::new(Shared { host, guests }) })
        })
    }
}

/// A namespace with guests.
struct Shared {
    host: Arc<dyn Namespace>,
    guests: Vec<Arc<dyn Guest>>,
}

impl Namespace for Shared {
    fn connect(&self, request: ConnectRequest) -> BoxFuture<'static, Result<Admission, Refused>> {
        self.host.connect(request)
    }

    fn connected(&self, socket: Socket, welcome: Welcome) -> BoxFuture<'static, ()> {
        self.host.connected(socket, welcome)
    }

    fn event(&self, socket: Socket, incoming: Incoming) -> BoxFuture<'static, Option<Reply>> {
        let known = {
            let event = incoming.event();
            self.guests.iter().find(|guest| guest.knows(&event.name))
        };
        match known {
            Some(guest) => guest.event(Arc::clone(&self.host), socket, incoming),
            None => self.host.event(socket, incoming),
        }
    }

    fn identify(&self, socket: Socket, token: String) -> BoxFuture<'static, Result<(), crate::AppError>> {
        self.host.identify(socket, token)
    }

    fn disconnected(&self, socket: &Socket) {
        self.guests.iter().for_each(|guest| guest.disconnected(socket));
        self.host.disconnected(socket);
    }

    fn frame<'a>(&self, event: &'a Event) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        self.host.frame(event)
    }

    fn former_name(&self, event: &Event) -> Option<&'static str> {
        self.host.former_name(event)
    }
}
