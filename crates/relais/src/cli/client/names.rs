//! Names of sociétés and files as they cross between a folder and the server.

use unicode_normalization::UnicodeNormalization;

/// The longest name that file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A local name in the form the server stores it in (NFC; macOS hands out NFD).
pub(crate) fn normalised(name: &str) -> String {
    name.nfc().collect()
}

/// Whether a name has a character in it that orders a terminal about or ends a line. Addresses lose some of these, so that
/// the name would be another one.
pub(crate) fn has_control(name: &str) -> bool {
    name.chars().any(char::is_control)
}

/// Whether a name that came from the server may become a file or folder here: one component, nothing that a
/// path or a terminal would take for something else. The server promises this; a mirror does not rely on it.
pub(crate) fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':'])
        && !has_control(name)
}

/// The name with everything a terminal would act on replaced, to be printed.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_bidi(c) { '\u{fffd}' } else { c }).collect()
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_not_safe() {
        for name in ["", ".", "..", "../x.json", "a/b.json", "a\\b.json", "C:x.json", ".hidden", "a\0.json"] {
            assert!(!is_safe(name), "{name:?}");
        }
        assert!(!is_safe(&"x".repeat(256)));
        assert!(is_safe("comptes_global_année_2023.json"));
    }

    #[test]
    fn the_form_of_the_server_is_nfc() {
        assert_eq!(normalised("anne\u{301}e.json"), "ann\u{e9}e.json");
    }

    #[test]
    fn a_terminal_gets_no_commands() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b"), "a\u{fffd}[2J\u{fffd}b");
    }
}
