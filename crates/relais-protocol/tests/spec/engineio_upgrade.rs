//! From long-polling to a WebSocket [Upgrade].

use relais_protocol::engineio::{Action, CloseReason, Config, Frame, SocketId, Version};

use crate::engineio_session::{Driven, config, ok, packets, refused};
use crate::text;

const NOTHING: [Action; 0] = [];

fn write(ws: SocketId, packet: &str) -> Action {
    Action::Write(ws, text(packet))
}

/// In polling, with WebSocket 9 opened for the upgrade.
fn probing() -> Driven {
    let mut it = Driven::polling(config(Version::V4));
    assert_eq!(it.open(9), NOTHING);
    it
}

#[test]
fn the_held_get_is_released_by_noop_when_the_probe_is_answered() {
    let mut it = probing();
    it.get(2);
    assert_eq!(it.frame(9, text("2probe")), [write(9, "3probe"), packets(2, "6")]);
    assert_eq!(it.frame(9, text("5")), [Action::Upgraded(9)]);
    assert_eq!(it.frame(9, text("4hello")), [Action::Message(text("hello"))]);
    assert_eq!(it.send(Frame::message("back")), [write(9, "4back")]);
}

#[test]
fn a_get_behind_the_probe_is_answered_at_once() {
    let mut it = probing();
    it.frame(9, text("2probe"));
    assert_eq!(it.get(2), [packets(2, "6")]);
    it.send(Frame::message("a"));
    assert_eq!(it.get(3), [packets(3, "4a")], "with what waits, if something does");
}

#[test]
fn what_is_sent_keeps_its_order_across_the_upgrade() {
    let mut it = probing();
    it.send(Frame::message("1"));
    it.frame(9, text("2probe"));
    assert_eq!(it.get(2), [packets(2, "41")]);
    it.send(Frame::message("2"));
    it.send(Frame::message("3"));
    assert_eq!(it.post(3, b"4from the old side"), [Action::Message(text("from the old side")), ok(3)]);
    assert_eq!(it.frame(9, text("5")), [Action::Upgraded(9), write(9, "42"), write(9, "43")]);
    assert_eq!(it.send(Frame::message("4")), [write(9, "44")]);
    assert_eq!(it.session.queued_bytes(), 0);
}

#[test]
fn a_get_that_came_between_is_ended_when_the_websocket_takes_over() {
    let mut it = probing();
    it.frame(9, text("2probe"));
    let mut out = Vec::new();
    assert!(it.session.poll_post(3, &mut out));
    assert_eq!(it.frame(9, text("5")), [refused(3), Action::Upgraded(9)], "a body now would be out of order");
}

/// [Upgrade] later requests and WebSockets with the session's id are refused, and change nothing.
#[test]
fn after_the_upgrade_other_requests_are_refused() {
    let mut it = probing();
    it.frame(9, text("2probe"));
    it.frame(9, text("5"));
    assert_eq!(it.get(2), [refused(2)]);
    assert_eq!(it.post(3, b"4a"), [refused(3)]);
    assert_eq!(it.open(10), [Action::CloseSocket(10, 1002)]);
    assert_eq!(it.frame(10, text("4foreign")), NOTHING);
    assert_eq!(it.lost(10), NOTHING);
    assert_eq!(it.frame(9, text("4hello")), [Action::Message(text("hello"))]);
}

#[test]
fn an_upgrade_abandoned_half_way_leaves_the_session_in_polling() {
    let mut it = probing();
    it.frame(9, text("2probe"));
    assert_eq!(it.lost(9), NOTHING);
    it.send(Frame::message("a"));
    assert_eq!(it.get(2), [packets(2, "4a")]);
    assert_eq!(it.get(3), NOTHING, "held again");
    assert_eq!(it.open(10), NOTHING, "and a new attempt may begin");
    assert_eq!(it.frame(10, text("2probe")), [write(10, "3probe"), packets(3, "6")]);
}

#[test]
fn a_probe_that_takes_too_long_is_closed() {
    let mut it = probing();
    assert_eq!(it.after(99), NOTHING);
    assert_eq!(it.after(1), [Action::CloseSocket(9, 1002)]);
    assert_eq!(it.frame(9, text("2probe")), NOTHING);
    assert_eq!(it.post(2, b"4a"), [Action::Message(text("a")), ok(2)]);
}

#[test]
fn other_traffic_on_the_probing_socket_is_refused() {
    for frame in ["4hello", "5", "2", "2other", "3probe", "1", "", "x"] {
        let mut it = probing();
        assert_eq!(it.frame(9, text(frame)), [Action::CloseSocket(9, 1002)], "{frame}");
        assert!(!it.session.is_closed());
    }
    let mut it = probing();
    it.frame(9, text("2probe"));
    assert_eq!(it.frame(9, text("4early")), [Action::CloseSocket(9, 1002)]);
}

#[test]
fn a_second_probing_socket_is_closed_and_the_first_goes_on() {
    let mut it = probing();
    assert_eq!(it.open(10), [Action::CloseSocket(10, 1002)]);
    assert_eq!(it.frame(9, text("2probe")), [write(9, "3probe")]);
}

#[test]
fn no_upgrade_is_possible_where_none_is_offered() {
    let mut it = Driven::polling(Config { upgrade: false, ..config(Version::V4) });
    assert_eq!(it.open(9), [Action::CloseSocket(9, 1002)]);
}

#[test]
fn a_session_that_ends_takes_its_probe_with_it() {
    let mut it = probing();
    assert_eq!(it.post(2, b"1"), [ok(2), Action::CloseSocket(9, 1000), Action::Closed(CloseReason::Client)]);
}

/// Version 3 gets its NOOP on the poll if there is one, else on the WebSocket.
#[test]
fn a_client_of_version_3_gets_its_noop_once() {
    let mut it = Driven::polling(config(Version::V3));
    it.open(9);
    assert_eq!(it.frame(9, text("2probe")), [write(9, "3probe")]);
    assert_eq!(it.frame(9, text("5")), [Action::Upgraded(9), write(9, "6")]);
    let mut it = Driven::polling(config(Version::V3));
    it.open(9);
    it.get(2);
    assert_eq!(it.frame(9, text("2probe")), [write(9, "3probe"), packets(2, "1:6")]);
    assert_eq!(it.frame(9, text("5")), [Action::Upgraded(9)]);
}

#[test]
fn the_heartbeat_goes_on_across_the_upgrade() {
    let mut it = probing();
    it.frame(9, text("2probe"));
    it.frame(9, text("5"));
    assert_eq!(it.after(300), [write(9, "2")]);
    assert_eq!(it.after(200), [Action::CloseSocket(9, 1000), Action::Closed(CloseReason::PingTimeout)]);
}
