//! What is encoded decodes to the same, whatever it is.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use relais_protocol::engineio::{
    Frame, Packet as EnginePacket, PayloadLimits, Text, Version, decode_payload, encode_payload,
};
use relais_protocol::socketio::{Decoder, Kind, Limits, Packet, encode, msgpack};
use serde_json::{Value, json};

/// A message that version 4 can put in a payload: its text contains no separator.
fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        "[^\u{1e}]{0,20}".prop_map(|text| Frame::message(&text)),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Frame::Binary(bytes.into())),
    ]
}

/// Not an integer: that would come back without its fraction, as another kind of JSON number.
fn fraction() -> impl Strategy<Value = f64> {
    proptest::num::f64::NORMAL
        .prop_map(|number| if number.fract() == 0.0 { number.signum() * 1e-9 } else { number })
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        fraction().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::hash_map("[a-z]{0,4}", inner, 0..5).prop_map(|map| json!(map)),
        ]
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let attachments = vec(vec(any::<u8>(), 0..10), 0..4);
    let namespace = "/[a-z]{0,8}";
    (namespace, proptest::option::of(any::<u64>()), any::<bool>(), vec(json(), 0..5), attachments).prop_map(
        |(namespace, id, is_ack, arguments, attachments)| {
            let mut data = vec![Value::from("name")];
            data.extend(arguments);
            data.extend((0..attachments.len()).map(|num| json!({"_placeholder": true, "num": num})));
            let (kind, id) = if is_ack { (Kind::Ack, id.or(Some(0))) } else { (Kind::Event, id) };
            Packet {
                kind,
                namespace,
                id,
                data: Some(Text::from(Value::from(data).to_string())),
                attachments: attachments.into_iter().map(Bytes::from).collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn payloads(v4: bool, base64: bool, frames in vec(frame(), 1..20), bytes_max in 1..200_u32) {
        let version = if v4 { Version::V4 } else { Version::V3 };
        let mut queue: VecDeque<Frame> = frames.iter().cloned().collect();
        let mut read = Vec::new();
        while !queue.is_empty() {
            let before = queue.len();
            let payload = encode_payload(version, base64, &mut queue, bytes_max);
            prop_assert!(payload.body.len() <= bytes_max as usize || before - queue.len() == 1);
            read.extend(decode_payload(version, payload.body, payload.binary, PayloadLimits::default()).unwrap());
        }
        let v4_packet = |frame| EnginePacket::from_frame(Version::V4, frame).unwrap();
        let expected: Vec<EnginePacket> = frames.into_iter().map(v4_packet).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn packets_of_the_default_parser(packet in packet()) {
        let mut decoder = Decoder::new(Limits::default());
        let mut frames = encode(&packet).into_iter();
        let Some(Frame::Text(head)) = frames.next() else { panic!("text comes first") };
        let head = Text::from(head.as_str()[1..].to_owned());
        let mut read = decoder.message(Frame::Text(head)).unwrap();
        for frame in frames {
            prop_assert_eq!(read, None);
            read = decoder.message(frame).unwrap();
        }
        prop_assert_eq!(read, Some(packet));
    }

    #[test]
    fn packets_of_the_msgpack_parser(packet in packet()) {
        let wire = msgpack::encode(&packet).unwrap();
        let read = msgpack::decode(&wire, &Limits::default()).unwrap();
        let value = |packet: &Packet| -> Value { serde_json::from_str(packet.data.as_ref().unwrap().as_str()).unwrap() };
        prop_assert_eq!(value(&read), value(&packet));
        prop_assert_eq!(Packet { data: None, ..read }, Packet { data: None, ..packet });
    }
}
