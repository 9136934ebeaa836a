//! From msgpack to JSON text and attachments.

use bytes::Bytes;

use super::super::data::check;
use super::super::encode::{text, write_string};
use super::{DecodeError, Kind, Limits, Packet};
use crate::time::Timestamp;

const ENDS_EARLY: DecodeError = DecodeError::Msgpack("it ends early");

/// Decodes a packet.
///
/// # Errors
/// [`DecodeError`]: close the connection.
pub fn decode(message: &Bytes, limits: &Limits) -> Result<Packet, DecodeError> {
    let bytes_max = limits.packet_bytes.saturating_add(limits.attachment_bytes);
    if message.len() > bytes_max as usize {
        return Err(DecodeError::TooLarge { bytes: message.len(), max: bytes_max });
    }
    let mut reader = Reader { message, at: 0, limits, attachments: Vec::new(), attachment_bytes: 0 };
    let members = reader.map_len()?.ok_or(DecodeError::Msgpack("a packet is a map"))?;
    let (mut kind, mut namespace, mut id, mut data) = (None, None, None, None);
    for _ in 0..members {
        match reader.string()? {
            "type" => kind = Some(read_kind(&reader.json()?)?),
            "nsp" => namespace = Some(reader.string()?.to_owned()),
            "id" => id = read_id(&reader.json()?)?,
            "data" if data.is_some() => return Err(DecodeError::Msgpack("data comes twice")),
            "data" => data = Some(reader.json()?),
            // Other keys that clients send (options) have no meaning for a server.
            _ => reader.skip()?,
        }
    }
    if reader.at != message.len() {
        return Err(DecodeError::Msgpack("bytes behind the packet"));
    }
    let kind = kind.ok_or(DecodeError::Msgpack("the type is missing"))?;
    let namespace = namespace.ok_or(DecodeError::Msgpack("the namespace (nsp) is missing"))?;
    if namespace.len() > limits.namespace_bytes as usize {
        return Err(DecodeError::NamespaceTooLong(limits.namespace_bytes));
    }
    let namespace = namespace.split_once('?').map_or(&*namespace, |(name, _)| name);
    if !namespace.starts_with('/') {
        return Err(DecodeError::Msgpack("the namespace (nsp) begins with a slash"));
    }
    let mut packet = Packet::new(kind, namespace);
    packet.id = id;
    packet.data = data.filter(|data| data != "null").map(|data| text(data.into_bytes()));
    check(&packet, limits)?;
    packet.attachments = reader.attachments;
    Ok(packet)
}

fn read_kind(json: &str) -> Result<Kind, DecodeError> {
    Ok(match json {
        "0" => Kind::Connect,
        "1" => Kind::Disconnect,
        "2" => Kind::Event,
        "3" => Kind::Ack,
        "4" => Kind::ConnectError,
        _ => return Err(DecodeError::Msgpack("the type is a number from 0 to 4")),
    })
}

fn read_id(json: &str) -> Result<Option<u64>, DecodeError> {
    if json == "null" { Ok(None) } else { json.parse().map(Some).map_err(|_| DecodeError::AckId) }
}

struct Reader<'a> {
    message: &'a Bytes,
    at: usize,
    limits: &'a Limits,
    attachments: Vec<Bytes>,
    attachment_bytes: usize,
}

impl<'a> Reader<'a> {
    fn json(&mut self) -> Result<String, DecodeError> {
        let mut out = Vec::new();
        self.value(0, &mut out)?;
        String::from_utf8(out).map_err(|_| DecodeError::Json)
    }

    /// Reads a value and discards it, with its attachments.
    fn skip(&mut self) -> Result<(), DecodeError> {
        let (kept, bytes) = (self.attachments.len(), self.attachment_bytes);
        self.json()?;
        self.attachments.truncate(kept);
        self.attachment_bytes = bytes;
        Ok(())
    }

    fn value(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        if depth > self.limits.depth {
            return Err(DecodeError::TooDeep(self.limits.depth));
        }
        // The JSON can be longer than the msgpack: six bytes for a control character.
        if out.len() > self.limits.packet_bytes as usize {
            return Err(DecodeError::TooLarge { bytes: out.len(), max: self.limits.packet_bytes });
        }
        let first = self.peek()?;
        match first {
            0x80..=0x8f | 0xde | 0xdf => self.map(depth, out),
            0x90..=0x9f | 0xdc | 0xdd => self.array(depth, out),
            0xa0..=0xbf | 0xd9..=0xdb => {
                write_string(self.string()?, out);
                Ok(())
            }
            0xc4..=0xc6 => self.binary(out),
            0xc7..=0xc9 | 0xd4..=0xd8 => self.extension(out),
            _ => {
                self.at += 1;
                self.scalar(first, out)
            }
        }
    }

