//! The parser of socket.io-msgpack-parser: the packet as a msgpack map (the msgpack specification's formats).

use bytes::Bytes;
use relais_protocol::engineio::Text;
use relais_protocol::socketio::msgpack::{decode, encode};
use relais_protocol::socketio::{DecodeError, Kind, Limits, Packet};

const LIMITS: Limits = Limits {
    packet_bytes: 300,
    namespace_bytes: 20,
    depth: 4,
    elements: 4,
    attachments: 2,
    attachment_bytes: 10,
};

fn read(wire: &[u8]) -> Result<Packet, DecodeError> {
    decode(&Bytes::copy_from_slice(wire), &LIMITS)
}

/// The packet of an event in "/" whose one argument is `value`.
fn event(value: &[u8]) -> Vec<u8> {
    [b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1a", value].concat()
}

fn argument(value: &[u8]) -> Result<String, DecodeError> {
    let packet = read(&event(value))?;
    let data = packet.data.unwrap();
    Ok(data.as_str()[5..data.as_str().len() - 1].to_owned())
}

#[test]
fn a_packet_is_a_map_in_any_order_with_what_else_clients_put_there() {
    let wire = b"\x85\xa3nsp\xa5/chat\xa2id\x0c\xa4type\x02\xa7options\x81\xa8compress\xc3\xa4data\x92\xa3foo\xc4\x02\x01\x02";
    let packet = read(wire).unwrap();
    assert_eq!((packet.kind, &*packet.namespace, packet.id), (Kind::Event, "/chat", Some(12)));
    assert_eq!(packet.data, Some(Text::from(r#"["foo",{"_placeholder":true,"num":0}]"#)));
    assert_eq!(packet.attachments, [&b"\x01\x02"[..]]);
}

#[test]
fn a_packet_is_written_with_its_binary_inline() {
    let packet = Packet {
        id: Some(300),
        data: Some(Text::from(r#"["a",{"_placeholder":true,"num":0},-1,1.5,null,{"k":true}]"#)),
        attachments: vec![Bytes::from_static(b"\x09")],
        ..Packet::new(Kind::Ack, "/")
    };
    let wire = b"\x84\xa4type\x03\xa4data\x96\xa1a\xc4\x01\x09\xd0\xff\xcb\x3f\xf8\0\0\0\0\0\0\xc0\x81\xa1k\xc3\xa3nsp\xa1/\xa2id\xce\0\0\x01\x2c";
    assert_eq!(encode(&packet).unwrap(), &wire[..]);
    let wrong = Packet {
        attachments: vec![Bytes::new()],
        data: Some(Text::from(r#"[{"_placeholder":true,"num":1}]"#)),
        ..packet
    };
    assert!(matches!(encode(&wrong), Err(DecodeError::PlaceholderRange { .. })));
}

#[test]
fn every_format_becomes_json() {
    let formats: [(&[u8], &str); 25] = [
        (b"\x7f", "127"),
        (b"\xe0", "-32"),
        (b"\xff", "-1"),
        (b"\xc0", "null"),
        (b"\xc2", "false"),
        (b"\xc3", "true"),
        (b"\xca\x3f\xc0\0\0", "1.5"),
        (b"\xcb\x40\x45\0\0\0\0\0\0", "42"),
        (b"\xcb\x7f\xf8\0\0\0\0\0\0", "null"),
        (b"\xcc\xff", "255"),
        (b"\xcd\xff\xff", "65535"),
        (b"\xce\xff\xff\xff\xff", "4294967295"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd0\x80", "-128"),
        (b"\xd1\x80\0", "-32768"),
        (b"\xd2\x80\0\0\0", "-2147483648"),
        (b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808"),
        (b"\xa2\"\n", r#""\"\n""#),
        (b"\xd9\x01x", r#""x""#),
        (b"\xda\0\x01x", r#""x""#),
        (b"\xdc\0\x02\x01\x02", "[1,2]"),
        (b"\xde\0\x01\xa1k\x80", r#"{"k":{}}"#),
        (b"\x82\x07\x01\xd0\xff\x02", r#"{"7":1,"-1":2}"#),
        (b"\xd4\0\0", "null"),
        (b"\xd7\0\0\0\0\0\0\0\x03\xe8", r#""1970-01-01T00:00:01.000Z""#),
    ];
    for (wire, json) in formats {
        assert_eq!(argument(wire), Ok(json.to_owned()), "{wire:x?}");
    }
}

#[test]
fn what_is_not_a_packet_is_refused() {
    for wire in [
        &b""[..],
        b"\x90",
        b"\x80",
        b"\x81\xa4type",
        b"\x82\xa4type\x02\xa3nsp\xa1/\x00",
        b"\x82\xa4type\x05\xa3nsp\xa1/",
        b"\x82\xa4type\x00\xa3nsp\xa4chat",
        b"\x81\xa4type\x00",
        b"\x82\xa4type\x01\xa3nsp\xa2/\xff",
        b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1a\xa4data\x91\xa1a",
    ] {
        assert!(matches!(read(wire), Err(DecodeError::Msgpack(_))), "{wire:x?}: {:?}", read(wire));
    }
    for value in
        [&b"\xc1"[..], b"\xd5\x01\0\0", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\x81\xc0\x01"]
    {
        assert!(matches!(argument(value), Err(DecodeError::Msgpack(_))), "{value:x?}: {:?}", argument(value));
    }
    assert_eq!(argument(b"\x81\xac_placeholder\xc3"), Err(DecodeError::PlaceholderInline));
}

/// The encoder of the JavaScript parser writes typed arrays and an `ArrayBuffer` as extension 0 with an explicit
/// length.
#[test]
fn typed_arrays_are_binary_like_buffers() {
    for wire in [&b"\xc7\x03\0\x01\x02\x03"[..], b"\xc8\0\x03\0\x01\x02\x03", b"\xc9\0\0\0\x03\0\x01\x02\x03"]
    {
        let packet = read(&event(wire)).unwrap();
        assert_eq!(packet.data, Some(Text::from(r#"["a",{"_placeholder":true,"num":0}]"#)));
        assert_eq!(packet.attachments, [&b"\x01\x02\x03"[..]]);
    }
    assert_eq!(argument(b"\xc7\x0b\x001234567890a"), Err(DecodeError::AttachmentsTooLarge(10)));
    assert_eq!(argument(b"\xc7\x01\x05\x01"), argument(b"\xd5\x01\0\0"), "an extension that nobody knows");
}

#[test]
fn the_limits_and_shapes_are_those_of_the_default_parser() {
    assert_eq!(argument(b"\x91\x91\x91\x91\x01"), Err(DecodeError::TooDeep(4)));
    assert_eq!(argument(b"\x93\xc4\0\xc4\0\xc4\0"), Err(DecodeError::TooManyAttachments(2)));
    assert_eq!(argument(b"\xc4\x0b01234567890"), Err(DecodeError::AttachmentsTooLarge(10)));
    assert!(matches!(read(&[0x90; 400]), Err(DecodeError::TooLarge { bytes: 400, max: 310 })));
    assert!(matches!(read(b"\x82\xa4type\x02\xa3nsp\xa1/"), Err(DecodeError::Shape { .. })));
    let reserved = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa7connect";
    assert_eq!(read(reserved), Err(DecodeError::ReservedName("connect".to_owned())));
    let negative = b"\x84\xa4type\x03\xa3nsp\xa1/\xa2id\xff\xa4data\x90";
    assert_eq!(read(negative), Err(DecodeError::AckId));
}
