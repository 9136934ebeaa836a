//! Packets, payloads and the handshake.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use relais_protocol::engineio::{
    Frame, Handshake, Kind, Packet, PacketError, Payload, PayloadError, PayloadLimits, Refusal, Version,
    decode_payload, encode_payload,
};

use crate::{binary, text};

const LIMITS: PayloadLimits = PayloadLimits { bytes: 100, packets: 3 };

fn decode(version: Version, body: &'static [u8]) -> Result<Vec<(Kind, Frame)>, PayloadError> {
    let packets = decode_payload(version, Bytes::from_static(body), false, LIMITS)?;
    Ok(packets.into_iter().map(|packet| (packet.kind, packet.data)).collect())
}

fn encode(version: Version, base64: bool, frames: &[Frame]) -> Payload {
    encode_payload(version, base64, &mut frames.iter().cloned().collect(), u32::MAX)
}

/// [Packet encoding] `4hello`, `2probe`; a binary WebSocket frame is a message.
#[test]
fn a_packet_begins_with_its_type_and_a_binary_frame_of_version_4_is_a_message() {
    let read = |frame| Packet::from_frame(Version::V4, frame);
    assert_eq!(read(text("4hello")), Ok(Packet { kind: Kind::Message, data: text("hello") }));
    assert_eq!(read(text("2probe")), Ok(Packet { kind: Kind::Ping, data: text("probe") }));
    assert_eq!(read(binary(b"\x01\x02")), Ok(Packet { kind: Kind::Message, data: binary(b"\x01\x02") }));
    assert_eq!(read(text("")), Err(PacketError::Empty));
    assert_eq!(read(text("abc")), Err(PacketError::UnknownKind('a')));
    assert_eq!(read(text("7")), Err(PacketError::UnknownKind('7')));
    assert_eq!(read(text("é")), Err(PacketError::UnknownKind('é')));
}

/// [v3, Packet] "the packet type id is sent in the first byte of the binary contents".
#[test]
fn a_binary_frame_of_version_3_begins_with_its_type_as_a_byte() {
    let read = |frame| Packet::from_frame(Version::V3, frame);
    assert_eq!(read(binary(b"\x04\x00\x01")), Ok(Packet { kind: Kind::Message, data: binary(b"\x00\x01") }));
    assert_eq!(read(binary(b"")), Err(PacketError::Empty));
    assert_eq!(read(binary(b"\xff")), Err(PacketError::UnknownKind('\u{ff}')));
}

/// [Packet encoding, HTTP long-polling] packets are joined by 0x1e, binary is `b` and base64.
#[test]
fn a_payload_of_version_4_is_separated_by_0x1e() {
    let frames = [text("4hello"), text("2"), binary(b"\x01\x02\x03\x04")];
    let payload = encode(Version::V4, false, &frames);
    assert_eq!(payload, Payload { body: Bytes::from_static(b"4hello\x1e2\x1ebAQIDBA=="), binary: false });
    assert_eq!(
        decode(Version::V4, b"4hello\x1e2\x1ebAQIDBA=="),
        Ok(vec![
            (Kind::Message, text("hello")),
            (Kind::Ping, text("")),
            (Kind::Message, binary(b"\x01\x02\x03\x04"))
        ])
    );
}

/// [v3, Payload] `<length>:<packet>`, in characters as JavaScript counts them.
#[test]
fn a_length_of_version_3_counts_utf_16_code_units() {
    let payload = encode(Version::V3, false, &[text("4hello"), text("4€€€"), text("4😀")]);
    assert_eq!(payload.body, "6:4hello4:4€€€3:4😀".as_bytes());
    assert_eq!(
        decode(Version::V3, "6:4hello4:4€€€3:4😀".as_bytes()),
        Ok(vec![(Kind::Message, text("hello")), (Kind::Message, text("€€€")), (Kind::Message, text("😀"))])
    );
    assert_eq!(decode(Version::V3, "2:4😀".as_bytes()), Err(PayloadError::Truncated(0)), "half a character");
}

