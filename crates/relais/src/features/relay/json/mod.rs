//! Checks whether a text is JSON (RFC 8259) that every reader understands alike (RFC 7493), and locates the fault.

mod scan;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::Read;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use crate::said::{Said, said};
use crate::text::{characters, column_in_characters};

/// Up to this many keys a list is searched faster than a set is filled.
const KEYS_IN_LIST: usize = 12;

/// Requirements on a text beyond the grammar.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Levels of nesting at most, up to 127.
    pub depth_max: usize,
    /// Whether an object may name a key twice.
    pub duplicate_keys: bool,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1; in bytes if the text was not in memory.
    pub column: usize,
    /// What is wrong.
    pub what: Said,
    /// The text ends before the value does: it may be the beginning of a valid one.
    pub incomplete: bool,
}

impl JsonFault {
    /// The message for clients.
    #[must_use]
    pub fn said(&self) -> Said {
        let Self { line, column, what, .. } = self;
        said!(
            "JSON invalide, ligne {line}, colonne {column} : {}",
            "Invalid JSON, line {line}, column {column}: {}";
            what.clone()
        )
    }
}

/// For the log.
impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.said().english())
    }
}

impl std::error::Error for JsonFault {}

/// Checks a text that is in memory.
///
/// # Errors
/// [`JsonFault`] at the first place that is wrong.
pub fn check(text: &[u8], rules: Rules) -> Result<(), JsonFault> {
    let valid = decoded(text)?;
    if scan::is_surely_valid(valid, rules) { Ok(()) } else { walk(valid, rules) }
}

/// The text without its encoding.
fn decoded(text: &[u8]) -> Result<&str, JsonFault> {
    let valid = std::str::from_utf8(text).map_err(|error| utf8_fault(text, error))?;
    if valid.starts_with('\u{FEFF}') {
        let what = said!(
            "le fichier commence par une marque d'ordre des octets (BOM) ; enregistrez-le en UTF-8 sans BOM",
            "the file begins with a byte order mark (BOM); save it as UTF-8 without BOM"
        );
        return Err(JsonFault { line: 1, column: 1, what, incomplete: false });
    }
    Ok(valid)
}

/// The full walk, which locates the fault.
fn walk(text: &str, rules: Rules) -> Result<(), JsonFault> {
    run(&mut serde_json::Deserializer::from_str(text), rules).map_err(|fault| JsonFault {
        column: column_in_characters(text.as_bytes(), fault.line, fault.column),
        ..fault
    })
}

/// Checks a text as it is read, without holding it.
///
/// # Errors
/// [`JsonFault`] at the first place that is wrong; a failing reader counts as one.
pub fn check_reader(reader: impl Read, rules: Rules) -> Result<(), JsonFault> {
    run(&mut serde_json::Deserializer::from_reader(reader), rules)
}

/// Checks the beginning of a longer text, to refuse it early.
///
/// # Errors
/// [`JsonFault`] if no continuation could make it valid.
pub fn check_beginning(text: &[u8], rules: Rules) -> Result<(), JsonFault> {
    match decoded(text).and_then(|text| walk(text, rules)) {
        Err(fault) if !fault.incomplete => Err(fault),
        _ => Ok(()),
    }
}

fn run<'de, R: serde_json::de::Read<'de>>(
    deserializer: &mut serde_json::Deserializer<R>,
    rules: Rules,
) -> Result<(), JsonFault> {
    let value = Value { rules, depth: 0 };
    value.deserialize(&mut *deserializer).and_then(|()| deserializer.end()).map_err(|error| {
        let what = if error.is_eof() {
            said!("le texte s'arrête trop tôt", "the text ends too early")
        } else {
            translate(&error)
        };
        JsonFault { line: error.line(), column: error.column().max(1), what, incomplete: error.is_eof() }
    })
}

