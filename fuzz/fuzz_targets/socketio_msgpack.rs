//! Any binary message: refused, or read the same when it is written again.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/socketio_msgpack.rs"]
mod socketio_msgpack;

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketio_msgpack::read_and_written_again(data));
