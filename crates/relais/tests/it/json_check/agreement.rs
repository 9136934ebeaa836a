//! Any content that is sent to the relay.

use super::json::{Rules, check, check_beginning, check_reader};

/// The strictest and the mildest rules that a configuration can ask for, and something between.
const RULES: [Rules; 4] = [
    Rules { depth_max: 64, duplicate_keys: false },
    Rules { depth_max: 127, duplicate_keys: true },
    Rules { depth_max: 3, duplicate_keys: false },
    Rules { depth_max: 1, duplicate_keys: true },
];

/// The quick scan and the full walk say the same of a text, whatever the rules; and a parser that is not ours says
/// the same of its grammar. What is valid is not refused at its beginning.
pub fn scan_walk_and_parser_agree(text: &[u8]) {
    for rules in RULES {
        // From memory the scan comes first; from a reader only the walk can be used.
        let scanned = check(text, rules);
        let walked = check_reader(text, rules);
        assert_eq!(scanned.is_ok(), walked.is_ok(), "{rules:?}: {scanned:?} but {walked:?}");
        if scanned.is_ok() {
            assert_eq!(
                check_beginning(&text[..text.len() / 2], rules),
                Ok(()),
                "{rules:?}: half of a valid text"
            );
        }
    }
    let parsed = serde_json::from_slice::<serde_json::Value>(text);
    assert_eq!(check(text, RULES[1]).is_ok(), parsed.is_ok(), "the parser says {parsed:?}");
}
