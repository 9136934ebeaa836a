//! Arbitrary messages of a Socket.IO client.

use bytes::Bytes;
use relais_protocol::engineio::{Frame, Text};
use relais_protocol::socketio::{Decoder, EventArguments, Kind, Limits, encode};

const LIMITS: Limits = Limits {
    packet_bytes: 1_000,
    namespace_bytes: 30,
    depth: 10,
    elements: 10,
    attachments: 4,
    attachment_bytes: 200,
};

/// Messages are separated by 0x1e; a binary one starts with `b`. What is accepted respects the limits, its arguments
/// can be read, and it decodes to the same when encoded again.
pub fn read_and_written_again(data: &[u8]) {
    let mut decoder = Decoder::new(LIMITS);
    for message in data.split(|byte| *byte == 0x1e) {
        let bytes = Bytes::copy_from_slice(message);
        let frame = match message.first() {
            Some(b'b') => Frame::Binary(bytes.slice(1..)),
            _ => match Text::from_utf8(bytes) {
                Some(text) => Frame::Text(text),
                None => return,
            },
        };
        let Ok(packet) = decoder.message(frame) else { return };
        let Some(packet) = packet else { continue };
        assert!(
            packet.attachments.len() <= 4 && packet.attachments.iter().map(Bytes::len).sum::<usize>() <= 200
        );
        if packet.kind == Kind::Event {
            let data = packet.data.as_ref().expect("an event has data");
            assert!(EventArguments::of(data).expect("and a name").arguments.len() < 10);
        }
        let mut again = Decoder::new(Limits { namespace_bytes: 31, packet_bytes: 1_100, ..LIMITS });
        let mut read = None;
        for frame in encode(&packet) {
            let frame = match frame {
                Frame::Text(text) => Frame::Text(Text::from(text.as_str()[1..].to_owned())),
                binary @ Frame::Binary(_) => binary,
            };
            read = again.message(frame).expect("it was accepted before");
        }
        assert_eq!(read.as_ref(), Some(&packet));
    }
}
