//! Any HTTP body: it is refused, or its messages are read the same when they are written again.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/engineio_payload.rs"]
mod engineio_payload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| engineio_payload::read_and_written_again(data));
