//! A single packet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Frame, PacketError, Text};

/// The protocol version, `EIO` in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Clients of Socket.IO 2.
    V3,
    /// Clients of Socket.IO 3 and later.
    V4,
}

/// The packet types ("Protocol", packet types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The handshake.
    Open = 0,
    /// Asks to close the transport.
    Close = 1,
    /// A heartbeat request.
    Ping = 2,
    /// A heartbeat reply.
    Pong = 3,
    /// Data.
    Message = 4,
    /// Completes the upgrade to WebSocket.
    Upgrade = 5,
    /// No content: ends a poll.
    Noop = 6,
}

impl Kind {
    /// The type of a digit.
    pub(crate) const fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Open,
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'3' => Self::Pong,
            b'4' => Self::Message,
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return None,
        })
    }
}

/// A parsed packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type.
    pub kind: Kind,
    /// Its data, without the type.
    pub data: Frame,
}

impl Packet {
    /// Parses a packet from one WebSocket frame.
    ///
    /// # Errors
    /// [`PacketError`]: close the connection.
    pub fn from_frame(version: Version, frame: Frame) -> Result<Self, PacketError> {
        match frame {
            Frame::Text(text) => Self::from_text(version, &text),
            Frame::Binary(data) if version == Version::V4 => {
                Ok(Self { kind: Kind::Message, data: Frame::Binary(data) })
            }
            Frame::Binary(data) => {
                let &first = data.first().ok_or(PacketError::Empty)?;
                let kind = first.checked_add(b'0').and_then(Kind::from_digit);
                let kind = kind.ok_or(PacketError::UnknownKind(char::from(first)))?;
                Ok(Self { kind, data: Frame::Binary(data.slice(1..)) })
            }
        }
    }

    /// Parses a packet from text, where binary is `b` followed by base64.
    pub(crate) fn from_text(version: Version, text: &Text) -> Result<Self, PacketError> {
        let first = text.as_str().chars().next().ok_or(PacketError::Empty)?;
        if first == 'b' {
            return Self::from_base64(version, &text.as_bytes()[1..]);
        }
        let kind = u8::try_from(first).ok().and_then(Kind::from_digit);
        let kind = kind.ok_or(PacketError::UnknownKind(first))?;
        Ok(Self { kind, data: Frame::Text(text.skip(1)) })
    }

    /// Version 3 writes the type before the base64. Some of its clients omit it, which the length shows: base64 comes
    /// in groups of four.
    fn from_base64(version: Version, text: &[u8]) -> Result<Self, PacketError> {
        let typed = version == Version::V3 && text.len() % 4 == 1;
        let kind = match text.first() {
            Some(&digit) if typed => {
                Kind::from_digit(digit).ok_or(PacketError::UnknownKind(char::from(digit)))?
            }
            _ => Kind::Message,
        };
        let data = STANDARD.decode(&text[usize::from(typed)..]).map_err(|_| PacketError::Base64)?;
        Ok(Self { kind, data: Frame::Binary(Bytes::from(data)) })
    }
}
