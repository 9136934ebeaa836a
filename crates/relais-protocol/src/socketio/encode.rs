//! Encoding packets of the default parser, as whole Engine.IO messages.

use super::{Kind, Packet};
use crate::engineio::{Frame, Text};

/// The Engine.IO type in front of every packet.
const MESSAGE: u8 = b'4';

/// Appends an event as a whole text message, `42["name",…]`. `arguments` is comma-separated JSON values, written
/// unchanged; so is `offset`, a JSON string that is the last argument for a client that recovers.
pub fn write_event(
    namespace: &str,
    id: Option<u64>,
    name: &str,
    arguments: &str,
    offset: Option<&str>,
    out: &mut Vec<u8>,
) {
    write_head(Kind::Event, 0, namespace, id, out);
    write_array(Some(name), arguments, offset, out);
}

/// Appends `["name",<arguments>,"offset"]`.
pub(super) fn write_array(name: Option<&str>, arguments: &str, offset: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'[');
    if let Some(name) = name {
        write_string(name, out);
    }
    if !arguments.is_empty() {
        if name.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(arguments.as_bytes());
    }
    if let Some(offset) = offset {
        out.push(b',');
        write_string(offset, out);
    }
    out.push(b']');
}

pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and memory can be written");
}

/// The Engine.IO messages of a packet: its text, then its attachments.
#[must_use]
pub fn encode(packet: &Packet) -> Vec<Frame> {
    let mut out = Vec::new();
    write_head(packet.kind, packet.attachments.len(), &packet.namespace, packet.id, &mut out);
    out.extend_from_slice(packet.data.as_ref().map_or(&[][..], |data| data.as_bytes()));
    let mut frames = vec![Frame::Text(text(out))];
    frames.extend(packet.attachments.iter().cloned().map(Frame::Binary));
    frames
}

fn write_head(kind: Kind, attachments: usize, namespace: &str, id: Option<u64>, out: &mut Vec<u8>) {
    let binary = attachments > 0 && matches!(kind, Kind::Event | Kind::Ack);
    // BINARY_EVENT is 5 and BINARY_ACK is 6, three above their plain forms.
    let digit = kind as u8 + if binary { 3 } else { 0 };
    out.extend_from_slice(&[MESSAGE, b'0' + digit]);
    if binary {
        out.extend_from_slice(format!("{attachments}-").as_bytes());
    }
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
    if let Some(id) = id {
        out.extend_from_slice(id.to_string().as_bytes());
    }
}

/// Bytes written from text are valid UTF-8.
pub(super) fn text(bytes: Vec<u8>) -> Text {
    Text::from_utf8(bytes.into()).expect("made of text only")
}