fn utf8_fault(text: &[u8], error: std::str::Utf8Error) -> JsonFault {
    let before = &text[..error.valid_up_to()];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let column = characters(&before[start..]) + 1;
    let incomplete = error.error_len().is_none();
    JsonFault { line, column, what: not_utf8(), incomplete }
}

fn not_utf8() -> Said {
    said!("un octet n'est pas de l'UTF-8", "a byte is not UTF-8")
}

/// The parser's messages in the terms of the relay's users.
fn translate(error: &serde_json::Error) -> Said {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or_default();
    let known = [
        ("trailing comma", said!("une virgule est de trop", "there is a trailing comma")),
        (
            "trailing characters",
            said!("du texte suit la fin de la valeur", "there is text after the end of the value"),
        ),
        ("expected value", said!("une valeur est attendue", "a value is expected")),
        ("expected ident", said!("true, false ou null est attendu", "true, false or null is expected")),
        ("expected `:`", said!("« : » est attendu", "\":\" is expected")),
        ("expected `,` or `]`", said!("« , » ou « ] » est attendu", "\",\" or \"]\" is expected")),
        ("expected `,` or `}`", said!("« , » ou « }} » est attendu", "\",\" or \"}}\" is expected")),
        (
            "key must be a string",
            said!("une clé entre guillemets est attendue", "a key in quotes is expected"),
        ),
        ("invalid escape", said!("une séquence d'échappement est inconnue", "an escape sequence is unknown")),
        ("invalid number", said!("un nombre est mal écrit", "a number is malformed")),
        (
            "number out of range",
            said!(
                "un nombre dépasse ce qu'un lecteur peut représenter",
                "a number is beyond what a reader can represent"
            ),
        ),
        (
            "control character",
            said!("un caractère de contrôle n'est pas échappé", "a control character is not escaped"),
        ),
        ("invalid unicode code point", not_utf8()),
        (
            "lone leading surrogate",
            said!("une moitié de paire de substitution est seule", "half of a surrogate pair stands alone"),
        ),
        (
            "unexpected end of hex escape",
            said!("une séquence \\u est incomplète", "a \\u sequence is incomplete"),
        ),
        ("recursion limit exceeded", said!("l'imbrication est trop profonde", "the nesting is too deep")),
    ];
    let found = known.into_iter().find(|(start, _)| message.starts_with(start));
    found.map_or_else(|| Said::carried_in(message), |(_, said)| said)
}

/// Walks one value, keeping nothing but the keys of the objects it is in.
#[derive(Clone, Copy)]
struct Value {
    rules: Rules,
    depth: usize,
}

impl Value {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= self.rules.depth_max {
            let most = self.rules.depth_max;
            let text = said!("l'imbrication dépasse {most} niveaux", "the nesting exceeds {most} levels");
            return Err(E::custom(text.carried()));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut keys = Keys::default();
        while let Some(key) = fields.next_key_seed(Key)? {
            if !self.rules.duplicate_keys
                && let Some(twice) = keys.insert(key)
            {
                let text =
                    said!("la clé {twice:?} est présente deux fois", "the key {twice:?} is there twice");
                return Err(A::Error::custom(text.carried()));
            }
            fields.next_value_seed(inner)?;
        }
        Ok(())
    }
}

/// The keys of one object: a list while there are few, then a set.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    /// Returns the key if it was present already.
    fn insert(&mut self, key: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if !self.many.is_empty() {
            return if self.many.contains(&key) { Some(key) } else { self.keep(key) };
        }
        if self.few.contains(&key) {
            return Some(key);
        }
        self.few.push(key);
        if self.few.len() > KEYS_IN_LIST {
            self.many.extend(self.few.drain(..));
        }
        None
    }

    fn keep(&mut self, key: Cow<'de, str>) -> Option<Cow<'de, str>> {
        self.many.insert(key);
        None
    }
}

