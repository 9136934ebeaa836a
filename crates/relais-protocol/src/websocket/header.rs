//! The header of a frame (section 5.2).

use super::deflate::COMPRESSED;
use super::{Limits, ProtocolError};

/// The longest payload of a control frame (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The type of a frame (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// Closes the connection.
    Close = 0x8,
    /// Asks the peer for a pong.
    Ping = 0x9,
    /// The reply to a ping, or an unsolicited heartbeat.
    Pong = 0xa,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            other => return Err(ProtocolError::UnknownOpcode(other)),
        })
    }

    /// Whether it is close, ping or pong (section 5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of a client's frame, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub fin: bool,
    pub opcode: Opcode,
    /// Whether it starts a compressed message (RFC 7692 section 6).
    pub compressed: bool,
    pub key: [u8; 4],
    /// Bytes of the header itself.
    pub head_bytes: usize,
    pub payload_bytes: usize,
}

impl Header {
    pub(super) fn frame_bytes(&self) -> usize {
        self.head_bytes + self.payload_bytes
    }

    /// Parses the header at the front of `input`; `None` if more bytes are needed. What has arrived is checked at once,
    /// so that a faulty peer is rejected before it has sent the rest.
    pub(super) fn read(input: &[u8], limits: &Limits) -> Result<Option<Self>, ProtocolError> {
        let Some(&first) = input.first() else { return Ok(None) };
        let compressed = first & COMPRESSED != 0;
        if first & 0x30 != 0 || (compressed && !limits.deflate) {
            return Err(ProtocolError::ReservedBits);
        }
        let (fin, opcode) = (first & 0x80 != 0, Opcode::from_bits(first & 0x0f)?);
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(ProtocolError::ReservedBits);
        }
        if opcode.is_control() && !fin {
            return Err(ProtocolError::ControlFragmented);
        }
        let Some(&second) = input.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(ProtocolError::NotMasked);
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((length, at)) = read_length(short, &input[2..])? else { return Ok(None) };
        if length > u64::from(limits.frame_bytes) {
            return Err(ProtocolError::FrameTooLarge(limits.frame_bytes));
        }
        let Some(&key) = input[2 + at..].first_chunk::<4>() else { return Ok(None) };
        let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Some(Self { fin, opcode, compressed, key, head_bytes: 2 + at + 4, payload_bytes }))
    }
}

/// The payload's length and how many bytes its extended form takes.
fn read_length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
    match short {
        126 => match rest.first_chunk::<2>().map(|b| u16::from_be_bytes(*b)) {
            None => Ok(None),
            Some(length @ 126..) => Ok(Some((length.into(), 2))),
            Some(_) => Err(ProtocolError::LengthForm),
        },
        127 => match rest.first_chunk::<8>().map(|b| u64::from_be_bytes(*b)) {
            None => Ok(None),
            Some(length) if length > u64::from(u16::MAX) && length >> 63 == 0 => Ok(Some((length, 8))),
            Some(_) => Err(ProtocolError::LengthForm),
        },
        length => Ok(Some((length.into(), 0))),
    }
}
