//! Tokenisation for the search, of stored texts and of queries: done here, so that both databases behave the same.
//!
//! A text is folded ([`fold`]) and split at everything that is neither letter nor digit nor mark: `FA-2026-0042` is
//! `fa`, `2026` and `0042`, and `main-d’œuvre` is `main`, `d` and `oeuvre`. Scripts written without spaces have no word
//! boundaries: each pair of neighbouring characters is a word, and the last character alone, so that anything inside a
//! sentence is found.

use std::collections::BTreeSet;

use unicode_normalization::char::is_combining_mark;

use crate::text::fold;

/// Only this many first characters of a word count, both stored and in queries.
const WORD_CHARS_MAX: usize = 60;

/// A word of a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term {
    pub(super) text: String,
    /// Whether it matches as a prefix of a stored word, not only as the whole.
    pub(super) is_prefix: bool,
}

/// A run of a folded text.
enum Run {
    /// A word in a script with spaces.
    Word(String),
    /// Neighbouring characters in a script without.
    Dense(Vec<char>),
}

/// The distinct words of a text.
pub(super) fn stored(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for run in runs(text) {
        match run {
            Run::Word(word) => {
                words.insert(word);
            }
            Run::Dense(chars) => {
                words.extend(chars.windows(2).map(String::from_iter));
                words.extend(chars.last().map(char::to_string));
            }
        }
    }
    words
}

/// The words that a message must contain to match `query`. Words implied by others are left out.
pub(super) fn asked(query: &str) -> Vec<Term> {
    let mut terms = BTreeSet::new();
    for run in runs(query) {
        match run {
            Run::Word(text) => {
                terms.insert(Term { text, is_prefix: true });
            }
            Run::Dense(chars) if chars.len() == 1 => {
                terms.insert(Term { text: String::from_iter(chars), is_prefix: true });
            }
            Run::Dense(chars) => {
                let pairs = chars.windows(2).map(String::from_iter);
                terms.extend(pairs.map(|text| Term { text, is_prefix: false }));
            }
        }
    }
    let implied = |term: &Term| {
        term.is_prefix && terms.iter().any(|other| other != term && other.text.starts_with(&term.text))
    };
    terms.iter().filter(|term| !implied(term)).cloned().collect()
}

fn runs(text: &str) -> Vec<Run> {
    let (mut runs, mut length) = (Vec::new(), 0);
    let mut open = false;
    for c in fold(text).chars() {
        if !c.is_alphanumeric() && !is_combining_mark(c) {
            open = false;
            continue;
        }
        match runs.last_mut() {
            Some(Run::Dense(chars)) if open && is_dense(c) => chars.push(c),
            Some(Run::Word(word)) if open && !is_dense(c) => {
                length += 1;
                if length <= WORD_CHARS_MAX {
                    word.push(c);
                }
            }
            _ => {
                length = 1;
                runs.push(if is_dense(c) { Run::Dense(vec![c]) } else { Run::Word(c.to_string()) });
            }
        }
        open = true;
    }
    runs
}

/// Whether a character belongs to a script whose words are not separated: Thai, Lao, Burmese, Khmer, kana, Han,
/// Bopomofo, Yi; and Hangul, whose words carry endings and are written together.
fn is_dense(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}'
        | '\u{2e80}'..='\u{2fdf}' | '\u{3005}'..='\u{3007}' | '\u{3021}'..='\u{3029}' | '\u{3031}'..='\u{318f}'
        | '\u{31a0}'..='\u{31bf}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{a4cf}'
        | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{1b000}'..='\u{1b16f}'
        | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        stored(text).into_iter().collect()
    }

    /// Marks prefixes with `*`.
    fn terms(query: &str) -> Vec<String> {
        asked(query).into_iter().map(|term| term.text + if term.is_prefix { "*" } else { "" }).collect()
    }

    #[test]
    fn whatever_is_no_letter_and_no_digit_parts_words() {
        assert_eq!(words("FA-2026-0042"), ["0042", "2026", "fa"]);
        assert_eq!(words("paul.martin@example.com"), ["com", "example", "martin", "paul"]);
        assert_eq!(words("devis_toiture.pdf"), ["devis", "pdf", "toiture"]);
        assert_eq!(words("192.168.1.10"), ["1", "10", "168", "192"]);
        assert_eq!(words("la main-d’œuvre, l'Été"), ["d", "ete", "l", "la", "main", "oeuvre"]);
        assert_eq!(words(" !? 👍 "), Vec::<String>::new());
    }

    #[test]
    fn scripts_without_spaces_are_stored_in_pairs() {
        assert_eq!(words("会議室で"), ["で", "会議", "室で", "議室"].map(str::to_owned).as_slice());
        assert_eq!(words("第3回"), ["3", "回", "第"]);
        assert_eq!(words("회의실"), ["실", "의실", "회의"]);
    }

    #[test]
    fn a_word_that_another_one_implies_is_not_asked_for() {
        assert_eq!(terms("fac facture FAC"), ["facture*"]);
        assert_eq!(terms("会議室"), ["会議", "議室"]);
        assert_eq!(terms("会"), ["会*"]);
        assert_eq!(terms("会 会議"), ["会議"]);
    }

    #[test]
    fn of_a_long_word_the_beginning_counts() {
        let long = "a".repeat(5_000);
        assert_eq!(words(&long), ["a".repeat(60)]);
        assert_eq!(terms(&long), [format!("{}*", "a".repeat(60))]);
    }

    #[test]
    fn whatever_is_in_a_text_is_found_in_it() {
        for text in
            ["FA-2026-0042", "東京都の会議室", "Léa dit: «l’œuvre»", "ไทย 2026", "नमस्ते दुनिया", "x\u{200b}y"]
        {
            let stored = stored(text);
            for term in asked(text) {
                let found = |word: &String| {
                    if term.is_prefix { word.starts_with(&term.text) } else { *word == term.text }
                };
                assert!(stored.iter().any(found), "{text}: {term:?}");
            }
        }
    }
}
