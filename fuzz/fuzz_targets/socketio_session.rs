//! Any messages: events come from joined namespaces only, acknowledgements are given once, limits hold.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/socketio_session.rs"]
mod socketio_session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketio_session::any_messages(data));
