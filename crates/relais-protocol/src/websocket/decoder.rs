//! Decoding what a client sends.

use super::ProtocolError;
use super::deflate::unpack;
use super::header::{Header, Opcode};
use super::mask::apply_mask;

/// The limits of what a connection may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Payload of one frame, in bytes.
    pub frame_bytes: u32,
    /// Payload of one message, over all its fragments, in bytes.
    pub message_bytes: u32,
    /// Fragments of one message.
    pub fragments: u32,
    /// Whether messages may be compressed, as negotiated in the handshake. `message_bytes` then limits the decompressed
    /// size.
    pub deflate: bool,
    /// Whether a text that is not UTF-8 is returned as a binary message. Section 8.1 requires the connection to fail,
    /// which is right for browsers; firmware that writes Latin-1 is better sent an error that names the problem.
    pub any_text: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 * 1024,
            message_bytes: 256 * 1024,
            fragments: 64,
            deflate: false,
            any_text: false,
        }
    }
}

/// A message from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// Answer with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The end; answer with a close frame. What follows is not read (section 5.5.1).
    Close(Option<Close<'a>>),
}

/// Why a client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// A code that may be sent on the wire (section 7.4).
    pub code: u16,
    /// A human-readable text, often empty.
    pub reason: &'a str,
}

/// Decodes the frames of a client as their bytes arrive, and rejects everything that RFC 6455 rejects.
///
/// A frame that arrives whole is unmasked in place and borrowed from there; bytes are buffered only while a frame or a
/// fragmented message is incomplete, so an idle connection costs the size of this struct.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The start of an incomplete frame, or a whole frame that was just returned.
    partial: Vec<u8>,
    fragments: Option<Box<Fragments>>,
    /// What was returned last; the next call releases it.
    handed_out: HandedOut,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandedOut {
    Nothing,
    Partial,
    Fragments,
}

/// Where a whole frame is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Input,
    Partial,
}

/// A message in progress.
#[derive(Debug)]
struct Fragments {
    text: bool,
    compressed: bool,
    bytes: Vec<u8>,
    /// Up to here `bytes` is whole UTF-8 characters.
    checked: usize,
    count: u32,
}

impl Decoder {
    /// A decoder at the start of a connection.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, partial: Vec::new(), fragments: None, handed_out: HandedOut::Nothing, closed: false }
    }

    /// The next message in `input`, which is advanced past what was read; `None` if all is read and more must arrive.
    /// The message borrows from `input` or from the decoder.
    ///
    /// # Errors
    /// [`ProtocolError`]: answer with a close frame of its code and end the connection; the decoder must not be used
    /// again.
    pub fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b mut [u8],
    ) -> Result<Option<Message<'a>>, ProtocolError> {
        self.release();
        let any_text = self.limits.any_text;
        while !self.closed {
            let Some((header, place)) = self.locate(input)? else { return Ok(None) };
            self.check_order(&header)?;
            if !header.fin || header.opcode == Opcode::Continuation {
                if self.gather(&header, place, input)? {
                    return self.gathered().map(Some);
                }
                continue;
            }
            self.closed = header.opcode == Opcode::Close;
            if place == Place::Input {
                let payload = cut(input, &header);
                if header.compressed {
                    return self.unpacked(header.opcode, payload).map(Some);
                }
                return message(header.opcode, payload, any_text).map(Some);
            }
            if header.compressed {
                let mut kept = std::mem::take(&mut self.partial);
                let payload = &mut kept[header.head_bytes..];
                apply_mask(payload, header.key);
                return self.unpacked(header.opcode, payload).map(Some);
            }
            self.handed_out = HandedOut::Partial;
            let payload = &mut self.partial[header.head_bytes..];
            apply_mask(payload, header.key);
            return message(header.opcode, payload, any_text).map(Some);
        }
        *input = &mut [];
        Ok(None)
    }

    /// Whether a frame or a fragmented message is incomplete, once [`Decoder::next`] has returned `None`.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.handed_out == HandedOut::Nothing && (!self.partial.is_empty() || self.fragments.is_some())
    }

    /// Bytes buffered for what is incomplete, or for the message that was returned last.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.partial.capacity() + self.fragments.as_ref().map_or(0, |f| f.bytes.capacity())
    }

    fn release(&mut self) {
        match self.handed_out {
            HandedOut::Nothing => return,
            HandedOut::Partial => self.partial = Vec::new(),
            HandedOut::Fragments => self.fragments = None,
        }
        self.handed_out = HandedOut::Nothing;
    }

    /// Finds the next whole frame, or buffers what there is of it.
    fn locate(&mut self, input: &mut &mut [u8]) -> Result<Option<(Header, Place)>, ProtocolError> {
        if self.partial.is_empty() {
            return match Header::read(input, &self.limits)? {
                Some(header) if input.len() >= header.frame_bytes() => Ok(Some((header, Place::Input))),
                _ => {
                    self.keep(input, usize::MAX);
                    Ok(None)
                }
            };
        }
        // Never beyond the header until the length is known, then never beyond the frame.
        let mut header = Header::read(&self.partial, &self.limits)?;
        while header.is_none() && !input.is_empty() {
            self.keep(input, 1);
            header = Header::read(&self.partial, &self.limits)?;
        }
        let Some(header) = header else { return Ok(None) };
        self.keep(input, header.frame_bytes() - self.partial.len());
        Ok((self.partial.len() == header.frame_bytes()).then_some((header, Place::Partial)))
    }

    fn keep(&mut self, input: &mut &mut [u8], bytes_max: usize) {
        let bytes = bytes_max.min(input.len());
        let (kept, rest) = std::mem::take(input).split_at_mut(bytes);
        self.partial.extend_from_slice(kept);
        *input = rest;
    }

    /// Sections 5.4 and 5.5: control frames may come between fragments, other messages may not.
    fn check_order(&self, header: &Header) -> Result<(), ProtocolError> {
        match (header.opcode, &self.fragments) {
            (Opcode::Continuation, None) => Err(ProtocolError::UnexpectedContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(ProtocolError::ExpectedContinuation),
            _ if header.payload_bytes > self.limits.message_bytes as usize => {
                Err(ProtocolError::MessageTooLarge(self.limits.message_bytes))
            }
            _ => Ok(()),
        }
    }

    /// Adds a fragment to its message; true if it is the last.
    fn gather(
        &mut self,
        header: &Header,
        place: Place,
        input: &mut &mut [u8],
    ) -> Result<bool, ProtocolError> {
        let mut kept = Vec::new();
        let payload = match place {
            Place::Input => cut(input, header),
            Place::Partial => {
                kept = std::mem::take(&mut self.partial);
                let payload = &mut kept[header.head_bytes..];
                apply_mask(payload, header.key);
                payload
            }
        };
        let fragments = self.fragments.get_or_insert_with(|| Box::new(Fragments::of(header)));
        fragments.add(payload, &self.limits)?;
        drop(kept);
        Ok(header.fin)
    }

    /// A compressed message in a single frame.
    fn unpacked(&mut self, opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, ProtocolError> {
        let bytes = unpack(payload, self.limits.message_bytes)?;
        let text = opcode == Opcode::Text;
        self.fragments = Some(Box::new(Fragments { text, compressed: false, bytes, checked: 0, count: 1 }));
        self.gathered()
    }

    fn gathered(&mut self) -> Result<Message<'_>, ProtocolError> {
        self.handed_out = HandedOut::Fragments;
        let Some(fragments) = &mut self.fragments else { return Err(ProtocolError::UnexpectedContinuation) };
        if std::mem::take(&mut fragments.compressed) {
            fragments.bytes = unpack(&fragments.bytes, self.limits.message_bytes)?;
        }
        let opcode = if fragments.text { Opcode::Text } else { Opcode::Binary };
        message(opcode, &fragments.bytes, self.limits.any_text)
    }
}

