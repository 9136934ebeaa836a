//! Every wait for a client is bounded: idle connections, headers, bodies, responses that are not read, and input after
//! the last response. One mechanism for all routes, at the socket.
//!
//! A connection records what it is waiting for ([`activity::Activity`]); four times a second a sweep checks all of them
//! and closes those that have timed out. The limits on connections, in total and per address, are enforced here too.
//! When places are short, those that have been silent longest are closed.

mod activity;
mod bodies;
mod guests;
mod stream;
mod table;

use relais_protocol::time::{Clock as _, SystemClock};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use relais_protocol::network::ClientNetwork;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tower::ServiceExt as _;

use self::activity::{Order, Overdue};
use self::bodies::{AnswerBody, RequestBody};
use self::table::{Table, TooMany};
use super::origins::Secure;
use super::proxies::{client_address, is_proxy};
use super::refusal;
use crate::config::{Network, ServerConfig};
use crate::error::in_language;
use crate::memory::{self, Crowd};
use crate::said::FrenchAddresses;
use crate::tasks::spawn;

pub(crate) use self::activity::Activity;
pub(crate) use self::guests::{Guest, Unnamed};
pub(crate) use self::stream::ClientStream;
pub(crate) use self::table::{ClientPlace, Place};

/// Interval of the sweep.
const SWEEP: Duration = Duration::from_millis(250);
/// A sweep later than this was held up.
const LATE_MAX_MS: u64 = 250;
/// Connections accepted beyond the limit, for a short response to clients without a place: health, or the reason.
const SPARE: usize = 64;
/// Bytes of a body that are not counted, so that signing in works even when larger bodies have used up the memory.
const FREE_BODY_BYTES: usize = 16 * 1024;
/// How long a request beyond the limit waits for a place.
const PLACE_WAIT: Duration = Duration::from_secs(3);
/// Maximum number of requests waiting for a place: they occupy spare connections, which immediate responses need.
const WAITING_MAX: usize = SPARE / 4;
/// Served regardless of the number of connections.
const ALWAYS_ANSWERED: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/api/auth/login", "/api/connexion"];

/// Limits of connections.
struct Limits {
    head_ms: u64,
    stall_ms: u64,
    /// Bytes that must move within `stall_ms` of waiting.
    least_bytes: u64,
    connections_max: usize,
    per_address_max: usize,
    unlimited: Vec<Network>,
    proxies: Vec<Network>,
    body_bytes_max: usize,
}

impl Limits {
    fn new(config: &ServerConfig, connections_max: usize) -> Self {
        let stall_s = config.body_stall_timeout_s.max(1);
        Self {
            // A phase is recorded as started at the sweep before it.
            head_ms: config.header_timeout_s.max(1) * 1000 + SWEEP.as_millis() as u64,
            stall_ms: stall_s * 1000,
            least_bytes: config.transfer_rate_min.saturating_mul(stall_s).max(1),
            connections_max,
            per_address_max: config.connections_per_address_max,
            unlimited: config.connections_unlimited_from.clone(),
            proxies: config.trusted_proxies.clone(),
            body_bytes_max: usize::try_from(config.body_memory_bytes).unwrap_or(usize::MAX),
        }
    }

    /// The maximum number of connections of a client; `None` if unlimited.
    fn max_of(&self, client: IpAddr) -> Option<usize> {
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(client));
        let is_free = self.per_address_max == 0 || is_in(&self.unlimited) || is_in(&self.proxies);
        (!is_free).then_some(self.per_address_max)
    }
}

struct Shared {
    limits: Limits,
    french: FrenchAddresses,
    started: Instant,
    swept_ms: AtomicU64,
    /// How long this process itself was held up: stopped, suspended, or short of CPU.
    held_up_ms: AtomicU64,
    table: Mutex<Table>,
    /// Open sockets, of any protocol.
    open: AtomicUsize,
    /// Those of them that hold a place.
    served: AtomicUsize,
    body_bytes: AtomicUsize,
    /// Notified when a place becomes free.
    freed: Notify,
    /// Requests waiting for a place.
    waiting: AtomicUsize,
    /// The number of the next place.
    next_place: AtomicU64,
    /// When room was last made.
    room_made_ms: AtomicU64,
    crowd: Mutex<Crowd>,
    /// Connections closed or rejected, by reason.
    ended: Mutex<BTreeMap<&'static str, u64>>,
}

