//! The address of the server.

use std::fmt;
use std::str::FromStr;

/// The WebSocket of devices if the address has no path.
const DEVICE_PATH: &str = "/esp32";

/// The WebSocket that devices connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name or IP address; IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

/// An invalid address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no address of a WebSocket: {why}; it looks like ws://127.0.0.1:8000")]
pub struct EndpointError {
    given: String,
    why: &'static str,
}

impl Endpoint {
    /// Host and port, as in a `Host` header or a URL.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ws://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |why| EndpointError { given: text.to_owned(), why };
        if text.starts_with("wss:") || text.starts_with("https:") {
            return Err(wrong(
                "devices connect without TLS; name the server itself, not the proxy before it",
            ));
        }
        let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| wrong("it begins with ws://"))?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("it has characters that no address has"));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => v6.split_once(']').ok_or_else(|| wrong("a bracket is missing"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| wrong("the port is a number up to 65535"))?,
            None => 80,
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let path = if matches!(path, "" | "/") { DEVICE_PATH } else { path };
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, EndpointError> {
        text.parse::<Endpoint>().map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn a_path_and_a_port_may_be_left_out() {
        for (text, expected) in [
            ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/esp32"),
            ("ws://relais.example/", "ws://relais.example:80/esp32"),
            ("http://[::1]:9000/devices", "ws://[::1]:9000/devices"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_address_says_what_one_looks_like() {
        for text in ["127.0.0.1:8000", "wss://a", "ws://:80", "ws://a:b", "ws://[::1:80", "ws://a b"] {
            assert!(read(text).unwrap_err().to_string().contains("ws://127.0.0.1:8000"), "{text}");
        }
    }
}
