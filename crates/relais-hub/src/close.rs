//! Why a connection ends: the close codes of every dialect, and what the client should do.

use std::borrow::Cow;
use std::fmt;

use relais_protocol::websocket::ProtocolError;

/// A WebSocket close code (RFC 6455 section 7.4) as this server uses it.
///
/// | code | meaning | client reconnects |
/// |---|---|---|
/// | 1000 | finished, or replaced by a newer session | no |
/// | 1002 | the client broke the protocol | no |
/// | 1003 | a message of a kind that is not accepted here | no |
/// | 1007 | text that is not UTF-8 | no |
/// | 1008 | refused by policy | no |
/// | 1009 | frame or message too large | no |
/// | 1011 | the server failed | yes, and resumes |
/// | 1012 | the server restarts, the session was silent too long, or its rights changed | yes, and resumes |
/// | 1013 | too many connections or too much load | yes, later |
/// | 4001 | not authenticated | after signing in |
/// | 4003 | forbidden | no |
/// | 4008 | the client reads too slowly | yes, and resumes |
///
/// A dialect whose old clients expect another number for the same meaning may write that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// Finished, or replaced by a newer session.
    Normal = 1000,
    /// The client broke the protocol.
    Protocol = 1002,
    /// A message of a kind that is not accepted here.
    Unsupported = 1003,
    /// Text that is not UTF-8.
    InvalidPayload = 1007,
    /// Refused by policy.
    Policy = 1008,
    /// A frame or a message is larger than allowed.
    TooBig = 1009,
    /// The server failed.
    Internal = 1011,
    /// The server restarts, the session was silent too long, or its rights changed. Not 1001, after which some
    /// clients stay away.
    ServiceRestart = 1012,
    /// Too many connections or too much load.
    TryLater = 1013,
    /// The session is not authenticated.
    NotAuthenticated = 4001,
    /// Access is denied to the principal.
    Forbidden = 4003,
    /// The client reads more slowly than events come; nothing is lost if it resumes from its cursor.
    SlowConsumer = 4008,
}

impl CloseCode {
    /// Every code, in numerical order.
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::Protocol,
        Self::Unsupported,
        Self::InvalidPayload,
        Self::Policy,
        Self::TooBig,
        Self::Internal,
        Self::ServiceRestart,
        Self::TryLater,
        Self::NotAuthenticated,
        Self::Forbidden,
        Self::SlowConsumer,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a client should connect again by itself and resume from its last cursor.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        matches!(self, Self::ServiceRestart | Self::Internal | Self::TryLater | Self::SlowConsumer)
    }

    /// The text sent to the client, for people who read logs.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Normal => "finished",
            Self::ServiceRestart => "service restart: reconnect and resume",
            Self::Protocol => "protocol error",
            Self::Unsupported => "this kind of message is not accepted here",
            Self::InvalidPayload => "text must be UTF-8",
            Self::Policy => "refused by policy",
            Self::TooBig => "message too large",
            Self::Internal => "server error: reconnect and resume",
            Self::TryLater => "too busy: reconnect later",
            Self::NotAuthenticated => "not authenticated",
            Self::Forbidden => "forbidden",
            Self::SlowConsumer => "slow consumer: reconnect and resume",
        }
    }
}

/// Why one connection ends: the code and a text of at most 123 bytes (longer is cut when encoded).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code.
    pub code: CloseCode,
    /// The text; [`CloseCode::meaning`] unless there is more to say.
    pub text: Cow<'static, str>,
}

impl CloseReason {
    /// A reason with a text of its own.
    pub fn new(code: CloseCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self { code, text: Cow::Borrowed(code.meaning()) }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        let code = match error.close_code() {
            1007 => CloseCode::InvalidPayload,
            1009 => CloseCode::TooBig,
            _ => CloseCode::Protocol,
        };
        Self { code, text: Cow::Owned(error.to_string()) }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code.number(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_stands_once_in_the_table_in_order() {
        assert!(CloseCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }

    #[test]
    fn a_client_comes_back_only_where_coming_back_helps() {
        let back: Vec<u16> =
            CloseCode::ALL.into_iter().filter(|c| c.reconnect()).map(CloseCode::number).collect();
        assert_eq!(back, [1011, 1012, 1013, 4008]);
    }

    #[test]
    fn every_meaning_fits_a_close_frame() {
        assert!(CloseCode::ALL.into_iter().all(|code| code.meaning().len() <= 123));
    }
}
