//! Any bytes, cut anywhere: the decoder never panics, keeps no more than its limits, and says the same whole
//! and in pieces.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/decoder.rs"]
mod decoder;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoder::whole_and_in_pieces(data));
