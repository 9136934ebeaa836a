//! Packets as the WebSocket frames queued in the hub, and back for polling clients.

use bytes::{BufMut as _, Bytes, BytesMut};
use relais_protocol::engineio::{Frame, Kind, Text, Version};
use relais_protocol::websocket::{Opcode, encode_frame, frame_len, head_len};

use super::farewell::Farewell;

/// A heartbeat of version 4.
pub(super) const PING: &str = "2";

/// The frames of messages. Version 3 has the type in front of binary too.
pub(super) fn messages(version: Version, frames: &[Frame]) -> Bytes {
    let mut out = Vec::with_capacity(frames.iter().map(|frame| frame.len() + 10).sum());
    for frame in frames {
        match frame {
            Frame::Binary(bytes) if version == Version::V3 => {
                let mut typed = BytesMut::with_capacity(bytes.len() + 1);
                typed.put_u8(Kind::Message as u8);
                typed.extend_from_slice(bytes);
                encode_frame(Opcode::Binary, &typed, &mut out);
            }
            frame => write(frame, &mut out),
        }
    }
    out.into()
}

/// One frame as it is.
pub(super) fn write(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Text(text) => encode_frame(Opcode::Text, text.as_bytes(), out),
        Frame::Binary(bytes) => encode_frame(Opcode::Binary, bytes, out),
    }
}

/// The queued packets of a polling client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) packets: Vec<Frame>,
    /// Why the connection ends after them, if it does.
    pub(super) closed: Option<Farewell>,
}

/// Reads whole frames that this server wrote.
pub(super) fn read(version: Version, mut wire: Bytes) -> Waiting {
    let mut waiting = Waiting { packets: Vec::new(), closed: None };
    while let Some(length) = frame_len(&wire).filter(|length| *length <= wire.len()) {
        let frame = wire.split_to(length);
        let head = head_len(&frame);
        match (frame[0] & 0x0f, version) {
            (1, _) => waiting.packets.extend(Text::from_utf8(frame.slice(head..)).map(Frame::Text)),
            (2, Version::V4) => waiting.packets.push(Frame::Binary(frame.slice(head..))),
            (2, Version::V3) => waiting.packets.push(Frame::Binary(frame.slice(head + 1..))),
            (8, _) => waiting.closed = Some(Farewell::of_frame(&frame[head..])),
            _ => {}
        }
    }
    waiting
}

impl Waiting {
    /// Whether it contains more than heartbeats.
    pub(super) fn has_news(&self) -> bool {
        self.packets.iter().any(|frame| !matches!(frame, Frame::Text(text) if text.as_str() == PING))
    }
}

#[cfg(test)]
mod tests {
    use relais_protocol::websocket::close_frame;

    use super::*;

    #[test]
    fn what_waits_comes_out_as_it_went_in_for_both_versions() {
        let frames = [
            Frame::message("hello"),
            Frame::Binary(vec![7; 200].into()),
            Frame::message(&"x".repeat(70_000)),
        ];
        for version in [Version::V3, Version::V4] {
            let read = read(version, messages(version, &frames));
            assert_eq!(read, Waiting { packets: frames.to_vec(), closed: None });
        }
    }

    #[test]
    fn the_end_is_seen_and_heartbeats_are_no_news() {
        let mut wire = messages(Version::V4, &[Frame::Text(PING.into())]).to_vec();
        close_frame(1012, "restart", &mut wire);
        let waiting = read(Version::V4, wire.into());
        assert_eq!(waiting.closed, Some(Farewell { code: 1012, reason: "restart".into() }));
        assert!(!waiting.has_news());
    }
}
