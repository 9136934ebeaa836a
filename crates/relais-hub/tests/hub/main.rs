//! The hub from outside: real sockets, a WebSocket client that is not ours, and a log in memory.

#![expect(clippy::disallowed_methods, reason = "tests wait in real time, and start tasks of their own")]
#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod backpressure;
mod compression;
mod connection;
mod dialects;
mod fanout;
mod heartbeat;
mod limits;
mod model;
mod presence;
mod recovery;
mod support;
mod upgrade;
