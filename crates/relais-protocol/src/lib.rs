//! The vocabulary of events and the pure codecs of every wire format.
//!
//! Nothing here does I/O, spawns a task or reads a clock: bytes and values go in, bytes and values come
//! out. That makes every rule testable without a server, and every parser a target for a fuzzer.
//!
//! - [`event`]: topics, positions, cursors and events, the words every other crate uses;
//! - [`time`]: timestamps and the clock that is passed to whoever needs one;
//! - [`websocket`]: frames and messages of RFC 6455, server and client side.

pub mod event;
pub mod time;
pub mod websocket;
