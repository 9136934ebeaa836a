//! Arbitrary messages to a Socket.IO connection.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relais_protocol::engineio::{Frame, Text, Version};
use relais_protocol::socketio::{Config, Input, Session};

/// Messages are separated by 0x1e; a binary one starts with `b`; the first byte chooses the version. For any input,
/// events come only from joined namespaces, each that requests it is acknowledged once, and everything counted stays
/// within its limits.
pub fn any_messages(data: &[u8]) {
    let Some((&first, messages)) = data.split_first() else { return };
    let version = if first & 1 == 0 { Version::V4 } else { Version::V3 };
    let config = Config { namespaces: 3, acks: 4, ..Config::new(version) };
    let mut now = Instant::now();
    let (mut session, implicit) = Session::open(config, now);
    let mut joined = BTreeSet::new();
    if let Some(input) = implicit {
        answer(&mut session, &mut joined, input, now);
    }
    for message in messages.split(|byte| *byte == 0x1e) {
        let bytes = Bytes::copy_from_slice(message);
        let frame = match Text::from_utf8(bytes.clone()) {
            Some(text) if message.first() != Some(&b'b') => Frame::Text(text),
            _ => Frame::Binary(bytes.slice(bytes.len().min(1)..)),
        };
        match session.message(frame, now) {
            Ok(Some(input)) => answer(&mut session, &mut joined, input, now),
            Ok(None) => {}
            Err(_) => return,
        }
        assert!(joined.len() <= 3);
        now += Duration::from_secs(1);
        if session.tick(now).is_err() {
            assert!(joined.is_empty(), "only who joined nothing comes too late");
            return;
        }
    }
}

/// An application that accepts every client, acknowledges even ids, and requests an acknowledgement.
fn answer(session: &mut Session, joined: &mut BTreeSet<String>, input: Input, now: Instant) {
    match input {
        Input::Connect { namespace, .. } => {
            session.accept(&namespace, "sid", None).expect("it waits for an answer");
            assert!(joined.insert(namespace), "joined twice");
        }
        Input::Event { namespace, id, .. } => {
            assert!(joined.contains(&namespace), "an event from outside");
            session.emit(&namespace, "a", "1", Vec::new(), None).expect("it is joined");
            // Refused once too many are pending, which is the limit at work.
            drop(session.emit_with_ack(&namespace, "a", "1", Vec::new(), now));
            if let Some(id) = id.filter(|id| id % 2 == 0) {
                session.acknowledge(&namespace, id, "", Vec::new()).expect("it waits for it");
                session.acknowledge(&namespace, id, "", Vec::new()).expect_err("only once");
            }
        }
        Input::Acknowledged { namespace, id, .. } => {
            assert!(joined.contains(&namespace) && id > 0, "nobody asked for {id}");
        }
        Input::NotAcknowledged { .. } => {}
        Input::Disconnected { namespace } => {
            assert!(joined.remove(&namespace), "left twice");
            session.emit(&namespace, "a", "", Vec::new(), None).expect_err("it left");
        }
    }
}
