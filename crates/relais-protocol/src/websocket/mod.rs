//! Frames and messages of RFC 6455, for the server, and the client's encoding. Section numbers refer to it.
//!
//! - [`Decoder`]: what a client sends, strictly checked, without copying a frame that arrives whole;
//! - [`encode_frame`], [`text_frame_with`], [`close_frame`]: what a server sends;
//! - [`accept_deflate`], [`compress_frames`]: compressed messages, each on its own;
//! - [`encode_masked`]: what a client sends, for tests and load generation.

mod decoder;
mod deflate;
mod encode;
mod error;
mod header;
mod mask;

pub use decoder::{Close, Decoder, Limits, Message};
pub use deflate::{accept_deflate, compress_frames};
pub use encode::{close_frame, encode_frame, encode_masked, frame_len, head_len, text_frame_with};
pub use error::ProtocolError;
pub use header::{CONTROL_BYTES_MAX, Opcode};
pub use mask::apply_mask;
