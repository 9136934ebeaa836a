//! Arbitrary binary messages of a client of the msgpack parser.

use bytes::Bytes;
use relais_protocol::socketio::{Limits, msgpack};
use serde_json::Value;

const LIMITS: Limits = Limits {
    packet_bytes: 1_000,
    namespace_bytes: 30,
    depth: 10,
    elements: 10,
    attachments: 4,
    attachment_bytes: 200,
};

/// What is accepted decodes to the same when encoded again.
pub fn read_and_written_again(data: &[u8]) {
    let Ok(packet) = msgpack::decode(&Bytes::copy_from_slice(data), &LIMITS) else { return };
    assert!(packet.attachments.len() <= 4);
    // A duplicate key is encoded once; the value it replaces, and its attachment, may be gone.
    let Ok(value) = serde_json::from_str::<Value>(data_of(&packet)) else { return };
    if data_of(&packet).matches("\"_placeholder\"").count()
        != value.to_string().matches("\"_placeholder\"").count()
    {
        return;
    }
    let wire = msgpack::encode(&packet).expect("what was read can be written");
    let larger = Limits { packet_bytes: 10_000, ..LIMITS };
    let again = msgpack::decode(&wire, &larger).expect("what was written can be read");
    assert_eq!((again.kind, &again.namespace, again.id), (packet.kind, &packet.namespace, packet.id));
    assert_eq!(again.attachments, packet.attachments);
    assert_eq!(serde_json::from_str::<Value>(data_of(&again)).expect("it is JSON"), value);
}

fn data_of(packet: &relais_protocol::socketio::Packet) -> &str {
    packet.data.as_ref().map_or("null", |data| data.as_str())
}
