//! One quick pass that recognises most valid texts.
//!
//! It answers "valid" or "not sure" and never "invalid": anything unusual is left to the full walk, which reports the
//! fault and its location. So it may be simple: no decoded strings, no values, no allocation but a list of keys.

use super::Rules;

/// Digits that a number may have for its value to be in the range of a 64-bit float, whatever they are.
const DIGITS_MAX: usize = 200;

/// Digits of an exponent, likewise.
const EXPONENT_DIGITS_MAX: usize = 2;

/// Up to this many keys are compared each with each, more are sorted.
const KEYS_COMPARED: usize = 12;

/// Deeper texts are left to the full walk.
const DEPTH_MAX: usize = 127;

/// Whether `text` conforms to the grammar (RFC 8259) and to `rules`. `false` means that it may or may not.
pub(super) fn is_surely_valid(text: &str, rules: Rules) -> bool {
    Scan {
        text: text.as_bytes(),
        at: 0,
        depth: 0,
        objects: 0,
        keys: Vec::new(),
        first_keys: Vec::new(),
        rules,
    }
    .run()
    .is_some()
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
    /// The open containers from the outermost, which is the highest of `depth` bits: 1 is an object.
    objects: u128,
    /// The keys of the open objects, without their quotes.
    keys: Vec<&'t [u8]>,
    /// Where in `keys` those of each open object begin.
    first_keys: Vec<usize>,
    rules: Rules,
}

impl<'t> Scan<'t> {
    /// `None` is "not sure".
    fn run(mut self) -> Option<()> {
        loop {
            if !self.value()? {
                continue;
            }
            loop {
                if self.depth == 0 {
                    return (self.skip_space() == 0 && self.at == self.text.len()).then_some(());
                }
                let in_object = self.objects & 1 == 1;
                match (self.skip_space(), in_object) {
                    (b',', true) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => self.close()?,
                    _ => return None,
                }
            }
        }
    }

