//! One packet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::{Frame, PacketError, Text};

/// The version of the protocol, `EIO` in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Clients of Socket.IO 2.
    V3,
    /// Clients of Socket.IO 3 and later.
    V4,
}

/// What a packet is for ("Protocol", packet types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The handshake.
    Open = 0,
    /// The transport can be closed.
    Close = 1,
    /// A sign of life is asked for.
    Ping = 2,
    /// A sign of life.
    Pong = 3,
    /// Data.
    Message = 4,
    /// The WebSocket takes over.
    Upgrade = 5,
    /// Nothing: ends a poll.
    Noop = 6,
}

impl Kind {
    /// The kind behind a digit.
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

/// A packet that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is for.
    pub kind: Kind,
    /// Its data, without the type.
    pub data: Frame,
}

impl Packet {
    /// Reads what came in one WebSocket frame.
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

    /// Reads a packet from text, where a binary one is `b` and base64.
    pub(crate) fn from_text(version: Version, text: &Text) -> Result<Self, PacketError> {
        let first = text.as_str().chars().next().ok_or(PacketError::Empty)?;
        if first == 'b' {
            return Self::from_base64(version, &text.as_bytes()[1..]);
        }
        let kind = u8::try_from(first).ok().and_then(Kind::from_digit);
        let kind = kind.ok_or(PacketError::UnknownKind(first))?;
        Ok(Self { kind, data: Frame::Text(text.skip(1)) })
    }

    /// Version 3 writes the type in front of the base64; some of its clients leave it out, and as base64 comes
    /// in fours, its length tells.
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
