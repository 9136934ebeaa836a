//! The header of a part.

/// The `Content-Disposition` of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) name: Option<String>,
    pub(super) filename: Option<String>,
}

impl Disposition {
    /// Parses the lines of a header; `None` if one of them is invalid.
    pub(super) fn of_head(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let mut found = Self::default();
        for line in head.split("\r\n") {
            if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return None;
            }
            match line.split_once(':') {
                Some((name, value)) if name.trim().eq_ignore_ascii_case("content-disposition") => {
                    found = Self::of_value(value);
                }
                _ => {}
            }
        }
        Some(found)
    }

    /// `filename*` (RFC 8187) takes precedence over `filename`: a client that sends both means the first, and sends the
    /// second for servers that do not support it, often encoded (RFC 2047).
    fn of_value(value: &str) -> Self {
        let (_, rest) = value.split_once(';').unwrap_or_default();
        let mut found = Self::default();
        let mut extended = None;
        for (name, value) in parameters(rest) {
            let slot = match name.to_ascii_lowercase().as_str() {
                "name" => &mut found.name,
                "filename" => &mut found.filename,
                "filename*" => {
                    extended = extended.or_else(|| extended_value(&value));
                    continue;
                }
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        found.filename = extended.or(found.filename);
        found
    }
}

/// The parameters of a header's value, after its first semicolon: `name=token` or `name="text"`. Within quotes only a
/// quote is escaped: old browsers write paths with single backslashes.
pub(super) fn parameters(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, after) = rest.trim_start_matches([' ', '\t', ';']).split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted)?;
                (quoted[..end].replace("\\\"", "\""), &quoted[end + 1..])
            }
            None => {
                let end = after.find([';', ' ', '\t']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        // Anything between a value and the next semicolon is ignored.
        rest = left.find(';').map_or("", |at| &left[at..]);
        Some((name.trim(), value))
    })
}

fn closing_quote(quoted: &str) -> Option<usize> {
    let mut quotes = quoted.match_indices('"').map(|(at, _)| at);
    quotes.find(|at| !quoted[..*at].ends_with('\\'))
}

/// RFC 8187, section 3.2.1: a charset, a language, and the text percent-encoded.
fn extended_value(text: &str) -> Option<String> {
    let mut parts = text.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(encoded).collect();
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filename(value: &str) -> Option<String> {
        let found = Disposition::of_value(value);
        assert_eq!(found.name.as_deref(), Some("file"), "{value}");
        found.filename
    }

    #[test]
    fn file_names_are_read_as_clients_write_them() {
        for (value, expected) in [
            ("form-data; name=\"file\"; filename=\"a.json\"", "a.json"),
            ("form-data; filename=a.json; name=file", "a.json"),
            ("form-data;name = file ; FileName = \"été;1.json\"", "été;1.json"),
            ("form-data; name=file; filename=\"a\\\"b.json\"", "a\"b.json"),
            ("form-data; name=file; filename=\"C:\\dir\\a.json\"", "C:\\dir\\a.json"),
            ("form-data; name=file; filename*=utf-8''%C3%A9t%C3%A9.json", "été.json"),
            ("form-data; name=file; filename*=ISO-8859-1'fr'%E9t%E9.json", "été.json"),
            ("form-data; name=file; filename*=UTF-8''a%2Fb.json; filename=x.json", "a/b.json"),
            (
                "form-data; name=file; filename=\"=?utf-8?Q?=C3=A9t=C3=A9.json?=\"; filename*=utf-8''%C3%A9t%C3%A9.json",
                "été.json",
            ),
            ("form-data; name=file; filename=\"a.json\"; filename*=utf-8''%FF", "a.json"),
            ("form-data; name=file; filename=\"a.json\"; filename*=koi8-r''%C1", "a.json"),
            ("form-data; name=file; filename=\"a.json\"; filename=\"b.json\"", "a.json"),
        ] {
            assert_eq!(filename(value).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(filename("form-data; name=file"), None);
        assert_eq!(filename("form-data; name=file; filename=\"open"), None);
    }

    #[test]
    fn a_head_with_control_characters_or_without_utf8_is_refused() {
        for head in [&b"X: a\x01b"[..], b"X: a\nY: b", b"X: \xff", b"X: a\rb"] {
            assert_eq!(Disposition::of_head(head), None, "{head:?}");
        }
        let head = b"Content-Type: text/plain\r\nCONTENT-DISPOSITION: form-data; name=\"a\"";
        assert_eq!(Disposition::of_head(head).unwrap().name.as_deref(), Some("a"));
    }
}
