//! Connections that later requests may refer to by id.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relais_protocol::engineio::Version;
use relais_protocol::time::SharedClock;

use super::connection::Connection;
use super::farewell::Farewell;

/// How often connections that the hub has ended are removed.
const SWEEP: Duration = Duration::from_millis(500);
/// How long a GET may be in transit when the POST beside it has closed the session.
const LAST_GET: Duration = Duration::from_secs(5);
/// Sessions for which such a GET may still arrive.
const LAST_GETS_MAX: usize = 1_000;
/// How long requests of an ended session get the reason. A client that comes later reconnects all the same.
const FAREWELL: Duration = Duration::from_secs(60);
/// Ended sessions whose reason is kept.
const FAREWELLS_MAX: usize = 1_000;

/// Connections that began with polling. One that began with a WebSocket has no later requests.
#[derive(Default)]
pub(super) struct Registry {
    connections: Mutex<HashMap<Arc<str>, Arc<Connection>>>,
    last_gets: Mutex<VecDeque<LastGet>>,
    farewells: Mutex<VecDeque<Ended>>,
}

/// A session that ended for a reason.
struct Ended {
    until: Instant,
    sid: Arc<str>,
    farewell: Farewell,
}

/// A session that its client closed while no GET of it was pending.
struct LastGet {
    until: Instant,
    sid: Arc<str>,
    version: Version,
}

impl Registry {
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        self.connections.lock().insert(Arc::clone(connection.sid()), Arc::clone(connection));
    }

    pub(super) fn find(&self, sid: &str) -> Option<Arc<Connection>> {
        self.connections.lock().get(sid).cloned()
    }

    pub(super) fn remove(&self, sid: &str) {
        self.connections.lock().remove(sid);
    }

    /// The client closed; a GET sent before may arrive after.
    pub(super) fn expect_last_get(&self, connection: &Connection) {
        let mut expected = self.last_gets.lock();
        if expected.len() >= LAST_GETS_MAX {
            expected.pop_front();
        }
        let (sid, version) = (Arc::clone(connection.sid()), connection.client.version());
        expected.push_back(LastGet { until: connection.client.instant() + LAST_GET, sid, version });
    }

    /// The version of a session whose last GET this is.
    pub(super) fn take_last_get(&self, sid: &str, now: Instant) -> Option<Version> {
        let mut expected = self.last_gets.lock();
        let place = expected.iter().position(|last| &*last.sid == sid)?;
        expected.remove(place).filter(|last| now < last.until).map(|last| last.version)
    }

    /// Later requests of this session are told why it ended.
    pub(super) fn note_end(&self, sid: &Arc<str>, farewell: Farewell, now: Instant) {
        let mut ended = self.farewells.lock();
        if ended.len() >= FAREWELLS_MAX {
            ended.pop_front();
        }
        ended.push_back(Ended { until: now + FAREWELL, sid: Arc::clone(sid), farewell });
    }

    /// Why a session ended, if that is known.
    pub(super) fn farewell(&self, sid: &str) -> Option<Farewell> {
        let ended = self.farewells.lock();
        ended.iter().find(|ended| &*ended.sid == sid).map(|ended| ended.farewell.clone())
    }

    fn ended(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().values().filter(|connection| connection.is_ended()).cloned().collect()
    }

    fn forget_late(&self, now: Instant) {
        self.last_gets.lock().retain(|last| now < last.until);
        self.farewells.lock().retain(|ended| now < ended.until);
    }
}

/// Lets go of what the hub has ended while no request was there to see it, as long as the registry lives.
pub(super) async fn sweep(registry: Weak<Registry>, clock: SharedClock) {
    let mut times = tokio::time::interval(SWEEP);
    loop {
        times.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        registry.forget_late(clock.instant());
        for connection in registry.ended() {
            connection.finish_unheard();
        }
    }
}
