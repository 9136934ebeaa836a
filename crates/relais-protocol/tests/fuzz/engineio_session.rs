//! Arbitrary sequences of inputs to an Engine.IO session.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relais_protocol::engineio::{
    Action, Config, Frame, RequestId, Response, Session, SocketId, Text, Version,
};

const SAID: [&str; 12] =
    ["2probe", "5", "4hello", "3", "2", "1", "6", "0", "abc", "4a\u{1e}4b", "4\u{1e}1", ""];

/// What the caller knows of a session, checked against every action.
struct Witness {
    version: Version,
    open_requests: BTreeSet<RequestId>,
    open_sockets: BTreeSet<SocketId>,
    sent: u32,
    arrived: u32,
    closed: bool,
}

/// Every byte is an input: its low half is the kind, its high half the argument. Every request is answered once,
/// packets are delivered in order, and nothing follows the end.
pub fn any_order_of_events(data: &[u8]) {
    let Some((&first, events)) = data.split_first() else { return };
    let version = if first & 1 == 0 { Version::V4 } else { Version::V3 };
    let config = Config { queue_bytes: 50, ..Config::new(version) };
    let (mut now, mut out) = (Instant::now(), Vec::new());
    let mut witness = Witness {
        version,
        open_requests: BTreeSet::from([0]),
        open_sockets: BTreeSet::new(),
        sent: 0,
        arrived: 0,
        closed: false,
    };
    let mut session = Session::open_polling(config, "sid", 0, now, &mut out);
    out.drain(..).for_each(|action| witness.see(action));
    for (id, &event) in (1..).zip(events) {
        happen(&mut session, &mut witness, event, id, &mut now, &mut out);
        out.drain(..).for_each(|action| witness.see(action));
        assert_eq!(witness.closed, session.is_closed());
        assert_eq!(session.next_deadline().is_none(), witness.closed);
        if witness.closed {
            assert!(witness.open_requests.is_empty(), "unanswered: {:?}", witness.open_requests);
            assert!(witness.open_sockets.is_empty(), "left open: {:?}", witness.open_sockets);
        }
    }
}

fn happen(
    session: &mut Session,
    witness: &mut Witness,
    event: u8,
    id: u64,
    now: &mut Instant,
    out: &mut Vec<Action>,
) {
    let with = usize::from(event >> 4);
    let earlier = id.saturating_sub(with as u64);
    match event & 0x0f {
        0 | 1 => {
            witness.open_requests.insert(id);
            session.poll_get(id, *now, out);
        }
        2 | 3 => {
            witness.open_requests.insert(id);
            if session.poll_post(id, out) {
                let body = Bytes::from_static(SAID[with % SAID.len()].as_bytes());
                session.post_body(id, body, false, *now, out);
            }
        }
        4 => {
            witness.open_sockets.insert(id);
            session.ws_open(id, *now, out);
        }
        5..=7 => {
            // Prefer a socket that is in use: the newest open one.
            let ws = witness.open_sockets.last().copied().unwrap_or(earlier);
            let said = Frame::Text(Text::from(SAID[with % SAID.len()]));
            session.ws_frame(ws, said, *now, out);
        }
        8 if with < 4 => {
            if let Some(ws) = witness.open_sockets.pop_last() {
                session.ws_closed(ws, out);
            }
        }
        9..=12 => {
            let sent = session.send(Frame::message(&witness.sent.to_string()), out);
            witness.sent += u32::from(sent.is_ok());
        }
        13 => {
            *now += Duration::from_secs(with as u64);
            session.tick(*now, out);
        }
        14 if with == 0 => session.close(*now, out),
        14 if with == 1 => session.close_refusing(*now, out),
        15 => {
            witness.open_requests.remove(&earlier);
            session.request_gone(earlier);
        }
        _ => {}
    }
}

impl Witness {
    fn see(&mut self, action: Action) {
        match action {
            Action::Answer(request, response) => {
                assert!(self.open_requests.remove(&request), "answered twice: {request}");
                if let Response::Packets(payload) = response {
                    assert!(!self.closed, "packets behind the end");
                    self.see_payload(std::str::from_utf8(&payload.body).expect("no binary was sent"));
                }
            }
            Action::Write(ws, Frame::Text(text)) => {
                assert!(self.open_sockets.contains(&ws), "written to {ws}, which is not open");
                self.see_packet(text.as_str());
            }
            Action::Write(_, Frame::Binary(_)) => panic!("no binary was sent"),
            Action::CloseSocket(ws, _) => {
                assert!(self.open_sockets.remove(&ws), "closed twice: {ws}");
            }
            Action::Message(_) | Action::Upgraded(_) => assert!(!self.closed, "something behind the end"),
            Action::Closed(_) => assert!(!std::mem::replace(&mut self.closed, true), "closed twice"),
        }
    }

    fn see_payload(&mut self, body: &str) {
        match self.version {
            Version::V4 => body.split('\u{1e}').for_each(|packet| self.see_packet(packet)),
            Version::V3 => {
                let mut rest = body;
                while let Some((length, packets)) = rest.split_once(':') {
                    let (packet, after) = packets.split_at(length.parse().expect("a length"));
                    self.see_packet(packet);
                    rest = after;
                }
            }
        }
    }

    /// Messages carry consecutive numbers, which show order and loss.
    fn see_packet(&mut self, packet: &str) {
        if let Some(number) = packet.strip_prefix('4') {
            assert_eq!(number, self.arrived.to_string());
            self.arrived += 1;
        }
    }
}