impl Shared {
    fn new(limits: Limits, french: FrenchAddresses) -> Self {
        Self {
            limits,
            french,
            started: SystemClock.instant(),
            swept_ms: AtomicU64::new(1),
            held_up_ms: AtomicU64::new(0),
            table: Mutex::default(),
            open: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            body_bytes: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
            next_place: AtomicU64::new(0),
            room_made_ms: AtomicU64::new(0),
            crowd: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    /// The time of the last sweep.
    fn swept_ms(&self) -> u64 {
        self.swept_ms.load(Relaxed)
    }

    /// Time during which clients could be served. Never 0, which means "not waiting".
    fn now_ms(&self) -> u64 {
        let running_ms =
            u64::try_from((SystemClock.instant() - self.started).as_millis()).unwrap_or(u64::MAX);
        running_ms.saturating_sub(self.held_up_ms.load(Relaxed)).saturating_add(1)
    }

    /// The time of a sweep. If it is late, the server did not read from its clients meanwhile: that delay is not
    /// counted against them.
    fn sweep_time_ms(&self) -> u64 {
        let (now_ms, due_ms) = (self.now_ms(), self.swept_ms() + SWEEP.as_millis() as u64);
        let late_ms = now_ms.saturating_sub(due_ms);
        if late_ms <= LATE_MAX_MS {
            return now_ms;
        }
        self.held_up_ms.fetch_add(late_ms, Relaxed);
        due_ms
    }

    /// Takes a place, if one is free.
    fn take_place(&self) -> bool {
        let max = self.limits.connections_max;
        self.served.fetch_update(Relaxed, Relaxed, |served| (served < max).then_some(served + 1)).is_ok()
    }

    fn closed(&self, was_served: bool) {
        self.open.fetch_sub(1, Relaxed);
        if was_served {
            self.served.fetch_sub(1, Relaxed);
        }
        self.freed.notify_waiters();
    }

    fn ended(&self, why: &'static str) {
        self.count(why, 1);
    }

    /// The metric is per process, the sum per server.
    fn count(&self, why: &'static str, connections: usize) {
        if connections > 0 {
            *self.ended.lock().entry(why).or_default() += connections as u64;
            metrics::counter!("relais_http_ended_total", "why" => why).increment(connections as u64);
        }
    }

    /// Reserves memory for this many bytes of a body.
    fn charge(&self, bytes: usize) -> bool {
        let before = self.body_bytes.fetch_add(bytes, Relaxed);
        let fits = before + bytes <= self.limits.body_bytes_max;
        if !fits {
            self.body_bytes.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    fn discharge(&self, bytes: usize) {
        if bytes > 0 {
            self.body_bytes.fetch_sub(bytes, Relaxed);
        }
    }

    fn sweep(&self) {
        let now_ms = self.sweep_time_ms();
        self.swept_ms.store(now_ms, Relaxed);
        let mut table = self.table.lock();
        table.forget_known();
        for activity in table.http() {
            let why = match activity.overdue(now_ms) {
                None => continue,
                Some(Overdue::Body) => {
                    activity.stop_body();
                    self.ended("body");
                    continue;
                }
                Some(Overdue::Idle) => None,
                Some(Overdue::Head) => Some("head"),
                Some(Overdue::Answer) => Some("answer"),
                Some(Overdue::Unread) => Some("unread"),
            };
            if !activity.must_leave() {
                activity.order(Order::Leave);
                why.into_iter().for_each(|why| self.ended(why));
            }
        }
        self.make_room(&table, now_ms);
        drop(table);
        let open = self.open.load(Relaxed);
        if self.crowd.lock().has_left(open) {
            memory::give_back();
        }
        metrics::gauge!("relais_http_connections").set(open as f64);
        metrics::gauge!("relais_http_body_bytes").set(self.body_bytes.load(Relaxed) as f64);
    }

    /// Keeps some places free for new connections; half of them when there is not even room to reject a client
    /// properly.
    fn make_room(&self, table: &Table, now_ms: u64) {
        let (max, open) = (self.limits.connections_max, self.open.load(Relaxed));
        let pressing = open >= max + SPARE;
        let free = if pressing { max / 2 } else { (max / 16).min(1024) }.max(1);
        let surplus = (open + free).saturating_sub(max);
        if surplus > 0 {
            self.count("places", table.make_room(surplus, pressing, now_ms));
        }
    }
}

async fn sweep(shared: Weak<Shared>) {
    let mut looks = tokio::time::interval(SWEEP);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        shared.sweep();
    }
}

/// The connections of a server.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

/// An accepted socket that may speak HTTP.
pub(super) struct Admitted {
    pub(super) stream: ClientStream,
    pub(super) activity: Arc<Activity>,
}

impl Connections {
    /// Starts empty, with a sweep over its connections.
    pub(super) fn new(config: &ServerConfig, connections_max: usize, french: FrenchAddresses) -> Self {
        let shared = Arc::new(Shared::new(Limits::new(config, connections_max.max(1)), french));
        spawn("connections", sweep(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// Waits until another connection can be accepted, if only to reject it.
    pub(super) async fn room(&self) {
        let bound = self.0.limits.connections_max + SPARE;
        self.until(|| self.0.open.load(Relaxed) < bound).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if is_so() {
                return;
            }
            freed.await;
        }
    }

    /// Admits a socket.
    ///
    /// # Errors
    /// The socket, if its address has too many connections.
    pub(super) fn admit(&self, stream: TcpStream, peer: SocketAddr) -> Result<Admitted, TcpStream> {
        let (shared, now_ms) = (&self.0, self.0.swept_ms());
        let network = ClientNetwork::from(peer.ip());
        let activity = Arc::new(Activity::new(shared));
        let max = shared.limits.max_of(peer.ip()).unwrap_or(usize::MAX);
        match shared.table.lock().add(network, Arc::clone(&activity), max, now_ms) {
            Ok(ended) => shared.count("places", ended),
            Err(TooMany) => {
                shared.count("address", 1);
                return Err(stream);
            }
        }
        shared.open.fetch_add(1, Relaxed);
        // Searching for silent ones is slow when there are many: not for each new connection.
        if !activity.take_place() && shared.room_made_ms.swap(now_ms, Relaxed) != now_ms {
            shared.make_room(&shared.table.lock(), now_ms);
        }
        let place = Place::new(shared, network, Arc::clone(&activity));
        let patience = Duration::from_millis(shared.limits.stall_ms);
        Ok(Admitted { stream: ClientStream::new(stream, place, patience), activity })
    }

    /// Asks every connection to close after its current request.
    pub(super) fn finish(&self) {
        self.0.table.lock().http().for_each(|activity| activity.order(Order::Finish));
    }

    /// Serves one request.
    pub(super) async fn serve(
        self,
        router: Router,
        request: hyper::Request<Incoming>,
        peer: SocketAddr,
        activity: Arc<Activity>,
    ) -> Response<AnswerBody> {
        let language = self.0.french.language_of(request.uri().path());
        activity.begin(language);
        let client = client_address(peer, request.headers(), &self.0.limits.proxies);
        let secure = Secure::of(request.headers(), is_proxy(peer.ip(), &self.0.limits.proxies));
        let mut request: Request = request.map(|body| RequestBody::around(body, &activity));
        let answered = |response: Response, place| {
            activity.answered();
            in_language(response, language).map(|body| AnswerBody::new(body, Arc::clone(&activity), place))
        };
        let is_spare = !activity.holds_place() && !ALWAYS_ANSWERED.contains(&request.uri().path());
        if is_spare && !self.wait_for_place(&activity).await {
            self.0.ended("full");
            return answered(refusal::server_full().into_response(), None);
        }
        let place = if client.ip() == peer.ip() { Ok(None) } else { ClientPlace::take(&self.0, client.ip()) };
        let Ok(place) = place else {
            self.0.ended("address");
            return answered(
                refusal::too_many_from_address(self.0.limits.per_address_max).into_response(),
                None,
            );
        };
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(client));
        extensions.insert(secure);
        extensions.insert(Arc::clone(&activity));
        if let Some(place) = &place {
            extensions.insert(Arc::clone(place));
        }
        let Ok(mut response) = router.oneshot(request).await;
        if activity.has_unread() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Announced, so that the client does not send its next request into a closing connection (RFC 9112, 9.6).
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answered(response, place)
    }

    /// Waits briefly for a place within the limit, unless too many are waiting already.
    async fn wait_for_place(&self, activity: &Activity) -> bool {
        if activity.take_place() {
            return true;
        }
        let Some(_waiting) = Waiting::begin(&self.0) else { return false };
        tokio::time::timeout(PLACE_WAIT, self.until(|| activity.take_place())).await.is_ok()
    }

    /// How many were closed or rejected for this reason, as in `relais_http_ended_total`.
    pub(super) fn ended(&self, why: &str) -> u64 {
        self.0.ended.lock().get(why).copied().unwrap_or(0)
    }

    pub(super) fn per_address_max(&self) -> usize {
        self.0.limits.per_address_max
    }
}

/// A request waiting for a place; the wait ends on drop.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    /// `None` if the maximum number is waiting.
    fn begin(shared: &'a Shared) -> Option<Self> {
        let one_more = |waiting| (waiting < WAITING_MAX).then_some(waiting + 1);
        shared.waiting.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Self(shared))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// What an order means for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    GoOn,
    Finish,
    Leave,
}

impl Activity {
    /// What the task has to do; it is woken when that changes.
    pub(super) fn course(&self, cx: &std::task::Context<'_>) -> Course {
        self.task.register(cx.waker());
        match self.ordered() {
            Order::None => Course::GoOn,
            Order::Finish => Course::Finish,
            Order::Leave | Order::MakeRoom => Course::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_the_server_was_held_up_is_not_the_clients() {
        let mut shared = Shared::new(Limits::new(&ServerConfig::default(), 10), FrenchAddresses::default());
        // As if the last sweep had been a minute ago.
        shared.started -= Duration::from_secs(60);
        shared.sweep();
        assert_eq!(shared.swept_ms(), 1 + SWEEP.as_millis() as u64);
        assert!((59_000..61_000).contains(&shared.held_up_ms.load(Relaxed)));
        assert!(shared.now_ms() < 2_000, "time goes on from there");
    }
}
