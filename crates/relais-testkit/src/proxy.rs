//! A wire between a client and a server, with the faults of real networks: it is cut, held, slow, or breaks at a word.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes that are passed on at once, at most.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces per second of a slow wire.
const PIECES_PER_S: u32 = 50;
/// How long a test waits for something to happen on a wire.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a wire breaks, once the client has said certain words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Before the last word, which does not reach the server.
    Before,
    /// After the last word, which reaches the server; its answer does not reach the client.
    After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// What comes is passed on.
    Open,
    /// Nothing gets through, neither bytes nor ends; nobody is told.
    Held,
    /// As a server that is down.
    Refusing,
}

/// The two ends of one connection; the server's is there once the client is connected to it.
struct Ends {
    client: TcpStream,
    server: Option<TcpStream>,
}

/// Words at which a connection breaks on which they are said, one after the other.
struct Trap {
    words: Vec<Vec<u8>>,
    place: Break,
    /// Which of all traps it is.
    number: u64,
}

/// How much of a trap's words a connection has carried.
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
    /// How many traps there have been.
    traps: u64,
    /// How often a connection broke at a trap.
    broken: u64,
    /// How many connections there have been.
    accepted: u64,
    connections: HashMap<u64, Ends>,
    has_ended: bool,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

/// Passes on what clients and a server tell each other, and does to it what the test says, while it runs. Clients connect
/// to [`Proxy::address`].
///
/// It works in threads of its own, so that tests with and without a runtime can use it. What it does takes effect for
/// every connection at once, those that are under way included.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A wire to a server, without a fault at first.
    ///
    /// # Panics
    /// If the system gives no port.
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
        let acceptor = Some(std::thread::spawn(move || accepting.accept(&listener)));
        Self { address, shared, acceptor }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection. New ones pass.
    pub fn cut(&self) {
        self.shared.change(State::cut);
    }

    /// Ends every connection, and every new one at once, until [`Proxy::restore`].
    pub fn refuse(&self) {
        self.shared.change(|state| {
            state.gate = Gate::Refusing;
            state.cut();
        });
    }

    /// Lets nothing through any more, in both directions, until [`Proxy::restore`]: a cable that was pulled. Neither side
    /// is told; new connections stand and get no answer.
    pub fn hold(&self) {
        self.shared.change(|state| state.gate = Gate::Held);
    }

    /// Ends [`Proxy::hold`] and [`Proxy::refuse`]. What was held goes on, the ends of connections included.
    pub fn restore(&self) {
        self.shared.change(|state| state.gate = Gate::Open);
    }

    /// What is passed on from here on comes later by at least so much.
    pub fn delay(&self, delay: Duration) {
        self.shared.change(|state| state.delay = delay);
    }

    /// Passes on no more than so many bytes per second and direction from here on.
    pub fn throttle(&self, bytes_per_s: Option<u32>) {
        self.shared.change(|state| state.bytes_per_s = bytes_per_s);
    }

    /// The first connection on which the client says these words, one after the other and each in one piece, breaks at
    /// the last of them. Others go on, and so does everything after it.
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
    /// If that takes too long.
    pub fn wait_broken(&self) {
        self.shared.wait("no connection broke", |state| state.broken >= state.traps);
    }

    /// How many connections there have been.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.state.lock().accepted
    }

    /// Waits until there have been so many connections.
    ///
    /// # Panics
    /// If that takes too long.
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
            // An end that is closed already is as it should be.
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
            std::thread::spawn(move || shared.carry(id, &client));
        }
    }

    /// One connection, from its beginning to its end.
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

    /// The server's end, once the wire lets the client through to it.
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

    /// Passes on one direction until its end, which is passed on too.
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
            let passed = breaks == Some(Break::Before) || to.write_all(piece).is_ok();
            if let Some(place) = breaks {
                // What reached the server is still worked on there; nothing comes back.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(if place == Break::After { Shutdown::Write } else { Shutdown::Both });
                self.change(|state| state.broken += 1);
            }
            if count == 0 || !passed || breaks.is_some() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }

    /// Waits until bytes may go on, or an end; false if the connection was cut meanwhile.
    fn admit(&self, id: u64, bytes: usize) -> bool {
        let came = Instant::now();
        let mut state = self.state.lock();
        loop {
            if !state.connections.contains_key(&id) {
                return false;
            }
            let due = came + state.time_of(bytes);
            if state.gate == Gate::Held {
                self.changed.wait(&mut state);
            } else if due <= Instant::now() {
                return true;
            } else {
                self.changed.wait_until(&mut state, due);
            }
        }
    }

    /// Whether the connection breaks at what the client says, and where.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says everything again, on each of its connections.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // Ends with the process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || std::io::copy(&mut &client, &mut &client));
            }
        });
        address
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn say(mut client: &TcpStream, text: &str) {
        client.write_all(text.as_bytes()).unwrap();
    }

    /// So many bytes, or fewer if the connection ends before.
    fn hear(mut client: &TcpStream, count: usize) -> String {
        let (mut heard, mut byte) = (Vec::new(), [0]);
        while heard.len() < count && client.read(&mut byte).is_ok_and(|read| read == 1) {
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }

    fn hears_nothing(client: &TcpStream, within: Duration) {
        client.set_read_timeout(Some(within)).unwrap();
        let nothing = { client }.read(&mut [0]).unwrap_err();
        assert!(matches!(nothing.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    #[test]
    fn what_is_said_comes_through_and_the_end_too() {
        let proxy = Proxy::to(echo());
        let client = connect(&proxy);
        say(&client, "hello");
        assert_eq!(hear(&client, 5), "hello");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(hear(&client, 1), "", "the server's end came back");
        assert_eq!(proxy.accepted(), 1);
    }

    #[test]
    fn a_cut_ends_what_stands_and_nothing_new() {
        let proxy = Proxy::to(echo());
        let client = connect(&proxy);
        say(&client, "a");
        assert_eq!(hear(&client, 1), "a");
        proxy.cut();
        assert_eq!(hear(&client, 1), "");
        let client = connect(&proxy);
        say(&client, "b");
        assert_eq!(hear(&client, 1), "b");
    }

    #[test]
    fn a_held_wire_tells_nobody_and_loses_nothing() {
        let proxy = Proxy::to(echo());
        let standing = connect(&proxy);
        say(&standing, "a");
        assert_eq!(hear(&standing, 1), "a");
        proxy.hold();
        let new = connect(&proxy);
        for client in [&standing, &new] {
            say(client, "b");
            hears_nothing(client, Duration::from_millis(50));
        }
        proxy.restore();
        for client in [&standing, &new] {
            assert_eq!(hear(client, 1), "b");
        }
        proxy.hold();
        proxy.cut();
        assert_eq!(hear(&standing, 1), "", "a cut is a cut");
    }

    #[test]
    fn a_server_that_is_down_ends_everything_until_it_is_up() {
        let proxy = Proxy::to(echo());
        let standing = connect(&proxy);
        proxy.wait_accepted(1);
        proxy.refuse();
        for client in [standing, connect(&proxy)] {
            assert_eq!(hear(&client, 1), "");
        }
        proxy.restore();
        let client = connect(&proxy);
        say(&client, "a");
        assert_eq!(hear(&client, 1), "a");
    }

    #[test]
    fn a_slow_wire_takes_its_time_and_can_be_cut_meanwhile() {
        let proxy = Proxy::to(echo());
        let client = connect(&proxy);
        proxy.delay(Duration::from_millis(20));
        let began = Instant::now();
        say(&client, "a");
        assert_eq!(hear(&client, 1), "a");
        assert!(began.elapsed() >= Duration::from_millis(40), "there and back");
        proxy.delay(Duration::ZERO);
        proxy.throttle(Some(10_000));
        let began = Instant::now();
        say(&client, &"x".repeat(1_000));
        assert_eq!(hear(&client, 1_000).len(), 1_000);
        assert!(began.elapsed() >= Duration::from_millis(100));
        proxy.delay(PATIENCE);
        say(&client, "never");
        proxy.cut();
        assert_eq!(hear(&client, 1), "");
    }

    #[test]
    fn a_wire_breaks_once_before_or_after_a_word() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, noted) = (listener.local_addr().unwrap(), Arc::clone(&said));
        let server = std::thread::spawn(move || {
            let one = |mut client: TcpStream| {
                let mut text = String::new();
                let _ = client.read_to_string(&mut text);
                noted.lock().push(text);
            };
            std::thread::scope(|scope| {
                for client in listener.incoming().take(4) {
                    scope.spawn(|| one(client.unwrap()));
                }
            });
        });
        let proxy = Proxy::to(address);
        for place in [Break::Before, Break::After] {
            proxy.break_at(&["INSERT", "COMMIT"], place);
            let other = connect(&proxy);
            say(&other, "COMMIT");
            let client = connect(&proxy);
            say(&client, "INSERT; COMMIT");
            assert_eq!(hear(&client, 1), "");
            other.shutdown(Shutdown::Write).unwrap();
            assert_eq!(hear(&other, 1), "");
        }
        proxy.wait_broken();
        server.join().unwrap();
        let mut said = said.lock().clone();
        said.sort();
        assert_eq!(said, ["", "COMMIT", "COMMIT", "INSERT; COMMIT"]);
    }
}
