//! The event vocabulary and the pure codecs of every wire format.
//!
//! Nothing here does I/O, spawns a task or reads a clock: bytes and values go in, bytes and values come out. That makes
//! every rule testable without a server, and every parser fuzzable.
//!
//! - [`event`]: topics, positions, cursors and events, the vocabulary of all other crates;
//! - [`engineio`]: packets, payloads and the server session of Engine.IO 3 and 4;
//! - [`network`]: which clients count as one for limits by address;
//! - [`socketio`]: packets, parsers and the server session of Socket.IO 5, and of 4 for old clients;
//! - [`time`]: timestamps and the clock that is passed as an argument;
//! - [`websocket`]: frames and messages of RFC 6455, server and client side.

pub mod engineio;
pub mod event;
pub mod network;
pub mod socketio;
pub mod time;
pub mod websocket;