    /// Takes a scalar, an empty container, or the beginning of another up to its first value. Returns whether a value
    /// is complete.
    fn value(&mut self) -> Option<bool> {
        match self.skip_space() {
            b'"' => self.string().map(|_| true),
            b'-' | b'0'..=b'9' => self.number().map(|()| true),
            b'{' => {
                self.open(true)?;
                if self.skip_space() == b'}' {
                    return self.close().map(|()| true);
                }
                self.key().map(|()| false)
            }
            b'[' => {
                self.open(false)?;
                if self.skip_space() == b']' {
                    return self.close().map(|()| true);
                }
                Some(false)
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn open(&mut self, object: bool) -> Option<()> {
        if self.depth >= self.rules.depth_max.min(DEPTH_MAX) {
            return None;
        }
        self.at += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        if object {
            self.first_keys.push(self.keys.len());
        }
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        self.at += 1;
        self.depth -= 1;
        if self.objects & 1 == 1 {
            let first = self.first_keys.pop()?;
            if !all_differ(&mut self.keys[first..]) {
                return None;
            }
            self.keys.truncate(first);
        }
        self.objects >>= 1;
        Some(())
    }

    /// Takes a key and its colon. A key with an escape may equal another one.
    fn key(&mut self) -> Option<()> {
        if self.skip_space() != b'"' {
            return None;
        }
        let key = self.string()?;
        if key.contains(&b'\\') || self.skip_space() != b':' {
            return None;
        }
        self.at += 1;
        if !self.rules.duplicate_keys {
            self.keys.push(key);
        }
        Some(())
    }

    /// Takes a string and returns what is between its quotes.
    fn string(&mut self) -> Option<&'t [u8]> {
        let start = self.at + 1;
        self.at = start;
        loop {
            self.at += plain_length(&self.text[self.at..]);
            match self.byte() {
                b'"' => {
                    self.at += 1;
                    return Some(&self.text[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// Halves of surrogate pairs are left to the full walk.
    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        match self.byte() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                let digits = self.text.get(self.at + 1..self.at + 5)?;
                let is_half = matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
                if is_half || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 5;
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        let leading_zero = self.byte() == b'0';
        let mut digits = self.digits();
        if digits == 0 || leading_zero && digits > 1 {
            return None;
        }
        if self.byte() == b'.' {
            self.at += 1;
            let decimals = self.digits();
            if decimals == 0 {
                return None;
            }
            digits += decimals;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            if !(1..=EXPONENT_DIGITS_MAX).contains(&self.digits()) {
                return None;
            }
        }
        (digits <= DIGITS_MAX).then_some(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        self.at - start
    }

    fn word(&mut self, word: &[u8]) -> Option<bool> {
        if !self.text[self.at..].starts_with(word) {
            return None;
        }
        self.at += word.len();
        Some(true)
    }

    /// Skips white space and returns the next byte.
    fn skip_space(&mut self) -> u8 {
        loop {
            let byte = self.byte();
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// The current byte; NUL, which no rule accepts, at the end.
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }
}

/// The number of bytes before a quote, a backslash or a control character, eight at a time.
fn plain_length(text: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The highest bit of each byte that is zero; of a byte above such a one it may be set wrongly.
    let zeros = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let mut length = 0;
    for chunk in text.chunks_exact(8) {
        let word = <[u8; 8]>::try_from(chunk).map_or(0, u64::from_le_bytes);
        let quotes = zeros(word ^ (LOW * u64::from(b'"')));
        let escapes = zeros(word ^ (LOW * u64::from(b'\\')));
        let controls = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let found = quotes | escapes | controls;
        if found != 0 {
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    length + text[length..].iter().position(is_special).unwrap_or(text.len() - length)
}

fn all_differ(keys: &mut [&[u8]]) -> bool {
    if keys.len() <= KEYS_COMPARED {
        return keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key));
    }
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::walk;
    use super::*;

    const RULES: Rules = Rules { depth_max: 8, duplicate_keys: false };

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (-1e9..1e9f64).prop_map(Into::into),
            "[ -~é€\\n\\t\"\\\\]{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::vec(("[a-z]{1,12}", inner), 0..20)
                    .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn ordinary_texts_are_known_at_once(value in json()) {
            prop_assert!(is_surely_valid(&value.to_string(), RULES));
            prop_assert!(is_surely_valid(&serde_json::to_string_pretty(&value).unwrap(), RULES));
        }

        #[test]
        fn what_it_calls_valid_the_full_walk_takes(value in json(), at in any::<prop::sample::Index>(), put in "[\\[\\]{}\",:0-9a-fu\\\\ .eE+\\-\\x00-\\x1f]{0,3}") {
            let mut text: Vec<char> = value.to_string().chars().collect();
            let at = at.index(text.len());
            text.splice(at..(at + 1).min(text.len()), put.chars());
            let text: String = text.into_iter().collect();
            prop_assert!(!is_surely_valid(&text, RULES) || walk(&text, RULES).is_ok(), "{text:?}");
        }

        #[test]
        fn random_texts_never_make_it_err(text in "[\\[\\]{}\",:0-9a-b\\\\u .eE+-]{0,24}") {
            prop_assert!(!is_surely_valid(&text, RULES) || walk(&text, RULES).is_ok(), "{text:?}");
        }

        #[test]
        fn plain_bytes_are_counted_like_one_by_one(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let one_by_one = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            prop_assert_eq!(plain_length(&text), one_by_one.unwrap_or(text.len()));
        }
    }

    #[test]
    fn rules_are_kept_to() {
        let lenient = Rules { duplicate_keys: true, ..RULES };
        for (text, strict_too) in [(r#"{"a":1,"b":{"a":2}}"#, true), (r#"{"a":1,"a":2}"#, false)] {
            assert_eq!(is_surely_valid(text, RULES), strict_too, "{text}");
            assert!(is_surely_valid(text, lenient), "{text}");
        }
        let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        assert!(is_surely_valid(&format!("{{{}}}", many.join(",")), RULES));
        assert!(!is_surely_valid(&format!("{{{},\"k7\":0}}", many.join(",")), RULES));
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(is_surely_valid(&nested(8), RULES) && !is_surely_valid(&nested(9), RULES));
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_full_walk() {
        for text in
            ["1e999", "-1E100", r#""\ud800""#, r#"{"\u0061":1}"#, "", " ", "[1,]", "01", "1.", "tru", "[1] x"]
        {
            assert!(!is_surely_valid(text, RULES), "{text:?}");
        }
        assert!(!is_surely_valid(&"9".repeat(400), RULES));
    }
}
