//! What a client is told when it comes.

use std::time::Duration;

use serde::Serialize;

use super::{Frame, Text};

/// The data of the open packet (section "Handshake").
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// The session's id: as hard to guess as a key, for whoever has it can take part.
    pub sid: &'a str,
    /// Whether the WebSocket is offered.
    pub upgrade: bool,
    /// Time between two heartbeats.
    pub ping_interval: Duration,
    /// How long the answer to a heartbeat may take.
    pub ping_timeout: Duration,
    /// Bytes of a payload or frame.
    pub max_payload: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    sid: &'a str,
    upgrades: &'a [&'a str],
    ping_interval: u64,
    ping_timeout: u64,
    max_payload: u32,
}

impl Handshake<'_> {
    /// The open packet.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let json = Json {
            sid: self.sid,
            upgrades: if self.upgrade { &["websocket"] } else { &[] },
            ping_interval: ms(self.ping_interval),
            ping_timeout: ms(self.ping_timeout),
            max_payload: self.max_payload,
        };
        let json = serde_json::to_string(&json).expect("strings and numbers");
        Frame::Text(Text::from(format!("0{json}")))
    }
}

/// Why a request is answered with 400, with the numbers that Engine.IO clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `transport` is neither `polling` nor `websocket`.
    #[error("Transport unknown")]
    UnknownTransport,
    /// `sid` names no session.
    #[error("Session ID unknown")]
    UnknownSession,
    /// A session begins with GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// Anything else that the protocol forbids.
    #[error("Bad request")]
    BadRequest,
    /// The request is not allowed.
    #[error("Forbidden")]
    Forbidden,
    /// `EIO` is not a version that is served.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
}

impl Refusal {
    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The body of the answer.
    #[must_use]
    pub fn to_json(self) -> String {
        format!(r#"{{"code":{},"message":"{self}"}}"#, self.code())
    }
}
