//! Any messages of a client: refused, or read the same when they are written again.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/socketio_decoder.rs"]
mod socketio_decoder;

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketio_decoder::read_and_written_again(data));