impl Fragments {
    fn of(header: &Header) -> Self {
        let (text, compressed) = (header.opcode == Opcode::Text, header.compressed);
        Self { text, compressed, bytes: Vec::new(), checked: 0, count: 0 }
    }

    fn add(&mut self, payload: &[u8], limits: &Limits) -> Result<(), ProtocolError> {
        self.count += 1;
        if self.count > limits.fragments {
            return Err(ProtocolError::TooManyFragments(limits.fragments));
        }
        if self.bytes.len() + payload.len() > limits.message_bytes as usize {
            return Err(ProtocolError::MessageTooLarge(limits.message_bytes));
        }
        self.bytes.extend_from_slice(payload);
        if self.text && !self.compressed && !limits.any_text { self.check_text() } else { Ok(()) }
    }

    /// Section 8.1: fails at the first byte that cannot be UTF-8; a character split by the end of a fragment is checked
    /// again with the next one.
    fn check_text(&mut self) -> Result<(), ProtocolError> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(ProtocolError::NotUtf8),
        }
        Ok(())
    }
}

/// Splits a whole frame off the front of `input` and unmasks its payload in place.
fn cut<'b>(input: &mut &'b mut [u8], header: &Header) -> &'b mut [u8] {
    let (frame, rest) = std::mem::take(input).split_at_mut(header.frame_bytes());
    *input = rest;
    let payload = &mut frame[header.head_bytes..];
    apply_mask(payload, header.key);
    payload
}

fn message(opcode: Opcode, payload: &[u8], any_text: bool) -> Result<Message<'_>, ProtocolError> {
    Ok(match opcode {
        Opcode::Text => match std::str::from_utf8(payload) {
            Ok(text) => Message::Text(text),
            Err(_) if any_text => Message::Binary(payload),
            Err(_) => return Err(ProtocolError::NotUtf8),
        },
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => Message::Close(close(payload)?),
    })
}

/// Sections 5.5.1 and 7.4.
fn close(payload: &[u8]) -> Result<Option<Close<'_>>, ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(ProtocolError::CloseLength),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ProtocolError::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ProtocolError::NotUtf8)?;
    Ok(Some(Close { code, reason }))
}

#[cfg(test)]
mod tests;
