//! From JSON text and attachments to msgpack.

use bytes::Bytes;
use serde_json::{Number, Value};

use super::super::data::placeholder;
use super::{DecodeError, Packet};

/// Encodes a packet as one message.
///
/// # Errors
/// [`DecodeError`] if its data is not JSON or a placeholder refers to no attachment.
pub fn encode(packet: &Packet) -> Result<Bytes, DecodeError> {
    let mut out = Vec::new();
    let members = 2 + u8::from(packet.data.is_some()) + u8::from(packet.id.is_some());
    out.push(0x80 | members);
    write_string("type", &mut out);
    out.push(packet.kind as u8);
    if let Some(data) = &packet.data {
        let value: Value = serde_json::from_str(data.as_str()).map_err(|_| DecodeError::Json)?;
        write_string("data", &mut out);
        write_value(&value, &packet.attachments, &mut out)?;
    }
    write_string("nsp", &mut out);
    write_string(&packet.namespace, &mut out);
    if let Some(id) = packet.id {
        write_string("id", &mut out);
        write_number(&Number::from(id), &mut out);
    }
    Ok(out.into())
}

fn write_value(value: &Value, attachments: &[Bytes], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(elements) => {
            write_head(elements.len(), 0x90, [0xdc, 0xdd], out);
            for element in elements {
                write_value(element, attachments, out)?;
            }
        }
        Value::Object(members) => {
            let attached = if attachments.is_empty() { None } else { placeholder(value, attachments.len())? };
            if let Some(num) = attached {
                write_binary(&attachments[num], out);
                return Ok(());
            }
            write_head(members.len(), 0x80, [0xde, 0xdf], out);
            for (key, member) in members {
                write_string(key, out);
                write_value(member, attachments, out)?;
            }
        }
    }
    Ok(())
}

/// The header of an array or map: one byte up to 15 elements, else two or four more.
#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits; nothing here has 2^32 elements")]
fn write_head(length: usize, short: u8, long: [u8; 2], out: &mut Vec<u8>) {
    match length {
        0..=15 => out.push(short | length as u8),
        16..=0xffff => {
            out.push(long[0]);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(long[1]);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits; nothing here has 2^32 bytes")]
fn write_string(text: &str, out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length => write_length(length, 0xd9, out),
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), 0xc4, out);
    out.extend_from_slice(bytes);
}

/// A length in one, two or four bytes, after the corresponding one of three markers.
#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits; nothing here has 2^32 bytes")]
fn write_length(length: usize, mark: u8, out: &mut Vec<u8>) {
    match length {
        0..=0xff => out.extend_from_slice(&[mark, length as u8]),
        0x100..=0xffff => {
            out.push(mark + 1);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(mark + 2);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(value) = number.as_u64() {
        write_unsigned(value, out);
    } else if let Some(value) = number.as_i64() {
        write_negative(value, out);
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.as_f64().unwrap_or(0.0).to_be_bytes());
    }
}

fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    if let Ok(value @ 0..=0x7f) = u8::try_from(value) {
        out.push(value);
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn write_negative(value: i64, out: &mut Vec<u8>) {
    if let Ok(value) = i8::try_from(value) {
        out.push(0xd0);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}
