//! Engine.IO, versions 3 and 4: a connection over HTTP long-polling, over WebSocket, or upgraded from the first to the
//! second. Section names refer to the published protocol document of the version.
//!
//! - [`Packet`] and [`Frame`]: one packet, and its form as a frame of its own;
//! - [`encode_payload`], [`decode_payload`]: many packets in one HTTP body;
//! - [`Handshake`], [`Refusal`]: what a client receives when it connects;
//! - [`Session`]: the server's side of one connection.

mod error;
mod frame;
mod handshake;
mod packet;
mod payload;
mod payload_v3;
mod session;

pub use error::{PacketError, PayloadError};
pub use frame::{Frame, Text};
pub use handshake::{Handshake, Refusal};
pub use packet::{Kind, Packet, Version};
pub use payload::{Payload, PayloadLimits, decode_payload, encode_payload};
pub use session::{Action, CloseReason, Config, RequestId, Response, SendError, Session, SocketId};
