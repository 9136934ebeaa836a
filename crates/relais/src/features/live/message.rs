//! Reading what devices say. Firmware in C writes JSON with `printf`: a sensor that measures nothing is a bare `nan`, and
//! the NUL behind a text comes along. One such value is no reason to lose the others.

use serde_json::{Map, Value};

/// What a device said.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// Its fields.
    pub fields: Map<String, Value>,
    /// How many numbers in it were none, such as `nan`; they are null.
    pub mended: usize,
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Something else altogether.
    #[error("a JSON object is expected")]
    NoObject,
    /// An object that is damaged.
    #[error("this is no JSON: {0}")]
    Damaged(String),
}

impl Message {
    /// Reads one.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim_end_matches(['\0', ' ', '\t', '\r', '\n']);
        let damaged = match serde_json::from_str(text) {
            Ok(fields) => return Ok(Self { fields, mended: 0 }),
            Err(error) => error,
        };
        if !text.trim_start().starts_with('{') {
            return Err(Unreadable::NoObject);
        }
        let (text, mended) = without_numbers_that_are_none(text);
        match serde_json::from_str(&text) {
            Ok(fields) if mended > 0 => Ok(Self { fields, mended }),
            _ => Err(Unreadable::Damaged(damaged.to_string())),
        }
    }

    /// Reads one from bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(bytes)
            .map_err(|error| Unreadable::Damaged(format!("a text is not UTF-8: {error}")))
            .and_then(Self::read)
    }
}

/// The text with `null` for each bare word that stands for a number and is none, and how many there were.
fn without_numbers_that_are_none(text: &str) -> (String, usize) {
    let (mut out, mut mended, mut rest) = (String::with_capacity(text.len()), 0, text);
    while !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'"' => string_end(rest),
            byte if is_between(byte) => 1,
            _ => rest.bytes().position(|byte| is_between(byte) || byte == b'"').unwrap_or(rest.len()),
        };
        let (piece, after) = rest.split_at(end);
        let is_none = is_no_number(piece);
        out.push_str(if is_none { "null" } else { piece });
        mended += usize::from(is_none);
        rest = after;
    }
    (out, mended)
}

/// Where a string ends that begins here.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Whether this separates words outside of strings.
fn is_between(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',' | b' ' | b'\t' | b'\r' | b'\n')
}

/// `nan`, `-nan(ind)`, `Infinity`, `-inf`, `1.#QNAN`, and what is beyond a double, as `1e999`.
fn is_no_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['-', '+']).to_ascii_lowercase();
    let is_number = word.bytes().next_back().is_some_and(|byte| byte.is_ascii_digit());
    let is_beyond = || word.parse::<f64>().is_ok_and(f64::is_infinite);
    plain.starts_with("nan") || plain.starts_with("inf") || plain.contains(".#") || (is_number && is_beyond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_that_is_none_is_null_and_the_others_stay() {
        for word in [
            "nan",
            "-nan",
            "NaN",
            "inf",
            "-inf",
            "Infinity",
            "-Infinity",
            "nan(0x8000000000000)",
            "-nan(ind)",
            "1.#QNAN",
            "-1.#IND",
            "1e999",
            "-1e400",
        ] {
            let read = Message::read(&format!(
                "{{\"humidity\":{word}, \"temperature\":21.5,\"deep\":[{{\"x\":{word}}}]}}"
            ));
            let expected = json!({ "humidity": null, "temperature": 21.5, "deep": [{ "x": null }] });
            assert_eq!(
                read.map(|read| (Value::Object(read.fields), read.mended)),
                Ok((expected, 2)),
                "{word}"
            );
        }
    }

    #[test]
    fn words_in_texts_stay_whatever_they_are() {
        let text = r#"{"nan": "nan, \"inf\": nan", "a\\": nan}"#;
        let read = Message::read(text).unwrap();
        let expected = json!({ "nan": "nan, \"inf\": nan", "a\\": null });
        assert_eq!((Value::Object(read.fields), read.mended), (expected, 1));
    }

    #[test]
    fn the_end_of_a_text_in_c_may_come_along() {
        for end in ["\0", "\0\0\n", "\r\n\0", " "] {
            let read = Message::read(&format!("{{\"uptime\":5}}{end}")).unwrap();
            assert_eq!((Value::Object(read.fields), read.mended), (json!({ "uptime": 5 }), 0), "{end:?}");
        }
    }

    #[test]
    fn what_is_damaged_is_told_from_what_is_something_else() {
        for text in
            ["{", "{\"a\":}", "{\"a\":nano,}", "{\"a\":1}{", "{\"a\":\"x", "{\"a\0\":1}", "{\"a\":nan"]
        {
            assert!(matches!(Message::read(text), Err(Unreadable::Damaged(_))), "{text}");
        }
        for text in ["", "nan", "[nan]", "\"telemetry\"", "5", "no json", "\0"] {
            assert_eq!(Message::read(text), Err(Unreadable::NoObject), "{text}");
        }
        assert!(matches!(Message::read_bytes(b"{\"a\":\"\xb0C\"}"), Err(Unreadable::Damaged(_))));
    }
}
