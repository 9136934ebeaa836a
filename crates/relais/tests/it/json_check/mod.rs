//! The check of contents, by the function of its fuzz target, on that target's seeds and a fixed set of variations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
#[path = "../../../../relais-protocol/tests/fuzz/corpus.rs"]
mod corpus;

use relais::features::relay::json;

#[test]
fn the_quick_scan_and_the_full_walk_agree_on_every_text() {
    corpus::run("json_check", agreement::scan_walk_and_parser_agree);
}
