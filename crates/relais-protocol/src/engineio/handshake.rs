//! The handshake, and the refusal of a request.

use std::time::Duration;

use serde::Serialize;

use super::{Frame, Text};

/// The data of the open packet (section "Handshake").
#[derive(Clone, Copy, Debug)]
pub struct Handshake<'a> {
    /// The session's id, as hard to guess as a key: anyone who has it can use the session.
    pub sid: &'a str,
    /// Whether the upgrade to WebSocket is offered.
    pub upgrade: bool,
    /// Time between two heartbeats.
    pub ping_interval: Duration,
    /// How long the reply to a heartbeat may take.
    pub ping_timeout: Duration,
    /// Maximum bytes of a payload or frame.
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

/// Why a request is answered with 400, with the error codes that Engine.IO clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `transport` is neither `polling` nor `websocket`.
    #[error("Transport unknown")]
    UnknownTransport,
    /// `sid` is not a known session.
    #[error("Session ID unknown")]
    UnknownSession,
    /// A session must start with a GET.
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    /// Any other violation of the protocol.
    #[error("Bad request")]
    BadRequest,
    /// The request is not allowed.
    #[error("Forbidden")]
    Forbidden,
    /// `EIO` is not a supported version.
    #[error("Unsupported protocol version")]
    UnsupportedVersion,
}

impl Refusal {
    /// The error code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The response body.
    #[must_use]
    pub fn to_json(self) -> String {
        format!(r#"{{"code":{},"message":"{self}"}}"#, self.code())
    }
}
