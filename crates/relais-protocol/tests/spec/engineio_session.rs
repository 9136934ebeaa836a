//! A session over long-polling or WebSocket: messages, heartbeat and close.

use std::time::{Duration, Instant};

use bytes::Bytes;
use relais_protocol::engineio::{
    Action, CloseReason, Config, Frame, PayloadLimits, Refusal, RequestId, Response, SendError, Session,
    SocketId, Text, Version,
};

use crate::{binary, text};

/// A session, the time, and the actions since the last check.
pub struct Driven {
    pub session: Session,
    pub now: Instant,
    out: Vec<Action>,
}

pub fn config(version: Version) -> Config {
    Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        upgrade_timeout: Duration::from_millis(100),
        queue_bytes: 40,
        ..Config::new(version)
    }
}

impl Driven {
    /// In polling, after the handshake.
    pub fn polling(config: Config) -> Self {
        let (now, mut out) = (Instant::now(), Vec::new());
        let session = Session::open_polling(config, "sid", 1, now, &mut out);
        assert!(matches!(&out[..], [Action::Answer(1, Response::Packets(_))]), "{out:?}");
        Self { session, now, out: Vec::new() }
    }

    /// On WebSocket 1, after the handshake.
    pub fn websocket(config: Config) -> Self {
        let (now, mut out) = (Instant::now(), Vec::new());
        let session = Session::open_websocket(config, "sid", 1, now, &mut out);
        let [Action::Write(1, Frame::Text(handshake))] = &out[..] else { panic!("{out:?}") };
        assert!(handshake.as_str().contains(r#""upgrades":[]"#), "nothing to upgrade to");
        Self { session, now, out: Vec::new() }
    }

    pub fn done(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.out)
    }

    pub fn get(&mut self, id: RequestId) -> Vec<Action> {
        self.session.poll_get(id, self.now, &mut self.out);
        self.done()
    }

    pub fn post(&mut self, id: RequestId, body: &'static [u8]) -> Vec<Action> {
        if self.session.poll_post(id, &mut self.out) {
            self.session.post_body(id, Bytes::from_static(body), false, self.now, &mut self.out);
        }
        self.done()
    }

    pub fn open(&mut self, ws: SocketId) -> Vec<Action> {
        self.session.ws_open(ws, self.now, &mut self.out);
        self.done()
    }

    pub fn frame(&mut self, ws: SocketId, frame: Frame) -> Vec<Action> {
        self.session.ws_frame(ws, frame, self.now, &mut self.out);
        self.done()
    }

    pub fn lost(&mut self, ws: SocketId) -> Vec<Action> {
        self.session.ws_closed(ws, &mut self.out);
        self.done()
    }

    pub fn send(&mut self, frame: Frame) -> Vec<Action> {
        self.session.send(frame, &mut self.out).unwrap();
        self.done()
    }

    pub fn close(&mut self) -> Vec<Action> {
        self.session.close(self.now, &mut self.out);
        self.done()
    }

    pub fn close_refusing(&mut self) -> Vec<Action> {
        self.session.close_refusing(self.now, &mut self.out);
        self.done()
    }

    /// A GET after this much time.
    pub fn get_after(&mut self, ms: u64, id: RequestId) -> Vec<Action> {
        self.now += Duration::from_millis(ms);
        self.get(id)
    }

    pub fn after(&mut self, ms: u64) -> Vec<Action> {
        self.now += Duration::from_millis(ms);
        self.session.tick(self.now, &mut self.out);
        self.done()
    }
}

pub fn packets(id: RequestId, body: &str) -> Action {
    let body = Bytes::from(body.to_owned());
    Action::Answer(id, Response::Packets(relais_protocol::engineio::Payload { body, binary: false }))
}

pub fn refused(id: RequestId) -> Action {
    Action::Answer(id, Response::Refused(Refusal::BadRequest))
}

pub fn ok(id: RequestId) -> Action {
    Action::Answer(id, Response::Ok)
}

/// [Message] a POST is answered `ok` after its messages, in order.
#[test]
fn the_messages_of_a_post_arrive_in_order_and_it_is_answered_ok() {
    let mut it = Driven::polling(config(Version::V4));
    let done = it.post(2, b"4test1\x1e4test2\x1ebAQID");
    let message = Action::Message;
    let expected = [message(text("test1")), message(text("test2")), message(binary(b"\x01\x02\x03")), ok(2)];
    assert_eq!(done, expected);
}

/// [HTTP long-polling] a GET is held until there is something to send; queued packets are sent together.
#[test]
fn a_get_is_held_until_there_is_something_to_say() {
    let mut it = Driven::polling(config(Version::V4));
    assert_eq!(it.get(2), []);
    assert_eq!(it.send(Frame::message("a")), [packets(2, "4a")]);
    assert_eq!(it.send(Frame::message("b")), []);
    assert_eq!(it.send(binary(b"\x01")), []);
    assert_eq!(it.session.queued_bytes(), 3);
    assert_eq!(it.get(3), [packets(3, "4b\x1ebAQ==")]);
    assert_eq!(it.session.queued_bytes(), 0);
}

/// [HTTP long-polling, Test suite "message"] a second GET closes; the first is answered with CLOSE.
#[test]
fn a_second_get_closes_the_session() {
    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    let closed = Action::Closed(CloseReason::ConcurrentRequests);
    assert_eq!(it.get(3), [packets(2, "1"), closed, refused(3)]);
    assert_eq!(it.get(4), [refused(4)]);
}

/// [HTTP long-polling] one POST at a time, as with GET.
#[test]
fn a_second_post_closes_the_session() {
    let mut it = Driven::polling(config(Version::V4));
    let mut out = Vec::new();
    assert!(it.session.poll_post(2, &mut out));
    let closed = Action::Closed(CloseReason::ConcurrentRequests);
    assert_eq!(it.post(3, b"4a"), [refused(2), closed, refused(3)]);
    it.session.post_body(2, Bytes::from_static(b"4late"), false, it.now, &mut out);
    assert_eq!(out, [], "what comes behind the end means nothing");
}

/// [HTTP long-polling] a POST is in progress until its messages are handled.
#[test]
fn a_post_while_another_is_dealt_with_closes_the_session() {
    let mut it = Driven::polling(config(Version::V4));
    it.post(2, b"4a");
    it.session.set_dealing(true);
    it.session.set_dealing(false);
    it.post(3, b"4b");
    it.session.set_dealing(true);
    let closed = Action::Closed(CloseReason::ConcurrentRequests);
    assert_eq!(it.post(4, b"4c"), [closed, refused(4)]);
}

#[test]
fn a_get_that_went_away_loses_nothing() {
    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    it.session.request_gone(2);
    assert_eq!(it.send(Frame::message("a")), []);
    assert_eq!(it.get(3), [packets(3, "4a")]);
}

/// [Test suite "message"] closes the session upon invalid packet format.
#[test]
fn what_cannot_be_read_closes_the_session() {
    for (body, reason) in [
        (&b"abc"[..], CloseReason::Protocol),
        (b"0{}", CloseReason::Protocol),
        (b"5", CloseReason::Protocol),
        (&[b'4'; 2_000], CloseReason::TooLarge),
    ] {
        let payload = PayloadLimits { bytes: 1_000, packets: 10 };
        let mut it = Driven::polling(Config { payload, ..config(Version::V4) });
        it.get(2);
        assert_eq!(it.post(3, body), [refused(3), packets(2, "1"), Action::Closed(reason)]);
    }
    let mut it = Driven::websocket(config(Version::V4));
    let done = it.frame(1, text("abc"));
    assert_eq!(done, [Action::CloseSocket(1, 1002), Action::Closed(CloseReason::Protocol)]);
}

#[test]
fn a_websocket_frame_past_max_payload_closes_with_1009() {
    let mut it =
        Driven::websocket(Config { payload: PayloadLimits { bytes: 5, packets: 1 }, ..config(Version::V4) });
    assert_eq!(it.frame(1, text("4aaaa")), [Action::Message(text("aaaa"))]);
    let closed = [Action::CloseSocket(1, 1009), Action::Closed(CloseReason::TooLarge)];
    assert_eq!(it.frame(1, text("4aaaaa")), closed);
}

/// [WebSocket] each packet is a frame of its own.
#[test]
fn a_websocket_carries_one_packet_a_frame() {
    let mut it = Driven::websocket(config(Version::V4));
    assert_eq!(it.frame(1, binary(b"\x01")), [Action::Message(binary(b"\x01"))]);
    assert_eq!(it.send(binary(b"\x01")), [Action::Write(1, binary(b"\x01"))]);
    let mut old = Driven::websocket(config(Version::V3));
    assert_eq!(old.send(binary(b"\x01")), [Action::Write(1, binary(b"\x04\x01"))]);
}

/// [Heartbeat] the server pings every `pingInterval`, first after one, and the client answers in time.
#[test]
fn the_server_of_version_4_pings_and_the_first_ping_is_not_at_once() {
    let mut it = Driven::websocket(config(Version::V4));
    assert_eq!(it.after(299), []);
    for _ in 0..3 {
        assert_eq!(it.after(1), [Action::Write(1, text("2"))]);
        assert_eq!(it.after(199), []);
        assert_eq!(it.frame(1, text("3")), []);
        assert_eq!(it.session.next_deadline(), Some(it.now + Duration::from_millis(300)));
        assert_eq!(it.after(299), []);
    }
}

/// [Heartbeat] without a pong within `pingTimeout` the connection is considered closed.
#[test]
fn a_ping_without_its_pong_closes_the_session() {
    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    assert_eq!(it.after(300), [packets(2, "2")]);
    assert_eq!(it.post(3, b"4still here"), [Action::Message(text("still here")), ok(3)], "no pong");
    assert_eq!(it.after(200), [Action::Closed(CloseReason::PingTimeout)]);
    assert_eq!(it.post(4, b"3"), [refused(4)]);
    assert_eq!(it.session.next_deadline(), None);
}

/// [Heartbeat] the server pings in version 4, the client in version 3.
#[test]
fn a_heartbeat_in_the_wrong_direction_closes_the_session() {
    for (version, packet) in [(Version::V4, "2"), (Version::V3, "3")] {
        let mut it = Driven::websocket(config(version));
        let closed = [Action::CloseSocket(1, 1002), Action::Closed(CloseReason::Protocol)];
        assert_eq!(it.frame(1, text(packet)), closed);
    }
}

/// [v3, ping] "server should answer with a pong packet containing the same data".
#[test]
fn the_client_of_version_3_pings_and_is_closed_when_it_is_silent() {
    let mut it = Driven::polling(config(Version::V3));
    for _ in 0..3 {
        assert_eq!(it.after(499), []);
        assert_eq!(it.post(2, b"1:2"), [ok(2)]);
        assert_eq!(it.get(3), [packets(3, "1:3")]);
    }
    assert_eq!(it.after(500), [Action::Closed(CloseReason::PingTimeout)]);
}

/// [Test suite "close"] when a client closes, the held GET is answered with NOOP.
#[test]
fn a_client_closes() {
    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    assert_eq!(it.post(3, b"1"), [ok(3), packets(2, "6"), Action::Closed(CloseReason::Client)]);
    assert_eq!(it.get(4), [refused(4)]);
    let mut it = Driven::websocket(config(Version::V4));
    assert_eq!(it.frame(1, text("1")), [Action::CloseSocket(1, 1000), Action::Closed(CloseReason::Client)]);
    let mut it = Driven::websocket(config(Version::V4));
    assert_eq!(it.lost(1), [Action::Closed(CloseReason::Client)]);
}

/// When the server closes, queued packets are still delivered, then CLOSE.
#[test]
fn the_server_closes() {
    let mut it = Driven::polling(config(Version::V4));
    it.send(Frame::message("last"));
    assert_eq!(it.close(), []);
    assert_eq!(it.session.send(Frame::message("later"), &mut Vec::new()), Err(SendError::Closed));
    assert_eq!(it.get(2), [packets(2, "4last\x1e1"), Action::Closed(CloseReason::Server)]);

    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    assert_eq!(it.close(), [packets(2, "1"), Action::Closed(CloseReason::Server)]);

    let mut it = Driven::polling(config(Version::V4));
    it.close();
    assert_eq!(it.after(200), [Action::Closed(CloseReason::Server)], "nobody came for it");

    let mut it = Driven::websocket(config(Version::V4));
    assert_eq!(it.close(), [Action::CloseSocket(1, 1000), Action::Closed(CloseReason::Server)]);
}

/// A server that has a reason sends it in the refusal of a GET, after the queue.
#[test]
fn a_close_that_has_a_reason_refuses_the_get_behind_what_waits() {
    let mut it = Driven::polling(config(Version::V4));
    it.send(Frame::message("last"));
    assert_eq!(it.close_refusing(), []);
    assert_eq!(it.get(2), [packets(2, "4last")]);
    assert!(!it.session.is_closed(), "the reason was not told yet");
    assert_eq!(it.get(3), [refused(3), Action::Closed(CloseReason::Server)]);

    let mut it = Driven::polling(config(Version::V4));
    it.get(2);
    assert_eq!(it.close_refusing(), [refused(2), Action::Closed(CloseReason::Server)]);

    let mut it = Driven::polling(config(Version::V4));
    it.close_refusing();
    assert_eq!(it.after(200), [Action::Closed(CloseReason::Server)], "nobody came for it");
}

/// What the responses to a client's GETs contain of `count` messages of 500 bytes, and whether a ping is among them, if
/// each takes the client this long.
fn answers(count: usize, each_ms: u64) -> Vec<(usize, bool)> {
    let mut it = Driven::polling(config(Version::V4));
    let message = format!("4{}", "x".repeat(499));
    let all = (0..count).map(|_| Frame::Text(Text::from(message.clone())));
    it.session.send_all(all, &mut Vec::new()).unwrap();
    let (mut answers, mut left) = (Vec::new(), count);
    for id in 2.. {
        let actions = it.get_after(each_ms, id);
        let [Action::Answer(_, Response::Packets(payload))] = &actions[..] else { panic!("{actions:?}") };
        let body = std::str::from_utf8(&payload.body).unwrap();
        let messages = body.split('\x1e').filter(|packet| **packet == message).count();
        answers.push((messages, body.starts_with("2\x1e")));
        left -= messages;
        if left == 0 {
            break;
        }
    }
    answers
}

/// A client on a slow connection receives each response whole, with a ping, long before its heartbeat timeout.
#[test]
fn answers_fit_the_line_of_a_client_and_pings_are_not_behind_what_waits() {
    let slow = answers(7, 5000);
    assert!(slow.iter().all(|(messages, _)| *messages <= 2), "{slow:?}");
    assert!(slow.iter().all(|(_, ping)| *ping), "an interval has passed each time: {slow:?}");
    let quick = answers(500, 1);
    assert_eq!(quick[..3], [(2, false), (8, false), (32, false)]);
    assert!(quick.len() < 8, "{quick:?}");
}

/// The first packet, the end of a handshake, does not wait for the transfer of those queued behind it.
#[test]
fn a_small_packet_does_not_wait_for_a_large_one_behind_it() {
    let mut it = Driven::polling(config(Version::V4));
    let large = Frame::message(&"x".repeat(600_000));
    it.session.send_all([Frame::message("small"), large], &mut Vec::new()).unwrap();
    assert_eq!(it.get(2), [packets(2, "4small")]);
    let actions = it.get(3);
    assert!(matches!(&actions[..], [Action::Answer(3, Response::Packets(all))] if all.body.len() > 600_000));
}

#[test]
fn a_polling_client_that_does_not_come_for_its_bytes_is_given_up() {
    let mut it = Driven::polling(config(Version::V4));
    it.send(Frame::message(&"x".repeat(30)));
    let mut out = Vec::new();
    let sent = it.session.send(Frame::message(&"x".repeat(30)), &mut out);
    assert_eq!(sent, Err(SendError::QueueFull(40)));
    assert_eq!(out, [Action::Closed(CloseReason::SlowClient)]);
    let mut it = Driven::polling(config(Version::V4));
    it.send(Frame::message(&"x".repeat(100)));
    assert!(!it.session.is_closed(), "one message of any size can be sent");
}

#[test]
fn a_volatile_packet_leaves_at_once_or_not_at_all() {
    let mut it = Driven::polling(config(Version::V4));
    let mut out = Vec::new();
    assert!(!it.session.send_volatile(Frame::message("lost"), &mut out));
    it.get(2);
    assert!(it.session.send_volatile(Frame::message("kept"), &mut out));
    assert_eq!(out, [packets(2, "4kept")]);
}
