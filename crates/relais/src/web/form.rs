//! Form-encoded query strings.

/// The names and values of a query in order, including repeated names (WHATWG URL, section 5.1).
pub(crate) fn form_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_come_several_times_and_without_a_value() {
        let pairs: Vec<(String, String)> = form_pairs("a=1&&a=%C3%A9t%C3%A9+noir&b&=c").collect();
        let expected = [("a", "1"), ("a", "été noir"), ("b", ""), ("", "c")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
