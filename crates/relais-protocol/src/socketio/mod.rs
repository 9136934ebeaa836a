//! Socket.IO, protocol 5, and protocol 4 for clients on Engine.IO 3: namespaces, events, acknowledgements and
//! binary attachments over the messages of [`crate::engineio`]. Section names refer to the published protocol
//! document.
//!
//! - [`Packet`]: one packet, independent of the parser; its data stays the JSON text as received or sent;
//! - [`Decoder`], [`encode`], [`write_event`]: the default parser, text and binary attachments;
//! - [`msgpack`]: the parser of `socket.io-msgpack-parser`, one binary message per packet;
//! - [`Session`]: the server side of one connection.

mod data;
mod decode;
mod encode;
mod error;
pub mod msgpack;
mod packet;
mod session;

pub use data::{EventArguments, is_reserved};
pub use decode::Decoder;
pub use encode::{encode, write_event};
pub use error::DecodeError;
pub use packet::{Kind, Limits, Packet};
pub use session::{Config, Input, Parser, Recovery, SendError, Session, SessionError};