    fn scalar(&mut self, first: u8, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let text = match first {
            0x00..=0x7f => first.to_string(),
            0xe0..=0xff => (i16::from(first) - 256).to_string(),
            0xc0 => "null".to_owned(),
            0xc2 => "false".to_owned(),
            0xc3 => "true".to_owned(),
            0xca => number(f64::from(f32::from_be_bytes(self.take()?))),
            0xcb => number(f64::from_be_bytes(self.take()?)),
            0xcc => u8::from_be_bytes(self.take()?).to_string(),
            0xcd => u16::from_be_bytes(self.take()?).to_string(),
            0xce => u32::from_be_bytes(self.take()?).to_string(),
            0xcf => u64::from_be_bytes(self.take()?).to_string(),
            0xd0 => i8::from_be_bytes(self.take()?).to_string(),
            0xd1 => i16::from_be_bytes(self.take()?).to_string(),
            0xd2 => i32::from_be_bytes(self.take()?).to_string(),
            0xd3 => i64::from_be_bytes(self.take()?).to_string(),
            _ => return Err(DecodeError::Msgpack("a byte that begins no value")),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn array(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let first = self.byte()?;
        let length = match first {
            0xdc => usize::from(u16::from_be_bytes(self.take()?)),
            0xdd => self.length32()?,
            _ => usize::from(first & 0x0f),
        };
        out.push(b'[');
        for i in 0..length {
            if i > 0 {
                out.push(b',');
            }
            self.value(depth + 1, out)?;
        }
        out.push(b']');
        Ok(())
    }

    fn map(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let length = self.map_len()?.unwrap_or(0);
        out.push(b'{');
        for i in 0..length {
            if i > 0 {
                out.push(b',');
            }
            self.key(out)?;
            out.push(b':');
            self.value(depth + 1, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// A key in JSON: a number becomes a string, as in JavaScript.
    fn key(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let first = self.peek()?;
        if matches!(first, 0x00..=0x7f | 0xe0..=0xff | 0xcc..=0xd3) {
            self.at += 1;
            out.push(b'"');
            self.scalar(first, out)?;
            out.push(b'"');
            return Ok(());
        }
        let key = self.string()?;
        if key == "_placeholder" {
            return Err(DecodeError::PlaceholderInline);
        }
        write_string(key, out);
        Ok(())
    }

    /// The length of the map that comes next; `None` if it is not a map.
    fn map_len(&mut self) -> Result<Option<usize>, DecodeError> {
        let first = self.byte()?;
        Ok(Some(match first {
            0x80..=0x8f => usize::from(first & 0x0f),
            0xde => usize::from(u16::from_be_bytes(self.take()?)),
            0xdf => self.length32()?,
            _ => return Ok(None),
        }))
    }

    fn string(&mut self) -> Result<&'a str, DecodeError> {
        let first = self.byte()?;
        let length = match first {
            0xa0..=0xbf => usize::from(first & 0x1f),
            0xd9 => usize::from(self.byte()?),
            0xda => usize::from(u16::from_be_bytes(self.take()?)),
            0xdb => self.length32()?,
            _ => return Err(DecodeError::Msgpack("a string is expected for a key or a namespace")),
        };
        std::str::from_utf8(self.slice(length)?).map_err(|_| DecodeError::Msgpack("a string is not UTF-8"))
    }

    fn binary(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let length = match self.byte()? {
            0xc4 => usize::from(self.byte()?),
            0xc5 => usize::from(u16::from_be_bytes(self.take()?)),
            _ => self.length32()?,
        };
        self.attach(length, out)
    }

    fn attach(&mut self, length: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let bytes = self.slice(length)?;
        if self.attachments.len() >= self.limits.attachments as usize {
            return Err(DecodeError::TooManyAttachments(self.limits.attachments));
        }
        self.attachment_bytes += length;
        if self.attachment_bytes > self.limits.attachment_bytes as usize {
            return Err(DecodeError::AttachmentsTooLarge(self.limits.attachment_bytes));
        }
        let num = self.attachments.len();
        self.attachments.push(self.message.slice_ref(bytes));
        out.extend_from_slice(format!(r#"{{"_placeholder":true,"num":{num}}}"#).as_bytes());
        Ok(())
    }

    /// The extensions of the parser's encoder, all of type 0: `undefined` in one byte, a date in milliseconds in eight,
    /// and, with an explicit length, a typed array or an `ArrayBuffer`.
    fn extension(&mut self, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let first = self.byte()?;
        let length = match first {
            0xc7 => Some(usize::from(self.byte()?)),
            0xc8 => Some(usize::from(u16::from_be_bytes(self.take()?))),
            0xc9 => Some(self.length32()?),
            _ => None,
        };
        match (first, length, self.byte()?) {
            (0xd4, None, 0) => {
                self.byte()?;
                out.extend_from_slice(b"null");
                Ok(())
            }
            (0xd7, None, 0) => {
                let date = Timestamp::from_millis(i64::from_be_bytes(self.take()?));
                write_string(&date.to_string(), out);
                Ok(())
            }
            (_, Some(length), 0) => self.attach(length, out),
            _ => {
                Err(DecodeError::Msgpack("an extension that is none of undefined, a date and a typed array"))
            }
        }
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.message.get(self.at).copied().ok_or(ENDS_EARLY)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.slice(N)?.try_into().map_err(|_| ENDS_EARLY)
    }

    fn length32(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(u32::from_be_bytes(self.take()?)).map_err(|_| ENDS_EARLY)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(length).ok_or(ENDS_EARLY)?;
        let message: &'a Bytes = self.message;
        let slice = message.get(self.at..end).ok_or(ENDS_EARLY)?;
        self.at = end;
        Ok(slice)
    }
}

/// As JavaScript writes it: an integer has no fraction, a number that JSON cannot represent is null.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return value.to_string();
    }
    serde_json::Number::from_f64(value).map_or_else(|| "null".to_owned(), |number| number.to_string())
}
