//! Payloads of version 3 (its section "Payload"): every packet is prefixed with its length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Frame, Packet, PayloadError, Text, Version};

/// Terminates a length in the binary form.
const LENGTH_END: u8 = 255;
const LENGTH_DIGITS_MAX: usize = 9;

/// `<length>:<packet>`, the length in UTF-16 code units, as JavaScript counts; binary as `b4` and base64.
pub(super) fn encode_text(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Text(text) => {
            out.extend_from_slice(text.as_str().encode_utf16().count().to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(text.as_bytes());
        }
        Frame::Binary(bytes) => {
            let base64 = STANDARD.encode(bytes);
            out.extend_from_slice(format!("{}:b4{base64}", base64.len() + 2).as_bytes());
        }
    }
}

/// `<0 text, 1 binary><digits as bytes 0 to 9><255><packet>`, the length in bytes.
pub(super) fn encode_binary(frame: &Frame, out: &mut Vec<u8>) {
    let is_binary = matches!(frame, Frame::Binary(_));
    out.push(u8::from(is_binary));
    let length = frame.len() + usize::from(is_binary);
    out.extend(length.to_string().bytes().map(|digit| digit - b'0'));
    out.push(LENGTH_END);
    match frame {
        Frame::Text(text) => out.extend_from_slice(text.as_bytes()),
        Frame::Binary(bytes) => {
            out.push(4);
            out.extend_from_slice(bytes);
        }
    }
}

pub(super) fn decode_text(text: &Text, packets_max: u32) -> Result<Vec<Packet>, PayloadError> {
    let mut rest = text.as_str();
    let mut packets = Vec::new();
    while !rest.is_empty() || packets.is_empty() {
        let index = packets.len();
        if index >= packets_max as usize {
            return Err(PayloadError::TooManyPackets(packets_max));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=LENGTH_DIGITS_MAX).contains(&digits) || rest.as_bytes().get(digits) != Some(&b':') {
            return Err(PayloadError::Length(index));
        }
        let units = rest[..digits].parse().map_err(|_| PayloadError::Length(index))?;
        rest = &rest[digits + 1..];
        let bytes = bytes_of_units(rest, units).ok_or(PayloadError::Truncated(index))?;
        let packet = Packet::from_text(Version::V3, &text.slice_of(&rest[..bytes]));
        packets.push(packet.map_err(|source| PayloadError::Packet { index, source })?);
        rest = &rest[bytes..];
    }
    Ok(packets)
}

/// The number of bytes in the first `units` UTF-16 code units of `text`.
fn bytes_of_units(text: &str, mut units: usize) -> Option<usize> {
    for (at, char) in text.char_indices() {
        if units == 0 {
            return Some(at);
        }
        units = units.checked_sub(char.len_utf16())?;
    }
    (units == 0).then_some(text.len())
}

pub(super) fn decode_binary(body: &Bytes, packets_max: u32) -> Result<Vec<Packet>, PayloadError> {
    let mut at = 0;
    let mut packets = Vec::new();
    while at < body.len() || packets.is_empty() {
        let index = packets.len();
        if index >= packets_max as usize {
            return Err(PayloadError::TooManyPackets(packets_max));
        }
        let (binary, bytes, head) = read_head(&body[at..]).ok_or(PayloadError::Length(index))?;
        at += head;
        if bytes > body.len() - at {
            return Err(PayloadError::Truncated(index));
        }
        let data = body.slice(at..at + bytes);
        let frame = if binary {
            Frame::Binary(data)
        } else {
            Frame::Text(Text::from_utf8(data).ok_or(PayloadError::NotUtf8)?)
        };
        let packet = Packet::from_frame(Version::V3, frame);
        packets.push(packet.map_err(|source| PayloadError::Packet { index, source })?);
        at += bytes;
    }
    Ok(packets)
}

/// Whether a packet is binary, its length, and the length of this header.
fn read_head(rest: &[u8]) -> Option<(bool, usize, usize)> {
    let (&form, rest) = rest.split_first().filter(|(form, _)| **form <= 1)?;
    let mut bytes = 0;
    for (i, &digit) in rest.iter().take(LENGTH_DIGITS_MAX + 1).enumerate() {
        match digit {
            LENGTH_END if i > 0 => return Some((form == 1, bytes, i + 2)),
            0..=9 => bytes = bytes * 10 + usize::from(digit),
            _ => return None,
        }
    }
    None
}
