//! Origins of pages, and host names of this server.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const SETTING: &str = "server.allowed_origins (ALLOWED_ORIGINS)";

/// An origin whose pages may call from a browser, as browsers serialise it (RFC 6454 section 6.2), or `*` for every
/// origin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

impl Origin {
    /// Whether it matches every origin.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// As browsers serialise it, or `*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An origin as browsers serialise it: lower case, without the default port. `None` if the text is not an origin, as
/// for `null`.
#[must_use]
pub fn canonical_origin(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let mut letters = scheme.chars();
    let named = letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    let authority = authority.to_ascii_lowercase();
    let (host, port) = split_port(&authority)?;
    // Only application shells have origins without a host, such as `file://`.
    let web = matches!(&*scheme, "http" | "https");
    if !named || (host.is_empty() && (web || port.is_some())) {
        return None;
    }
    let usual = matches!((&*scheme, port), ("http", Some(80)) | ("https", Some(443)));
    match port.filter(|_| !usual) {
        Some(port) => Some(format!("{scheme}://{host}:{port}")),
        None => Some(format!("{scheme}://{host}")),
    }
}

/// The host and the port of an authority without user information, in lower case. `None` if invalid.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = match authority.strip_prefix('[') {
        Some(inside) => {
            let end = inside.find(']')?;
            inside[..end].parse::<std::net::Ipv6Addr>().ok()?;
            end + 2
        }
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    if !host.starts_with('[') && !host.chars().all(plain) {
        return None;
    }
    match rest {
        "" | ":" => Some((host, None)),
        rest => {
            let digits = rest.strip_prefix(':')?;
            let port = digits.parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
            Some((host, Some(port)))
        }
    }
}

impl FromStr for Origin {
    type Err = String;

    /// Accepts an origin in any spelling, and rejects what no browser ever sends, since it could never match.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let wrong = |why: &str| Err(format!("{SETTING}: {text:?} {why}"));
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("has no scheme: write for instance \"https://app.example.com\"");
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('*') {
            return wrong(
                "is a pattern: name each origin, or \"*\" alone for every one, which then has no cookies",
            );
        }
        if rest.contains(['/', '?', '#', '@']) {
            return wrong("is more than an origin: leave only the scheme, the host and the port");
        }
        let web = matches!(&*scheme.to_ascii_lowercase(), "http" | "https");
        // Browsers send non-ASCII names in Punycode.
        let ascii = match reqwest::Url::parse(text) {
            Ok(url) if web && !rest.is_ascii() => url.origin().ascii_serialization(),
            _ => format!("{scheme}://{rest}"),
        };
        match canonical_origin(&ascii) {
            Some(origin) => Ok(Self(origin)),
            None => wrong("is no origin: write for instance \"https://app.example.com\""),
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name by which clients reach this server: a host name or an address, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The normalised form used in comparisons: lower case, an IPv6 address without brackets, no trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host of a `Host` header, with or without a port.
    #[must_use]
    pub fn of_authority(authority: &str) -> Option<Self> {
        let authority = authority.to_ascii_lowercase();
        let (host, _) = split_port(&authority)?;
        let host = host.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then(|| Self(host.to_owned()))
    }

    /// The IP address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let has_port = split_port(text).is_none_or(|(_, port)| port.is_some()) || text.ends_with(':');
        let name = Self::of_authority(text).filter(|_| !has_port);
        name.ok_or_else(|| {
            format!(
                "server.names (RELAIS_SERVER_NAMES): {text:?} is no name of a host: write only the name, for instance \
                 \"relais.example.com\", without a scheme, a port or a pattern"
            )
        })
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_understood_in_every_spelling() {
        for (text, expected) in [
            ("https://app.example.com/", "https://app.example.com"),
            (" HTTPS://App.Example.com ", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80/", "http://app.example.com"),
            ("http://app.example.com:443", "http://app.example.com:443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://été.example.com/", "https://xn--t-9fab.example.com"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("file://", "file://"),
            ("*", "*"),
        ] {
            assert_eq!(text.parse::<Origin>().map(String::from), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_could_never_match_is_refused_with_the_remedy() {
        for (text, remedy) in [
            ("app.example.com", "https://app.example.com"),
            ("null", "has no scheme"),
            ("", "has no scheme"),
            ("https://app.example.com/app", "leave only"),
            ("https://app.example.com?a", "leave only"),
            ("https://me:secret@app.example.com", "leave only"),
            ("https://*.example.com", "name each origin"),
            ("https://", "no origin"),
            ("https://app.example.com:port", "no origin"),
            ("https://app.example.com:99999", "no origin"),
            ("https://app example.com", "no origin"),
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(error.contains(remedy) && error.contains("ALLOWED_ORIGINS"), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_is_a_host_alone() {
        for (text, expected) in
            [("Relais.Example.com.", "relais.example.com"), ("::1", "::1"), ("[::1]", "::1"), ("nas", "nas")]
        {
            assert_eq!(text.parse::<HostName>().map(String::from), Ok(expected.to_owned()), "{text}");
        }
        for text in [
            "https://relais.fr",
            "relais.fr:8000",
            "*.relais.fr",
            "*",
            "",
            "relais.fr/",
            "[::1]:80",
            "relais:",
        ] {
            assert!(text.parse::<HostName>().unwrap_err().contains("RELAIS_SERVER_NAMES"), "{text}");
        }
        assert_eq!(HostName::of_authority("LOCALHOST:8000").unwrap().as_str(), "localhost");
        assert_eq!(HostName::of_authority("[::1]:8000").unwrap().as_str(), "::1");
        for text in ["", ":80", "a b", "[::1", "user@localhost", "[localhost]"] {
            assert_eq!(HostName::of_authority(text), None, "{text}");
        }
    }
}
