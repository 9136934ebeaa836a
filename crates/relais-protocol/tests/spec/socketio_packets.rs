//! The default parser [Packet encoding].

use bytes::Bytes;
use relais_protocol::engineio::{Frame, Text};
use relais_protocol::socketio::{
    DecodeError, Decoder, EventArguments, Kind, Limits, Packet, encode, write_event,
};

use crate::{binary, text};

const LIMITS: Limits = Limits {
    packet_bytes: 300,
    namespace_bytes: 20,
    depth: 4,
    elements: 4,
    attachments: 3,
    attachment_bytes: 10,
};

fn packet(kind: Kind, namespace: &str, id: Option<u64>, data: &str) -> Packet {
    let data = (!data.is_empty()).then(|| Text::from(data.to_owned()));
    Packet { id, data, ..Packet::new(kind, namespace) }
}

fn read(wire: &str) -> Result<Packet, DecodeError> {
    let packet = Decoder::new(LIMITS).message(text(wire))?;
    Ok(packet.expect("it has no attachments"))
}

/// The document's tables, without binary.
#[test]
fn the_packets_of_the_document_are_read_and_written_as_it_shows_them() {
    let table = [
        ("0", packet(Kind::Connect, "/", None, "")),
        (
            r#"0{"sid":"wZX3oN0bSVIhsaknAAAI"}"#,
            packet(Kind::Connect, "/", None, r#"{"sid":"wZX3oN0bSVIhsaknAAAI"}"#),
        ),
        ("0/admin,", packet(Kind::Connect, "/admin", None, "")),
        (r#"0/admin,{"sid":"oSO"}"#, packet(Kind::Connect, "/admin", None, r#"{"sid":"oSO"}"#)),
        (
            r#"4{"message":"Not authorized"}"#,
            packet(Kind::ConnectError, "/", None, r#"{"message":"Not authorized"}"#),
        ),
        (r#"2["foo"]"#, packet(Kind::Event, "/", None, r#"["foo"]"#)),
        (r#"2/admin,["bar"]"#, packet(Kind::Event, "/admin", None, r#"["bar"]"#)),
        (r#"212["foo"]"#, packet(Kind::Event, "/", Some(12), r#"["foo"]"#)),
        ("312[]", packet(Kind::Ack, "/", Some(12), "[]")),
        (r#"2/admin,13["foo"]"#, packet(Kind::Event, "/admin", Some(13), r#"["foo"]"#)),
        (r#"3/admin,13["bar"]"#, packet(Kind::Ack, "/admin", Some(13), r#"["bar"]"#)),
        ("1", packet(Kind::Disconnect, "/", None, "")),
        ("1/admin,", packet(Kind::Disconnect, "/admin", None, "")),
    ];
    for (wire, packet) in table {
        assert_eq!(read(wire), Ok(packet.clone()), "{wire}");
        assert_eq!(encode(&packet), [text(&format!("4{wire}"))], "{wire}");
    }
}

/// The document's tables, with binary.
#[test]
fn attachments_follow_their_packet_and_complete_it() {
    let table = [
        (
            r#"52-/admin,["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            Kind::Event,
            None,
        ),
        (
            r#"52-/admin,14["foo",{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]"#,
            Kind::Event,
            Some(14),
        ),
        (r#"62-/admin,15[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#, Kind::Ack, Some(15)),
    ];
    for (wire, kind, id) in table {
        let mut decoder = Decoder::new(LIMITS);
        assert_eq!(decoder.message(text(wire)), Ok(None));
        assert_eq!(decoder.message(binary(b"\x01\x02")), Ok(None));
        let packet = decoder.message(binary(b"\x03\x04")).unwrap().unwrap();
        assert_eq!((packet.kind, packet.id, &*packet.namespace), (kind, id, "/admin"));
        assert_eq!(packet.attachments, [&b"\x01\x02"[..], b"\x03\x04"]);
        let frames = [text(&format!("4{wire}")), binary(b"\x01\x02"), binary(b"\x03\x04")];
        assert_eq!(encode(&packet), frames);
        assert_eq!(decoder.message(text(r#"2["next"]"#)).unwrap().unwrap().attachments, Vec::<Bytes>::new());
    }
}

/// [Difference between v5 and v4] the query in a namespace belongs to clients of protocol 4.
#[test]
fn the_query_of_a_namespace_is_ignored() {
    assert_eq!(read("0/admin?token=abc,"), Ok(packet(Kind::Connect, "/admin", None, "")));
    assert_eq!(read("0/admin"), Ok(packet(Kind::Connect, "/admin", None, "")), "the comma may be missing");
}

/// [Sending and receiving data] "the payload is mandatory and MUST be a non-empty array"; [Acknowledgement] "an
/// array (possibly empty)".
#[test]
fn data_of_another_shape_than_its_type_asks_for_is_refused() {
    for wire in [
        "2",
        "2{}",
        "2[]",
        "2 [ ] ",
        "2\"a\"",
        "2[true]",
        "2[null]",
        "2[[\"a\"]]",
        "212",
        "31",
        "31{}",
        "0[]",
        "0\"a\"",
        "1{}",
        "4",
        "4[]",
    ] {
        assert!(matches!(read(wire), Err(DecodeError::Shape { .. })), "{wire}: {:?}", read(wire));
    }
    for wire in ["2[\"a\"", "2[\"a\"]x", "2[\"a\",]", "2abc", "2-1[\"a\"]", "0{\"a\"}", "2[\"a\"][\"b\"]"] {
        assert_eq!(read(wire), Err(DecodeError::Json), "{wire}");
    }
    assert_eq!(read(""), Err(DecodeError::Empty));
    assert_eq!(read("7"), Err(DecodeError::UnknownKind('7')));
    assert_eq!(read("é"), Err(DecodeError::UnknownKind('é')));
}

#[test]
fn an_acknowledgement_id_is_for_events_and_acknowledgements_and_fits_64_bits() {
    assert_eq!(read(r#"218446744073709551615["a"]"#).unwrap().id, Some(u64::MAX));
    assert_eq!(read(r#"218446744073709551616["a"]"#), Err(DecodeError::AckId));
    assert_eq!(read("3[]"), Err(DecodeError::MissingAckId));
    assert_eq!(read("01{}"), Err(DecodeError::UnexpectedAckId(Kind::Connect)));
    assert_eq!(read("11"), Err(DecodeError::UnexpectedAckId(Kind::Disconnect)));
}

#[test]
fn reserved_event_names_are_refused_however_they_are_written() {
    for name in ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"] {
        let error = Err(DecodeError::ReservedName(name.to_owned()));
        assert_eq!(read(&format!(r#"2["{name}",1]"#)), error);
        let escaped = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        assert_eq!(read(&format!(r#"2["{escaped}",1]"#)), error);
    }
    assert!(read(r#"2["Connect"]"#).is_ok());
}

#[test]
fn every_placeholder_has_an_attachment_and_every_attachment_a_placeholder() {
    let one = r#"{"_placeholder":true,"num":0}"#;
    let range = |num: &str| DecodeError::PlaceholderRange { num: num.to_owned(), count: 1 };
    for (data, error) in [
        (r#"{"_placeholder":true,"num":1}"#.to_owned(), range("1")),
        (r#"{"_placeholder":true,"num":-1}"#.to_owned(), range("-1")),
        (r#"{"_placeholder":true,"num":0.5}"#.to_owned(), range("0.5")),
        (r#"{"_placeholder":true,"num":"0"}"#.to_owned(), range("\"0\"")),
        (r#"{"_placeholder":true}"#.to_owned(), range("null")),
        (format!("{one},{one}"), DecodeError::PlaceholderTwice(0)),
        ("1".to_owned(), DecodeError::PlaceholderMissing(0)),
    ] {
        assert_eq!(read(&format!(r#"51-["a",{data}]"#)), Err(error), "{data}");
    }
    let plain = read(&format!(r#"2["a",{one}]"#)).unwrap();
    assert_eq!(plain.attachments.len(), 0, "in a packet without attachments it is an object like any other");
}

#[test]
fn the_number_of_attachments_is_a_number_within_the_limit() {
    for wire in ["5[\"a\"]", "5-[\"a\"]", "5x-[\"a\"]", "5+1-[\"a\"]", "51", "59999999999-[\"a\"]"] {
        assert_eq!(read(wire), Err(DecodeError::AttachmentCount), "{wire}");
    }
    assert_eq!(read("54-[\"a\"]"), Err(DecodeError::TooManyAttachments(3)));
    assert_eq!(read("50-[\"a\"]"), Ok(packet(Kind::Event, "/", None, "[\"a\"]")));
}

#[test]
fn attachments_come_when_they_are_announced_and_within_their_limit() {
    let announced = r#"51-["a",{"_placeholder":true,"num":0}]"#;
    let mut decoder = Decoder::new(LIMITS);
    assert_eq!(decoder.message(binary(b"\x01")), Err(DecodeError::UnexpectedBinary));
    decoder.message(text(announced)).unwrap();
    assert_eq!(decoder.message(text(r#"2["a"]"#)), Err(DecodeError::ExpectedBinary(1)));
    assert_eq!(decoder.message(binary(&[0; 11])), Err(DecodeError::AttachmentsTooLarge(10)));
}

#[test]
fn a_packet_past_a_limit_is_refused_with_the_limit() {
    let long = "x".repeat(300);
    assert_eq!(read(&format!(r#"2["{long}"]"#)), Err(DecodeError::TooLarge { bytes: 305, max: 300 }));
    assert_eq!(read("0/a_name_of_more_than_20,"), Err(DecodeError::NamespaceTooLong(20)));
    assert!(read(r#"2["a",[[[1]]]]"#).is_ok());
    assert_eq!(read(r#"2["a",[[[[1]]]]]"#), Err(DecodeError::TooDeep(4)));
    assert!(
        read(r#"2["a",{"[[[[[[\"{":",,,,,"},[1,2,3,4,5],","]"#).is_ok(),
        "what a string holds counts nothing"
    );
    assert_eq!(read(r#"2["a",1,2,3,4]"#), Err(DecodeError::TooManyElements(4)));
}

#[test]
fn an_event_is_its_name_and_the_text_of_its_arguments() {
    let data = read(r#"2["a\u0062", 1.50 ,{"z":1, "a":"é"}]"#).unwrap().data.unwrap();
    let event = EventArguments::of(&data).unwrap();
    assert_eq!(event.name, "ab");
    let arguments: Vec<&str> = event.arguments.iter().map(|argument| argument.get()).collect();
    assert_eq!(arguments, ["1.50", r#"{"z":1, "a":"é"}"#], "as they came");
}

/// As `socket.emit(1)` sends it.
#[test]
fn a_number_is_the_name_of_an_event_too() {
    for (text, name) in [("2[1,\"a\"]", "1"), ("2[-2.5]", "-2.5"), ("2[ 0 ]", "0")] {
        let data = read(text).unwrap().data.unwrap();
        assert_eq!(EventArguments::of(&data).unwrap().name, name);
    }
    for other in ["2[true]", "2[null,1]", "2[{}]", "2[[]]"] {
        assert!(matches!(read(other), Err(DecodeError::Shape { .. })), "{other}");
    }
}

#[test]
fn an_event_of_ready_json_is_written_by_putting_it_together() {
    let written = |namespace, id, arguments, offset| {
        let mut out = Vec::new();
        write_event(namespace, id, "a\"b", arguments, offset, &mut out);
        Frame::Text(Text::from_utf8(out.into()).unwrap())
    };
    assert_eq!(written("/", None, "", None), text(r#"42["a\"b"]"#));
    assert_eq!(written("/", None, "1,{}", None), text(r#"42["a\"b",1,{}]"#));
    assert_eq!(written("/chat", Some(7), "1", Some("e-9")), text(r#"42/chat,7["a\"b",1,"e-9"]"#));
}
