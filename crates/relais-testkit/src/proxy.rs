//! A proxy between a client and a server that injects network faults: cut, stalled or slow connections, or a break at
//! given words.

use relais_protocol::time::{Clock as _, SystemClock};
use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The most bytes forwarded at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Chunks per second of a throttled connection.
const PIECES_PER_S: u32 = 50;
/// How long a test waits for something to happen on a connection.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a connection breaks once the client has sent certain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Before the last word, which does not reach the server.
    Before,
    /// After the last word, which reaches the server; its response does not reach the client.
    After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Forwards everything.
    Open,
    /// Forwards nothing, neither bytes nor closes; neither side is notified.
    Held,
    /// Refuses connections, like a server that is down.
    Refusing,
}

/// The two sides of one connection; the server's is set once the client is connected to it.
struct Ends {
    client: TcpStream,
    server: Option<TcpStream>,
}

/// Words, in sequence, at which the connection that carries them breaks.
struct Trap {
    words: Vec<Vec<u8>>,
    place: Break,
    /// Its number among all traps.
    number: u64,
}

/// How many of a trap's words a connection has carried.
#[derive(Default)]
struct Said {
    trap: u64,
    words: usize,
}

struct State {
    gate: Gate,
    delay: Duration,
    bytes_per_s: Option<u32>,
    trap: Option<Trap>,
    /// How many traps have been set.
    traps: u64,
    /// How often a connection broke at a trap.
    broken: u64,
    /// How many connections have been accepted.
    accepted: u64,
    connections: HashMap<u64, Ends>,
    has_ended: bool,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// Forwards what clients and a server send each other, with the faults that the test injects. Clients connect to
/// [`Proxy::address`].
///
/// It runs in its own threads, so that tests with and without a runtime can use it. A fault takes effect for every
/// connection at once, including those already open.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to a server, without faults at first.
    ///
    /// # Panics
    /// If the system assigns no port.
    #[must_use]
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("a port has an address");
        let state = State {
            gate: Gate::Open,
            delay: Duration::ZERO,
            bytes_per_s: None,
            trap: None,
            traps: 0,
            broken: 0,
            accepted: 0,
            connections: HashMap::new(),
            has_ended: false,
        };
        let shared = Arc::new(Shared { server, state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        let acceptor = Some(start("proxy", move || accepting.accept(&listener)));
        Self { address, shared, acceptor }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection. New ones are accepted.
    pub fn cut(&self) {
        self.shared.change(State::cut);
    }

    /// Closes every connection, and every new one at once, until [`Proxy::restore`].
    pub fn refuse(&self) {
        self.shared.change(|state| {
            state.gate = Gate::Refusing;
            state.cut();
        });
    }

    /// Forwards nothing, in either direction, until [`Proxy::restore`], like a pulled cable. Neither side is notified;
    /// new connections are accepted and receive nothing.
    pub fn hold(&self) {
        self.shared.change(|state| state.gate = Gate::Held);
    }

    /// Ends [`Proxy::hold`] and [`Proxy::refuse`]. What was held is forwarded, including closes.
    pub fn restore(&self) {
        self.shared.change(|state| state.gate = Gate::Open);
    }

    /// Adds this latency, at least, to everything forwarded from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.change(|state| state.delay = delay);
    }

    /// Limits each direction to this many bytes per second from now on.
    pub fn throttle(&self, bytes_per_s: Option<u32>) {
        self.shared.change(|state| state.bytes_per_s = bytes_per_s);
    }

    /// The first connection on which the client sends these words, in sequence and each within one chunk, breaks at the
    /// last of them. Other connections continue, and so does everything after it.
    pub fn break_at(&self, words: &[&str], place: Break) {
        let words = words.iter().map(|word| word.as_bytes().to_owned()).collect();
        self.shared.change(|state| {
            state.traps += 1;
            state.trap = Some(Trap { words, place, number: state.traps });
        });
    }

    /// Waits until a connection has broken for each [`Proxy::break_at`] so far.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn wait_broken(&self) {
        self.shared.wait("no connection broke", |state| state.broken >= state.traps);
    }

