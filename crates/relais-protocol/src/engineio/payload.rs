//! Many packets in one HTTP body ("HTTP long-polling", "Packet encoding").

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::payload_v3;
use super::{Frame, Packet, PayloadError, Text, Version};

/// Separates two packets of version 4.
const SEPARATOR: u8 = 0x1e;

/// The limits of one payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Maximum bytes of the body: `maxPayload` of the handshake.
    pub bytes: u32,
    /// Maximum number of packets.
    pub packets: u32,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { bytes: 1_000_000, packets: 1_000 }
    }
}

/// An HTTP body to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The body.
    pub body: Bytes,
    /// Whether it is `application/octet-stream` instead of `text/plain; charset=UTF-8`.
    pub binary: bool,
}

/// Takes frames from the front of `queue` into one body: as many as fit in `bytes_max`, but at least one.
///
/// `base64` is for clients of version 3 that asked for it (`b64=1`); version 4 always sends text.
#[must_use]
pub fn encode_payload(
    version: Version,
    base64: bool,
    queue: &mut VecDeque<Frame>,
    bytes_max: u32,
) -> Payload {
    let binary =
        version == Version::V3 && !base64 && queue.iter().any(|frame| matches!(frame, Frame::Binary(_)));
    let mut body = Vec::new();
    let mut one = Vec::new();
    while let Some(frame) = queue.front() {
        one.clear();
        match version {
            Version::V4 => encode_text(frame, !body.is_empty(), &mut one),
            Version::V3 if binary => payload_v3::encode_binary(frame, &mut one),
            Version::V3 => payload_v3::encode_text(frame, &mut one),
        }
        if !body.is_empty() && body.len() + one.len() > bytes_max as usize {
            break;
        }
        body.append(&mut one);
        queue.pop_front();
    }
    Payload { body: body.into(), binary }
}

fn encode_text(frame: &Frame, separated: bool, out: &mut Vec<u8>) {
    if separated {
        out.push(SEPARATOR);
    }
    match frame {
        Frame::Text(text) => out.extend_from_slice(text.as_bytes()),
        Frame::Binary(bytes) => {
            out.push(b'b');
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        }
    }
}

/// Parses the body of a POST; `binary` is set if it was sent as `application/octet-stream`.
///
/// # Errors
/// [`PayloadError`]: answer 400 and close the session.
pub fn decode_payload(
    version: Version,
    body: Bytes,
    binary: bool,
    limits: PayloadLimits,
) -> Result<Vec<Packet>, PayloadError> {
    if body.len() > limits.bytes as usize {
        return Err(PayloadError::TooLarge { bytes: body.len(), max: limits.bytes });
    }
    if version == Version::V3 && binary {
        return payload_v3::decode_binary(&body, limits.packets);
    }
    let text = Text::from_utf8(body).ok_or(PayloadError::NotUtf8)?;
    if version == Version::V3 {
        return payload_v3::decode_text(&text, limits.packets);
    }
    let mut packets = Vec::new();
    for (index, one) in text.as_str().split(char::from(SEPARATOR)).enumerate() {
        if index >= limits.packets as usize {
            return Err(PayloadError::TooManyPackets(limits.packets));
        }
        let packet = Packet::from_text(version, &text.slice_of(one));
        packets.push(packet.map_err(|source| PayloadError::Packet { index, source })?);
    }
    Ok(packets)
}
