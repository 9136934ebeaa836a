//! The rules of the published Engine.IO and Socket.IO documents, one test each. Names in brackets are their sections.

#![expect(clippy::disallowed_methods, reason = "tests begin at some moment, whichever it is")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod engineio_packets;
mod engineio_session;
mod engineio_upgrade;
mod msgpack;
mod round_trips;
mod socketio_packets;
mod socketio_session;

use bytes::Bytes;
use relais_protocol::engineio::{Frame, Text};

fn text(text: &str) -> Frame {
    Frame::Text(Text::from(text.to_owned()))
}

fn binary(bytes: &'static [u8]) -> Frame {
    Frame::Binary(Bytes::from_static(bytes))
}