/// [v3, Payload] "an identifier `b` is put before a packet encoding that contains binary data".
#[test]
fn a_client_of_version_3_that_takes_text_only_gets_base64() {
    let payload = encode(Version::V3, true, &[text("4a"), binary(b"\x01\x02\x03")]);
    assert_eq!(payload, Payload { body: Bytes::from_static(b"2:4a6:b4AQID"), binary: false });
    let said = Ok(vec![(Kind::Message, binary(b"\x01\x02\x03"))]);
    assert_eq!(decode(Version::V3, b"6:b4AQID"), said);
    assert_eq!(decode(Version::V3, b"5:bAQID"), said, "as the document's test suite writes it");
}

/// [v3, Payload] `<0 for string, 1 for binary><digits><255><packet>`.
#[test]
fn a_payload_of_version_3_with_binary_is_binary() {
    let wire = b"\x00\x06\xff4hello\x01\x04\xff\x04\x01\x02\x03";
    let payload = encode(Version::V3, false, &[text("4hello"), binary(b"\x01\x02\x03")]);
    assert_eq!(payload, Payload { body: Bytes::from_static(wire), binary: true });
    let packets = decode_payload(Version::V3, payload.body, true, LIMITS).unwrap();
    assert_eq!(packets[0].data, text("hello"));
    assert_eq!(packets[1].data, binary(b"\x01\x02\x03"));
    let wrong: [(&[u8], PayloadError); 5] = [
        (b"", PayloadError::Length(0)),
        (b"\x02\x01\xff4", PayloadError::Length(0)),
        (b"\x00\xff4", PayloadError::Length(0)),
        (b"\x00\x05\xff4", PayloadError::Truncated(0)),
        (b"\x00\x02\xff4\xff", PayloadError::NotUtf8),
    ];
    for (wire, error) in wrong {
        assert_eq!(decode_payload(Version::V3, Bytes::from_static(wire), true, LIMITS), Err(error));
    }
}

/// [Handshake] `maxPayload` limits what a client puts into one payload; the server respects it too.
#[test]
fn a_payload_takes_what_fits_and_leaves_the_rest_in_order() {
    let mut queue = VecDeque::from([text("4aaaa"), text("4bbbb"), text("4cccc")]);
    assert_eq!(encode_payload(Version::V4, false, &mut queue, 11).body, "4aaaa\x1e4bbbb");
    assert_eq!(encode_payload(Version::V4, false, &mut queue, 1).body, "4cccc", "one always goes");
    assert!(queue.is_empty());
}

#[test]
fn a_payload_past_a_limit_or_out_of_form_is_refused_with_its_reason() {
    let index = 1;
    let wrong: [(&[u8], PayloadError); 6] = [
        (b"", PayloadError::Packet { index: 0, source: PacketError::Empty }),
        (b"4a\x1e", PayloadError::Packet { index, source: PacketError::Empty }),
        (b"4a\x1eb*", PayloadError::Packet { index, source: PacketError::Base64 }),
        (b"4a\x1e4b\x1e4c\x1e4d", PayloadError::TooManyPackets(3)),
        (b"4\xff", PayloadError::NotUtf8),
        (&[b'4'; 101], PayloadError::TooLarge { bytes: 101, max: 100 }),
    ];
    for (body, error) in wrong {
        assert_eq!(decode(Version::V4, body), Err(error));
    }
    for body in [&b""[..], b"abc", b":4", b"1", b"1234567890:4", b"-1:4"] {
        assert_eq!(decode(Version::V3, body), Err(PayloadError::Length(0)));
    }
    assert_eq!(decode(Version::V3, b"999999999:4"), Err(PayloadError::Truncated(0)));
    assert_eq!(decode(Version::V3, b"1:21:21:21:2"), Err(PayloadError::TooManyPackets(3)));
}

/// [Handshake] the data of the open packet.
#[test]
fn the_handshake_is_the_json_of_the_document() {
    let handshake = Handshake {
        sid: "lv_VI97HAXpY6yYWAAAC",
        upgrade: true,
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 1_000_000,
    };
    assert_eq!(
        handshake.to_frame(),
        text(concat!(
            r#"0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"#,
            r#""pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
        ))
    );
}

#[test]
fn a_refusal_has_the_number_that_clients_know() {
    assert_eq!(Refusal::UnknownSession.to_json(), r#"{"code":1,"message":"Session ID unknown"}"#);
    assert_eq!(Refusal::UnsupportedVersion.code(), 5);
}
