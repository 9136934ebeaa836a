//! Any order of events: every request is answered once, what is sent arrives in order, the end is the end.

#![no_main]

#[path = "../../crates/relais-protocol/tests/fuzz/engineio_session.rs"]
mod engineio_session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| engineio_session::any_order_of_events(data));
