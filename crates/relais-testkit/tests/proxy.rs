//! The proxy does what tests rely on.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and start tasks of their own")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use relais_testkit::{Break, Proxy};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that echoes everything, on each of its connections.
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

/// Reads this many bytes, or fewer if the connection ends first.
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
