//! Text written by people: visibility, normalisation and comparison.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::said::{Said, said};

/// Whether it has any visible character: other than white space, controls and invisible characters.
#[must_use]
pub fn is_visible(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !c.is_control() && !has_no_shape(c))
}

/// Characters that Unicode lets a program render as nothing, and the fillers and the blank that look like it.
fn has_no_shape(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// The first character that changes the direction of the text after it, even beyond the end of a name: U+202A to U+202E
/// and U+2066 to U+2069.
#[must_use]
pub fn direction_control(text: &str) -> Option<char> {
    text.chars().find(|c| turns_direction(*c))
}

/// Why a name with such a character is rejected.
#[must_use]
pub fn direction_refused(field: &str, c: char) -> Said {
    said!(
        "« {field} » contient U+{:04X}, qui change le sens de lecture du texte autour",
        "\"{field}\" contains U+{:04X}, which changes the reading direction of the text around it",
        u32::from(c)
    )
}

fn turns_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name from elsewhere, without the characters that would change the direction of the text around it.
#[must_use]
pub fn without_direction_controls(text: &str) -> String {
    text.chars().filter(|c| !turns_direction(*c)).collect()
}

/// A name in the form used for names of sociétés and files (Unicode NFC), however its author's system encodes it.
#[must_use]
pub fn composed(name: &str) -> Cow<'_, str> {
    if is_nfc(name) { Cow::Borrowed(name) } else { Cow::Owned(name.nfc().collect()) }
}

/// A text in the form used for comparison: lower case, without accents and ligatures.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let bare = text.nfkd().filter(|c| !is_accent(*c)).flat_map(char::to_lowercase);
    let mut folded = String::with_capacity(text.len());
    for c in bare {
        match letters(c) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(c),
        }
    }
    // Recompose Hangul syllables and kana with their marks.
    folded.nfc().collect()
}

/// Marks that people omit when searching. Those of Indic scripts, and the voicing marks of kana, distinguish words and
/// are kept.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{5bf}' | '\u{5c1}' | '\u{5c2}'
        | '\u{5c4}' | '\u{5c5}' | '\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e4}' | '\u{6e7}' | '\u{6e8}' | '\u{6ea}'..='\u{6ed}'
        | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
        || has_no_shape(c)
}

/// Letters that Unicode does not decompose, as people type them.
fn letters(c: char) -> Option<&'static str> {
    Some(match c {
        'œ' => "oe",
        'æ' => "ae",
        'ß' => "ss",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ı' => "i",
        'þ' => "th",
        'ς' => "σ",
        _ => return None,
    })
}

/// The column that an editor shows for a place that is given in bytes; both count from 1.
#[must_use]
pub fn column_in_characters(text: &[u8], line: usize, column_bytes: usize) -> usize {
    let line = text.split(|byte| *byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    characters(&line[..column_bytes.min(line.len())]).max(1) + column_bytes.saturating_sub(line.len().max(1))
}

/// How many characters begin in these bytes.
#[must_use]
pub fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_not_visible() {
        for text in [
            "",
            " \n\t",
            "\u{200b}",
            "\u{2060}\u{feff} \u{ad}",
            "\u{3164}",
            "\u{2800}",
            "\u{202e}\u{2069}",
            "\u{e0020}",
        ] {
            assert!(!is_visible(text), "{text:?}");
        }
        for text in ["a", " . ", "👍", "👩\u{200d}🔧", "\u{301}", "会", "ـ"] {
            assert!(is_visible(text), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_compared_without_capitals_accents_and_ligatures() {
        for (text, folded) in [
            ("ŒUVRE", "oeuvre"),
            ("Œ", "oe"),
            ("Straße", "strasse"),
            ("ÆRØ", "aero"),
            ("ﬁn", "fin"),
            ("ÉTÉ", "ete"),
            ("e\u{301}te\u{301}", "ete"),
            ("ＦＡ２０２６", "fa2026"),
            ("Łódź", "lodz"),
            ("İstanbul", "istanbul"),
            ("ΟΔΟΣ", "οδοσ"),
            ("Ёлка", "елка"),
            ("회의실", "회의실"),
            ("ガス", "ガス"),
            ("ｶﾞｽ", "ガス"),
            ("co\u{ad}opérer", "cooperer"),
        ] {
            assert_eq!(fold(text), folded, "{text}");
            assert_eq!(fold(folded), folded, "folding twice");
        }
    }

    #[test]
    fn a_name_has_one_form() {
        assert_eq!(composed("Socie\u{301}te\u{301}"), "Société");
        assert!(matches!(composed("Société"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_name_turns_nothing_around_it() {
        assert_eq!(direction_control("Chantier \u{202e}gpj.exe"), Some('\u{202e}'));
        assert_eq!(direction_control("مشروع Dakar"), None);
        assert_eq!(without_direction_controls("Paul\u{2066}\u{202e}"), "Paul");
    }

    #[test]
    fn a_column_counts_characters() {
        assert_eq!(column_in_characters("a\né = x".as_bytes(), 2, 6), 5);
        assert_eq!(column_in_characters("é".as_bytes(), 1, 3), 2, "the end of the text");
        assert_eq!(column_in_characters(b"", 1, 0), 1);
    }
}
