//! The JSON of a packet: its shape, limits and placeholders.

use std::borrow::Cow;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{DecodeError, Kind, Limits, Packet};
use crate::engineio::Text;

/// The event names reserved by the libraries.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Whether this event name is reserved.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// An event's name and arguments, borrowed from its data.
#[derive(Clone, Debug)]
pub struct EventArguments<'a> {
    /// The first element; for a number, its text.
    pub name: Cow<'a, str>,
    /// The other elements, as received.
    pub arguments: Vec<&'a RawValue>,
}

impl<'a> EventArguments<'a> {
    /// Reads them from the data of an event that a decoder accepted; `None` for other data.
    #[must_use]
    pub fn of(data: &'a Text) -> Option<Self> {
        let mut elements: Vec<&RawValue> = serde_json::from_str(data.as_str()).ok()?;
        let first = (!elements.is_empty()).then(|| elements.remove(0))?;
        Some(Self { name: name(first)?, arguments: elements })
    }
}

fn name(first: &RawValue) -> Option<Cow<'_, str>> {
    let text = first.get();
    // The libraries accept a number as a name too.
    if text.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        return Some(Cow::Borrowed(text));
    }
    // Serde borrows a string only behind a type that asks for it, and nearly every name is plain.
    match serde_json::from_str::<&str>(text) {
        Ok(name) => Some(Cow::Borrowed(name)),
        Err(_) => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
    }
}

/// Checks everything in a packet but its attachments.
pub(super) fn check(packet: &Packet, limits: &Limits) -> Result<(), DecodeError> {
    let kind = packet.kind;
    match (kind, packet.id) {
        (Kind::Ack, None) => return Err(DecodeError::MissingAckId),
        (Kind::Connect | Kind::Disconnect | Kind::ConnectError, Some(_)) => {
            return Err(DecodeError::UnexpectedAckId(kind));
        }
        _ => {}
    }
    let Some(data) = &packet.data else { return check_absent(kind) };
    let json: &RawValue = serde_json::from_str(data.as_str()).map_err(|_| DecodeError::Json)?;
    let elements = check_size(json.get().as_bytes(), limits)?;
    check_shape(kind, data, json.get().as_bytes()[0], elements)
}

fn check_absent(kind: Kind) -> Result<(), DecodeError> {
    match kind {
        Kind::Connect | Kind::Disconnect => Ok(()),
        Kind::Event => shape(kind, "an array whose first element is the event's name"),
        Kind::Ack => shape(kind, "an array"),
        Kind::ConnectError => shape(kind, "an object with a message, or a string"),
    }
}

fn check_shape(kind: Kind, data: &Text, first: u8, elements: u32) -> Result<(), DecodeError> {
    match (kind, first) {
        (Kind::Connect, b'{') | (Kind::Ack, b'[') | (Kind::ConnectError, b'{' | b'"') => Ok(()),
        (Kind::Connect, _) => shape(kind, "an object, or absent"),
        (Kind::Disconnect, _) => shape(kind, "absent"),
        (Kind::Event, b'[') if elements > 0 => match EventArguments::of(data) {
            Some(event) if is_reserved(&event.name) => {
                Err(DecodeError::ReservedName(event.name.into_owned()))
            }
            Some(_) => Ok(()),
            None => check_absent(kind),
        },
        (Kind::Event | Kind::Ack | Kind::ConnectError, _) => check_absent(kind),
    }
}

const fn shape(kind: Kind, expected: &'static str) -> Result<(), DecodeError> {
    Err(DecodeError::Shape { kind, expected })
}

/// Walks valid JSON once for its depth and the number of elements of the outermost array.
fn check_size(json: &[u8], limits: &Limits) -> Result<u32, DecodeError> {
    let (mut depth, mut commas, mut in_string, mut escaped, mut empty) = (0, 0, false, false, true);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b']' | b'}' => depth -= 1,
            b',' if depth == 1 => commas += 1,
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => {}
        }
        empty &= depth == 0;
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            _ => {}
        }
        if depth > limits.depth {
            return Err(DecodeError::TooDeep(limits.depth));
        }
        if json[0] == b'[' && commas >= limits.elements {
            return Err(DecodeError::TooManyElements(limits.elements));
        }
    }
    Ok(if empty { 0 } else { commas + 1 })
}

/// Every attachment has exactly one placeholder, and every placeholder an attachment.
pub(super) fn check_placeholders(data: &Text, count: usize) -> Result<(), DecodeError> {
    let value: Value = serde_json::from_str(data.as_str()).map_err(|_| DecodeError::Json)?;
    let mut seen = vec![false; count];
    mark_placeholders(&value, &mut seen)?;
    seen.iter().position(|seen| !seen).map_or(Ok(()), |num| Err(DecodeError::PlaceholderMissing(num)))
}

fn mark_placeholders(value: &Value, seen: &mut [bool]) -> Result<(), DecodeError> {
    match value {
        Value::Array(elements) => elements.iter().try_for_each(|element| mark_placeholders(element, seen)),
        Value::Object(_) => match placeholder(value, seen.len())? {
            Some(num) if std::mem::replace(&mut seen[num], true) => Err(DecodeError::PlaceholderTwice(num)),
            Some(_) => Ok(()),
            None => {
                let mut members = value.as_object().into_iter().flat_map(serde_json::Map::values);
                members.try_for_each(|member| mark_placeholders(member, seen))
            }
        },
        _ => Ok(()),
    }
}

/// The index of the attachment (out of `count`) that an object stands for, if it is a placeholder.
pub(super) fn placeholder(value: &Value, count: usize) -> Result<Option<usize>, DecodeError> {
    if value.get("_placeholder") != Some(&Value::Bool(true)) {
        return Ok(None);
    }
    let num = value.get("num").unwrap_or(&Value::Null);
    let place = num.as_u64().and_then(|num| usize::try_from(num).ok()).filter(|num| *num < count);
    place.map(Some).ok_or_else(|| DecodeError::PlaceholderRange { num: num.to_string(), count })
}
