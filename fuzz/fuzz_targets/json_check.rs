//! Any content that is sent to the relay: the quick scan and the full walk say the same of it.

#![no_main]

// The module itself, and not the program it is part of, which would take minutes to build.
#[path = "../../crates/relais/src/features/relay/json/mod.rs"]
mod json;
#[path = "../../crates/relais/tests/it/json_check/agreement.rs"]
mod agreement;

libfuzzer_sys::fuzz_target!(|data: &[u8]| agreement::scan_walk_and_parser_agree(data));