    /// How many connections have been accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.state.lock().accepted
    }

    /// Waits until this many connections have been accepted.
    ///
    /// # Panics
    /// If it takes too long.
    pub fn wait_accepted(&self, count: u64) {
        self.shared.wait("nobody connects", |state| state.accepted >= count);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.has_ended = true;
            state.cut();
        });
        // Wakes the acceptor.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn cut(&mut self) {
        for (_, Ends { client, server }) in self.connections.drain() {
            // An already closed connection is fine.
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.map(|server| server.shutdown(Shutdown::Both));
        }
    }

    fn time_of(&self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.delay
            + self.bytes_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * bytes / rate.max(1))
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| !is_so(state), PATIENCE);
        assert!(!waited.timed_out(), "{what}");
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            let mut state = self.state.lock();
            if state.has_ended {
                return;
            }
            if state.gate == Gate::Refusing {
                continue;
            }
            state.accepted += 1;
            let (id, kept) = (state.accepted, client.try_clone().expect("a second handle"));
            state.connections.insert(id, Ends { client: kept, server: None });
            drop(state);
            self.changed.notify_all();
            let shared = Arc::clone(&self);
            start("proxy-connection", move || shared.carry(id, &client));
        }
    }

    /// Serves one connection from start to end.
    fn carry(&self, id: u64, client: &TcpStream) {
        if let Some(server) = self.reach(id) {
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            std::thread::scope(|scope| {
                scope.spawn(|| self.pass(id, client, &server, true));
                self.pass(id, &server, client, false);
            });
        }
        self.change(|state| drop(state.connections.remove(&id)));
    }

    /// Connects to the server, once the proxy lets the client through.
    fn reach(&self, id: u64) -> Option<TcpStream> {
        if !self.admit(id, 0) {
            return None;
        }
        let server = TcpStream::connect(self.server).ok()?;
        let kept = server.try_clone().ok()?;
        let mut state = self.state.lock();
        state.connections.get_mut(&id)?.server = Some(kept);
        Some(server)
    }

    /// Forwards one direction until it is closed, and forwards the close.
    fn pass(&self, id: u64, mut from: &TcpStream, mut to: &TcpStream, is_client: bool) {
        let (mut buffer, mut said) = (vec![0; PIECE_BYTES], Said::default());
        loop {
            let rate = self.state.lock().bytes_per_s;
            let room = rate.map_or(PIECE_BYTES, |rate| (rate / PIECES_PER_S).max(1) as usize);
            let count = from.read(&mut buffer[..room.min(PIECE_BYTES)]).unwrap_or(0);
            let piece = &buffer[..count];
            if !self.admit(id, count) {
                return;
            }
            let breaks = if is_client { self.take_trap(piece, &mut said) } else { None };
            if breaks.is_some() {
                // Before the server receives it, so that no response can be faster.
                let _ = from.shutdown(Shutdown::Both);
            }
            let passed = breaks == Some(Break::Before) || to.write_all(piece).is_ok();
            if let Some(place) = breaks {
                // The server still processes what reached it; nothing comes back.
                let _ = to.shutdown(if place == Break::After { Shutdown::Write } else { Shutdown::Both });
                self.change(|state| state.broken += 1);
            }
            // If the client is gone, the server's side is still read to its end: the server completes what it has
            // received.
            if count == 0 || (is_client && !passed) || breaks.is_some() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// Waits until bytes or a close may be forwarded; false if the connection was cut meanwhile.
    fn admit(&self, id: u64, bytes: usize) -> bool {
        let came = SystemClock.instant();
        let mut state = self.state.lock();
        loop {
            if !state.connections.contains_key(&id) {
                return false;
            }
            let due = came + state.time_of(bytes);
            if state.gate == Gate::Held {
                self.changed.wait(&mut state);
            } else if due <= SystemClock.instant() {
                return true;
            } else {
                self.changed.wait_until(&mut state, due);
            }
        }
    }

    /// Whether the connection breaks at what the client sends, and where.
    fn take_trap(&self, mut piece: &[u8], said: &mut Said) -> Option<Break> {
        let mut state = self.state.lock();
        let trap = state.trap.as_ref()?;
        if said.trap != trap.number {
            *said = Said { trap: trap.number, words: 0 };
        }
        while let Some(word) = trap.words.get(said.words) {
            let at = piece.windows(word.len().max(1)).position(|part| part == word.as_slice())?;
            piece = &piece[at + word.len()..];
            said.words += 1;
        }
        state.trap.take().map(|trap| trap.place)
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system gives a thread")
}
