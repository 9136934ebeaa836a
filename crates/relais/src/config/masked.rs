//! Addresses for display: without passwords, tokens and keys.

use std::borrow::Cow;

/// Replaces what is masked.
pub(super) const HIDDEN: &str = "••••••";

/// Substrings that mark a parameter's value as secret.
const SECRET_NAMES: &[&str] = &["pass", "pwd", "secret", "token", "key", "sig", "auth", "cred"];

/// The same for keywords of a text such as `host=db password=…`: fewer, since such texts are not only addresses.
const SECRET_WORDS: &[&str] = &["pass", "pwd", "secret", "token"];

/// An address without its secrets: the password before an `@`, a user without password in an HTTP URL (which is a token
/// there), and the values of parameters named like secrets; also without a scheme, or in keyword form. When in doubt,
/// more is masked. Any other text is unchanged.
#[must_use]
pub fn masked(url: &str) -> Cow<'_, str> {
    let is_scheme =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
        return masked_keywords(masked_user(url));
    };
    let (place, query) = match rest.split_once('?') {
        // A password that is not percent-encoded may contain a question mark.
        Some((_, query)) if query.contains('@') && !rest.split('?').next().is_some_and(is_whole) => {
            (rest, None)
        }
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let place = match place.rsplit_once('@') {
        None => Cow::Borrowed(place),
        Some((who, place)) => {
            let lone = !who.contains(':') && matches!(scheme, "http" | "https");
            let user = if lone { "" } else { who.split([':', '/']).next().unwrap_or_default() };
            let colon = if lone { "" } else { ":" };
            Cow::Owned(format!("{user}{colon}{HIDDEN}@{place}"))
        }
    };
    let query = query.map(|query| format!("?{}", masked_query(query))).unwrap_or_default();
    Cow::Owned(format!("{scheme}://{place}{query}"))
}

/// `user:password@…` without the password. The path of a SQLite file has none.
fn masked_user(text: &str) -> Cow<'_, str> {
    match text.rsplit_once('@').and_then(|(who, place)| Some((who.split_once(':')?.0, place))) {
        Some((user, place)) if user != "sqlite" => Cow::Owned(format!("{user}:{HIDDEN}@{place}")),
        _ => Cow::Borrowed(text),
    }
}

/// `host=db password=…` up to the first secret: what follows may be part of it. A log directive such as
/// `relais::auth::token=debug` is not a keyword.
fn masked_keywords(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_secret_at = |at: &usize| {
        let before = text[..*at].trim_end();
        let start = before
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let name = before[start..].to_ascii_lowercase();
        !before[..start].ends_with("::") && SECRET_WORDS.iter().any(|word| name.contains(word))
    };
    let found = text.match_indices('=').map(|(at, _)| at).find(is_secret_at);
    match found {
        Some(at) if !text[at + 1..].trim().is_empty() => Cow::Owned(format!("{}={HIDDEN}", &text[..at])),
        _ => text,
    }
}

/// Whether authority and path are complete, not cut inside a password: the port is a number.
fn is_whole(place: &str) -> bool {
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((_, port)) => port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit()),
        None => true,
    }
}

fn masked_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret(name) => format!("{name}={HIDDEN}"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn is_secret(name: &str) -> bool {
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy().to_ascii_lowercase();
    SECRET_NAMES.iter().any(|word| name.contains(word))
}

/// A text with every address in it masked: for texts from elsewhere, such as a library's error.
#[must_use]
pub fn masked_text(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let before = &rest[..at];
        let begin = before.rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let begin = begin.map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'`<>(){}[]|\\,;".contains(c);
        let host = &rest[at + 3..];
        // The brackets of an IPv6 address are part of it.
        let end = match host.strip_prefix('[').and_then(|host| host.find(']')) {
            Some(bracket) => bracket + 2 + host[bracket + 2..].find(ends).unwrap_or(host.len() - bracket - 2),
            None => host.find(ends).unwrap_or(host.len()),
        };
        out.push_str(&rest[..begin]);
        out.push_str(&masked(&rest[begin..at + 3 + end]));
        rest = &host[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for (url, shown) in [
            ("https://user:hunter2@id.example/certs", "https://user:••••••@id.example/certs"),
            ("https://hunter2@id.example/certs", "https://••••••@id.example/certs"),
            ("http://otlp:4318/v1?api-key=hunter2&a=1", "http://otlp:4318/v1?api-key=••••••&a=1"),
            ("https://x.example/?access%5Ftoken=hunter2", "https://x.example/?access%5Ftoken=••••••"),
            ("https://x.example/?SIG=hunter2&mail=a@b.fr", "https://x.example/?SIG=••••••&mail=a@b.fr"),
            ("mqtts://me:hunter2@broker:8883", "mqtts://me:••••••@broker:8883"),
            ("postgres://me:hunter2@db/relais", "postgres://me:••••••@db/relais"),
            ("postgres://me:hun@ter2@db/relais", "postgres://me:••••••@db/relais"),
            ("postgres://me:hun/ter2@db/relais", "postgres://me:••••••@db/relais"),
            ("postgres://me:hun?ter2@db/relais", "postgres://me:••••••@db/relais"),
            (
                "postgres://me@db/relais?sslmode=require&password=hunter@2",
                "postgres://me:••••••@db/relais?sslmode=require&password=••••••",
            ),
            ("http://[::1]:8000/?a=b@c", "http://[::1]:8000/?a=b@c"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("sqlite:/var/lib/relais.db", "sqlite:/var/lib/relais.db"),
            ("marie@example.fr", "marie@example.fr"),
            ("u:hunter2@otlp", "u:••••••@otlp"),
            ("u:hun@ter2@otlp:4318", "u:••••••@otlp:4318"),
            ("nonsense://u:hunter2@x", "nonsense://u:••••••@x"),
            ("http://u:hun@ter2@x:99999", "http://u:••••••@x:99999"),
            ("host=x password=hunter2", "host=x password=••••••"),
            ("host=x PASSWORD = 'hun ter2' user=me", "host=x PASSWORD =••••••"),
            ("host=x password=hun://ter2", "host=x password=••••••"),
            ("host=x user=me", "host=x user=me"),
            ("sqlite:/srv/a@b.db", "sqlite:/srv/a@b.db"),
            ("info,relais::auth::token=debug", "info,relais::auth::token=debug"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
        ] {
            assert_eq!(masked(url), shown, "{url}");
        }
    }

    #[test]
    fn addresses_in_the_words_of_others_are_masked_too() {
        let text = "error sending request for url (https://user:hunter2@otlp:4318/v1?token=hunter2): refused; \
                    see http://[::1]:80/ and «https://hunter2@x.fr»";
        let shown = masked_text(text);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("(https://user:••••••@otlp:4318/v1?token=••••••): refused; see http://[::1]:80/"),
            "{shown}"
        );
        assert_eq!(masked_text("rien à cacher : 10 h"), "rien à cacher : 10 h");
    }
}
