//! Decoding packets of the default parser ("Packet encoding").

use bytes::Bytes;

use super::data::{check, check_placeholders};
use super::{DecodeError, Kind, Limits, Packet};
use crate::engineio::{Frame, Text};

/// Assembles packets from the data of Engine.IO messages, in order.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// A binary packet whose attachments have not all arrived.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    packet: Packet,
    missing: usize,
    bytes: usize,
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, waiting: None }
    }

    /// Consumes the next message; returns the packet that it completes.
    ///
    /// # Errors
    /// [`DecodeError`]: close the connection; the decoder must not be used again.
    pub fn message(&mut self, message: Frame) -> Result<Option<Packet>, DecodeError> {
        match message {
            Frame::Text(text) => self.text(&text),
            Frame::Binary(bytes) => self.attachment(bytes),
        }
    }

    fn text(&mut self, text: &Text) -> Result<Option<Packet>, DecodeError> {
        if let Some(waiting) = &self.waiting {
            return Err(DecodeError::ExpectedBinary(waiting.missing));
        }
        let (packet, missing) = read_packet(text, &self.limits)?;
        if missing == 0 {
            return Ok(Some(packet));
        }
        self.waiting = Some(Box::new(Waiting { packet, missing, bytes: 0 }));
        Ok(None)
    }

    fn attachment(&mut self, bytes: Bytes) -> Result<Option<Packet>, DecodeError> {
        let waiting = self.waiting.as_mut().ok_or(DecodeError::UnexpectedBinary)?;
        waiting.bytes += bytes.len();
        if waiting.bytes > self.limits.attachment_bytes as usize {
            return Err(DecodeError::AttachmentsTooLarge(self.limits.attachment_bytes));
        }
        waiting.packet.attachments.push(bytes);
        waiting.missing -= 1;
        if waiting.missing > 0 {
            return Ok(None);
        }
        Ok(self.waiting.take().map(|waiting| waiting.packet))
    }
}

/// `<type>[<attachments>-][<namespace>,][<id>][<data>]`: the packet, and how many attachments follow.
fn read_packet(text: &Text, limits: &Limits) -> Result<(Packet, usize), DecodeError> {
    let whole = text.as_str();
    if whole.len() > limits.packet_bytes as usize {
        return Err(DecodeError::TooLarge { bytes: whole.len(), max: limits.packet_bytes });
    }
    let first = whole.chars().next().ok_or(DecodeError::Empty)?;
    let (kind, binary) = match first {
        '0' => (Kind::Connect, false),
        '1' => (Kind::Disconnect, false),
        '2' => (Kind::Event, false),
        '3' => (Kind::Ack, false),
        '4' => (Kind::ConnectError, false),
        '5' => (Kind::Event, true),
        '6' => (Kind::Ack, true),
        other => return Err(DecodeError::UnknownKind(other)),
    };
    let mut rest = &whole[1..];
    let count = if binary { read_count(&mut rest, limits)? } else { 0 };
    let mut packet = Packet::new(kind, read_namespace(&mut rest, limits)?);
    packet.id = read_id(&mut rest)?;
    packet.data = (!rest.is_empty()).then(|| text.slice_of(rest));
    check(&packet, limits)?;
    if let Some(data) = packet.data.as_ref().filter(|_| binary) {
        check_placeholders(data, count)?;
    }
    Ok((packet, count))
}

fn read_count(rest: &mut &str, limits: &Limits) -> Result<usize, DecodeError> {
    let (digits, after) = rest.split_once('-').ok_or(DecodeError::AttachmentCount)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecodeError::AttachmentCount);
    }
    let count: usize = digits.parse().map_err(|_| DecodeError::AttachmentCount)?;
    if count > limits.attachments as usize {
        return Err(DecodeError::TooManyAttachments(limits.attachments));
    }
    *rest = after;
    Ok(count)
}

/// A namespace ends at a comma or at the end of the packet; a query after it, which old clients send, is dropped.
fn read_namespace<'a>(rest: &mut &'a str, limits: &Limits) -> Result<&'a str, DecodeError> {
    if !rest.starts_with('/') {
        return Ok("/");
    }
    let (whole, after) = rest.split_once(',').unwrap_or((rest, ""));
    if whole.len() > limits.namespace_bytes as usize {
        return Err(DecodeError::NamespaceTooLong(limits.namespace_bytes));
    }
    *rest = after;
    Ok(whole.split_once('?').map_or(whole, |(name, _)| name))
}

fn read_id(rest: &mut &str) -> Result<Option<u64>, DecodeError> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Ok(None);
    }
    let id = rest[..digits].parse().map_err(|_| DecodeError::AckId)?;
    *rest = &rest[digits..];
    Ok(Some(id))
}