/// Takes a key without copying it where the text is in memory.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { depth_max: 64, duplicate_keys: false };

    fn fault_of(text: &[u8]) -> JsonFault {
        check(text, RULES).expect_err("the text is not valid")
    }

    #[test]
    fn valid_texts_pass_from_memory_and_from_a_reader() {
        for text in ["{}", " [1, 2.5e3, \"é\", null] ", "\"x\"", "{\"a\":{\"a\":[{\"a\":1}]}}", "-0"] {
            assert_eq!(check(text.as_bytes(), RULES), Ok(()), "{text}");
            assert_eq!(check_reader(text.as_bytes(), RULES), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_fault_has_its_line_and_column() {
        let found = fault_of(b"{\n  \"a\": 1,\n  \"b\": x\n}");
        assert_eq!((found.line, found.column), (3, 8));
        assert_eq!(found.said().french(), "JSON invalide, ligne 3, colonne 8 : une valeur est attendue");
        assert_eq!(found.said().english(), "Invalid JSON, line 3, column 8: a value is expected");
    }

    #[test]
    fn a_column_counts_characters_as_editors_do() {
        let found = fault_of("{\n \"libellé\": \"Créances é\", x}".as_bytes());
        assert_eq!((found.line, found.column), (2, 27));
        let found = fault_of(b"{\"\xc3\xa9\xc3\xa9\": \"\xff\"}");
        assert_eq!((found.line, found.column), (1, 9));
    }

    #[test]
    fn a_truncated_text_is_incomplete_and_a_wrong_one_is_not() {
        assert!(fault_of(b"{\"a\": [1, 2").incomplete);
        assert!(!fault_of(b"{\"a\": ]").incomplete);
        assert_eq!(check_beginning(b"{\"a\": [1, 2", RULES), Ok(()));
    }

    #[test]
    fn a_flood_of_brackets_is_refused_at_the_limit() {
        let found = check_beginning(&vec![b'['; 1 << 20], RULES).expect_err("too deep");
        assert_eq!(found.what.french(), "l'imbrication dépasse 64 niveaux");
        assert_eq!(check([vec![b'['; 64], vec![b']'; 64]].concat().as_slice(), RULES), Ok(()));
    }

    #[test]
    fn invalid_utf_8_is_found_where_it_is() {
        let found = fault_of(b"{\"a\":\n \"\xff\"}");
        assert_eq!((found.line, found.column), (2, 3));
    }

    #[test]
    fn a_key_twice_is_refused_in_small_and_large_objects() {
        assert_eq!(fault_of(br#"{"a":1,"a":2}"#).what.french(), "la clé \"a\" est présente deux fois");
        assert_eq!(fault_of(br#"{"a":1,"\u0061":2}"#).what.english(), "the key \"a\" is there twice");
        let mut large: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(check(format!("{{{}}}", large.join(",")).as_bytes(), RULES), Ok(()));
        large.push("\"k3\":0".into());
        assert!(check(format!("{{{}}}", large.join(",")).as_bytes(), RULES).is_err());
        let lenient = Rules { duplicate_keys: true, ..RULES };
        assert_eq!(check(br#"{"a":1,"a":2}"#, lenient), Ok(()));
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        assert!(fault_of(b"\xef\xbb\xbf{}").what.french().contains("BOM"));
    }

    proptest! {
        #[test]
        fn agrees_with_a_full_parse(text in "[\\[\\]{}\",:0-9a-b\\\\ .eE+-]{0,24}") {
            let lenient = Rules { depth_max: 127, duplicate_keys: true };
            let parsed = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes(), lenient).is_ok(), parsed);
        }

        #[test]
        fn a_prefix_of_a_valid_text_may_continue(cut in 0usize..60) {
            let text = r#"{"comptes": [{"montant": -12.5e3, "libellé": "été\n"}, null]}"#.as_bytes();
            prop_assert_eq!(check_beginning(&text[..cut.min(text.len())], RULES), Ok(()));
        }
    }
}
