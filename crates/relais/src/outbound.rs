//! Outgoing HTTP calls to other servers: which proxy they use, and the actual cause of a failure.

use std::error::Error;
use std::net::IpAddr;

use reqwest::{ClientBuilder, Url};

/// A client for one server. Proxies from the environment are for other computers: this one is called directly.
pub fn client_for(url: &str) -> ClientBuilder {
    let client = reqwest::Client::builder();
    match Url::parse(url) {
        Ok(url) if is_this_computer(&url) => client.no_proxy(),
        _ => client,
    }
}

/// The proxy from the environment for calls to `url`, as `http://proxy:3128 (HTTPS_PROXY)`, without its password.
#[must_use]
pub fn proxy_for(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if is_this_computer(url) || is_excepted(url.host_str().unwrap_or_default(), &variable) {
        return None;
    }
    let own =
        if url.scheme() == "https" { ["HTTPS_PROXY", "https_proxy"] } else { ["HTTP_PROXY", "http_proxy"] };
    let mut names = own.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    names.find_map(|name| {
        let proxy = variable(name).filter(|proxy| !proxy.trim().is_empty())?;
        let host = proxy.rsplit_once('@').map_or(&*proxy, |(_, host)| host);
        let host = host.split_once("://").map_or(host, |(_, host)| host);
        Some(format!("http://{} ({name})", host.trim_end_matches('/')))
    })
}

fn is_excepted(host: &str, variable: &impl Fn(&str) -> Option<String>) -> bool {
    let excepted = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
    excepted.split(',').map(str::trim).filter(|name| !name.is_empty()).any(|name| {
        let name = name.trim_start_matches('.');
        name == "*" || host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// Whether an address is certainly on this computer.
#[must_use]
pub fn is_this_computer(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let named = host == "localhost" || host.ends_with(".localhost");
    named || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Nothing listens there, or the connection failed.
    Connection,
    /// The connection was accepted and closed before a response.
    Broken,
    /// Timed out.
    Silence,
    /// The host name does not resolve.
    Name,
    /// The certificate is not trusted.
    Certificate,
    /// Not TLS, or no common version.
    Tls,
    /// Not HTTP.
    Http,
}

impl Obstacle {
    /// The kind of failure of a call, and the text of the innermost cause.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static), timed_out: bool) -> (Self, String) {
        let chain = causes(error);
        let innermost = chain.last().cloned().unwrap_or_default();
        // The outermost error names the address, which may contain any of these words.
        let whole = chain[usize::from(chain.len() > 1)..].join("\n").to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| whole.contains(word));
        let obstacle = if timed_out || has(&["timed out"]) {
            return (Self::Silence, "timed out".to_owned());
        } else if has(&["certificate"]) {
            Self::Certificate
        } else if has(&["invalidcontenttype", "corrupt message", "handshake", "received fatal alert", "tls"])
        {
            Self::Tls
        } else if has(&["lookup", "dns error", "name or service"]) {
            Self::Name
        } else if has(&["invalid http", "parse", "message head"]) {
            Self::Http
        } else if has(&["before message completed", "connection reset", "broken pipe"]) {
            Self::Broken
        } else {
            Self::Connection
        };
        (obstacle, innermost)
    }

    /// Whether the failure may be temporary.
    #[must_use]
    pub fn may_pass(self) -> bool {
        !matches!(self, Self::Certificate | Self::Tls | Self::Http)
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Connection => "is it running, and is the address right?",
            Self::Broken => {
                "something takes connections there and ends them without an answer: is it https:// there, or another \
                 port? If it was just stopping, try again"
            }
            Self::Silence => "is it running, and does a firewall let this computer reach it?",
            Self::Name => "is the name right, and does this computer find names (DNS)?",
            Self::Certificate => {
                "it runs, but its certificate is not trusted here: use the name that the certificate is for, renew \
                 it if it is out of date, or add its authority to those of this system (on Debian a .crt file in \
                 /usr/local/share/ca-certificates, then update-ca-certificates; or SSL_CERT_FILE)"
            }
            Self::Tls => {
                "it runs, but does not speak TLS as https:// asks: is it http:// there, or another port?"
            }
            Self::Http => {
                "something answers there that does not speak HTTP: is it https://, or another port?"
            }
        }
    }
}

/// An error and its causes, outermost first, including what an I/O error wraps without exposing it as its source.
fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let (mut chain, mut next) = (Vec::new(), Some(error));
    while let Some(cause) = next {
        chain.push(cause.to_string());
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn proxy(address: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        proxy_for(&url(address), variable)
    }

    #[test]
    fn no_proxy_is_for_this_computer() {
        for here in ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000", "https://127.9.9.9"]
        {
            assert!(is_this_computer(&url(here)), "{here}");
            assert_eq!(proxy(here, &[("ALL_PROXY", "http://p:1")]), None);
        }
        assert!(!is_this_computer(&url("http://relais.example.com")));
    }

    #[test]
    fn the_proxy_is_named_with_its_variable_and_without_its_password() {
        let set = [("HTTPS_PROXY", "http://me:hunter2@proxy:3128/"), ("NO_PROXY", "intern.fr, other.fr")];
        assert_eq!(proxy("https://a.example", &set).unwrap(), "http://proxy:3128 (HTTPS_PROXY)");
        assert_eq!(proxy("http://a.example", &set), None);
        assert_eq!(proxy("https://relais.intern.fr", &set), None);
        assert!(proxy("https://notintern.fr", &set).is_some());
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_not_a_server_that_does_not_run() {
        let inner = std::io::Error::other("invalid peer certificate: UnknownIssuer");
        let (obstacle, reason) = Obstacle::of(&inner, false);
        assert_eq!((obstacle, &*reason), (Obstacle::Certificate, "invalid peer certificate: UnknownIssuer"));
        assert!(!obstacle.may_pass() && obstacle.remedy().contains("update-ca-certificates"));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(Obstacle::of(&refused, false).0, Obstacle::Connection);
    }
}
