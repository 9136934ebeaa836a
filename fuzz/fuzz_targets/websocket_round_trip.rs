//! Any message, in any fragments: what a client encodes is what the server reads.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/round_trip.rs"]
mod round_trip;

libfuzzer_sys::fuzz_target!(|data: &[u8]| round_trip::encoded_and_read_back(data));
