//! Arbitrary HTTP bodies.

use bytes::Bytes;
use relais_protocol::engineio::{
    Frame, Kind, Packet, PayloadLimits, Version, decode_payload, encode_payload,
};

const LIMITS: PayloadLimits = PayloadLimits { bytes: 2_000, packets: 50 };

/// The first byte chooses the version and the form, the rest is the body. Its messages, encoded again, decode to the
/// same.
pub fn read_and_written_again(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let version = if choice & 1 == 0 { Version::V4 } else { Version::V3 };
    let Ok(packets) = decode_payload(version, Bytes::copy_from_slice(body), choice & 2 != 0, LIMITS) else {
        return;
    };
    assert!((1..=50).contains(&packets.len()), "{} packets", packets.len());
    let messages: Vec<Packet> = packets.into_iter().filter(|packet| packet.kind == Kind::Message).collect();
    if messages.is_empty() {
        return;
    }
    let mut queue = messages
        .iter()
        .map(|packet| match &packet.data {
            Frame::Text(text) => Frame::message(text.as_str()),
            binary @ Frame::Binary(_) => binary.clone(),
        })
        .collect();
    let payload = encode_payload(version, choice & 4 != 0, &mut queue, u32::MAX);
    let limits = PayloadLimits { bytes: u32::MAX, packets: 50 };
    assert_eq!(decode_payload(version, payload.body, payload.binary, limits), Ok(messages));
}
