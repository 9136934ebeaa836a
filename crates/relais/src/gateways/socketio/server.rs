//! The namespaces of an endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relais_protocol::engineio::Version;
use relais_protocol::socketio::{Config, Limits, Parser};

use super::conversation::Talk;
use super::dialect::Dialects;
use super::{Namespace, Namespaces};
use crate::config::Recovery;
use crate::gateways::engineio::{Application, Arrival, Callers, Opened};

/// Maximum number of dynamic namespaces joined since the start: the hub keeps their dialects for as long.
const DYNAMIC_MAX: usize = 1_000;

/// Later than any connection lasts.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The settings of a server.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The limits of one packet.
    pub limits: Limits,
    /// Seconds, as the hub measures them, within which a client must join its first namespace.
    pub connect_within_s: u32,
    /// Maximum number of namespaces of one connection.
    pub namespaces_max: usize,
    /// Messages per second and connection; bursts may be twice as large.
    pub events_per_s: u32,
    /// Maximum number of pending acknowledgements in each direction.
    pub acks_max: usize,
    /// How long an acknowledgement may take.
    pub ack_timeout: Duration,
    /// Which clients receive offsets.
    pub recovery: Recovery,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connect_within_s: 45,
            namespaces_max: 16,
            events_per_s: 200,
            acks_max: 1_000,
            ack_timeout: Duration::from_secs(30),
            recovery: Recovery::Asked,
        }
    }
}

/// A namespace with the dialects of its clients.
pub(super) struct Registered {
    pub(super) feature: Arc<dyn Namespace>,
    pub(super) dialects: Dialects,
}

/// The namespaces of an endpoint, and the settings for their clients.
pub struct SocketIo {
    pub(super) settings: Settings,
    rules: Vec<Arc<Config>>,
    pub(super) callers: Arc<dyn Callers>,
    namespaces: BTreeMap<&'static str, Arc<Registered>>,
    families: Vec<Family>,
    dynamic: Mutex<BTreeMap<String, Arc<Registered>>>,
}

/// Namespaces created on demand when a client joins them.
struct Family {
    is_member: fn(&str) -> bool,
    feature: Arc<dyn Namespace>,
}

impl SocketIo {
    /// A server without namespaces.
    #[must_use]
    pub fn new(settings: Settings, callers: Arc<dyn Callers>) -> Self {
        Self {
            rules: all_rules(&settings),
            settings,
            callers,
            namespaces: BTreeMap::new(),
            families: Vec::new(),
            dynamic: Mutex::default(),
        }
    }

    /// Adds a namespace. Its name starts with a slash.
    #[must_use]
    pub fn with(mut self, name: &'static str, feature: Arc<dyn Namespace>) -> Self {
        let dialects = Dialects::new(name, &feature);
        self.namespaces.insert(name, Arc::new(Registered { feature, dialects }));
        self
    }

    /// Adds namespaces, each with its guests.
    #[must_use]
    pub fn with_all(self, namespaces: Namespaces) -> Self {
        namespaces.into_all().fold(self, |server, (name, namespace)| server.with(name, namespace))
    }

    /// Adds all namespaces for which `is_member` returns true, such as `/project-7`. Events are encoded for each that
    /// is joined, so there are at most 1,000 of them; a further one is refused as unknown.
    #[must_use]
    pub fn with_family(mut self, is_member: fn(&str) -> bool, feature: Arc<dyn Namespace>) -> Self {
        self.families.push(Family { is_member, feature });
        self
    }

    pub(super) fn namespace(&self, name: &str) -> Option<Arc<Registered>> {
        self.namespaces.get(name).cloned().or_else(|| self.dynamic(name))
    }

    fn dynamic(&self, name: &str) -> Option<Arc<Registered>> {
        let family = self.families.iter().find(|family| (family.is_member)(name))?;
        let mut dynamic = self.dynamic.lock();
        if let Some(known) = dynamic.get(name) {
            return Some(Arc::clone(known));
        }
        if dynamic.len() >= DYNAMIC_MAX {
            tracing::warn!(name, "no more dynamic namespaces: {DYNAMIC_MAX} were joined since the start");
            return None;
        }
        let lasting: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let dialects = Dialects::new(lasting, &family.feature);
        let registered = Arc::new(Registered { feature: Arc::clone(&family.feature), dialects });
        dynamic.insert(name.to_owned(), Arc::clone(&registered));
        Some(registered)
    }

    /// The settings for clients of this kind.
    pub(super) fn rules(&self, version: Version, parser: Parser) -> Arc<Config> {
        let found = self.rules.iter().find(|rules| rules.version == version && rules.parser == parser);
        Arc::clone(found.expect("there are rules for every kind"))
    }
}

/// The settings for every kind of client, shared by its connections.
fn all_rules(settings: &Settings) -> Vec<Arc<Config>> {
    let Settings { limits, namespaces_max, ack_timeout, acks_max, .. } = *settings;
    let parsers = [Parser::Default, Parser::Msgpack];
    let kinds = parsers.into_iter().flat_map(|parser| [(parser, Version::V4), (parser, Version::V3)]);
    let rules = kinds.map(|(parser, version)| Config {
        parser,
        limits,
        namespaces: namespaces_max,
        ack_timeout,
        acks: acks_max,
        // The hub enforces this timeout.
        connect_timeout: NEVER,
        ..Config::new(version)
    });
    rules.map(Arc::new).collect()
}

/// The application served by an endpoint.
pub struct Served(pub(super) Arc<SocketIo>);

impl SocketIo {
    /// As an application that an endpoint can serve.
    #[must_use]
    pub fn serve(self) -> Arc<dyn Application> {
        Arc::new(Served(Arc::new(self)))
    }
}

impl Application for Served {
    fn open(&self, arrival: Arrival) -> Opened {
        Talk::open(&self.0, arrival)
    }

    fn identify_within_s(&self) -> Option<u32> {
        Some(self.0.settings.connect_within_s)
    }
}
