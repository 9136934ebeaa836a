//! The parser of `socket.io-msgpack-parser`: a packet is one binary message, the msgpack map of its `type`, `data`,
//! `nsp` and `id`, with binary inline. It is decoded to and encoded from the same [`Packet`] as text, so that no other
//! code depends on the parser a client uses.

mod read;
mod write;

pub use read::decode;
pub use write::encode;

use super::{DecodeError, Kind, Limits, Packet};
