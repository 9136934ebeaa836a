//! Which pages may call from a browser: scheme, host and port are compared.

use axum::http::{Extensions, HeaderMap, HeaderName, Version, header};

use crate::AppError;
use crate::config::{Origin, canonical_origin};
use crate::said::said;

/// The header in which a browser describes the origin of a call (Fetch Metadata Request Headers).
pub(crate) const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether clients reach this server over https, according to a trusted proxy in front. Without one they do not: this
/// server has no TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secure(pub(crate) bool);

impl Secure {
    /// Reads the proxy's header; with several proxies in a row the nearest counts.
    pub(crate) fn of(headers: &HeaderMap, from_proxy: bool) -> Self {
        let last = headers.get_all(FORWARDED_PROTO).iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        Self(from_proxy && last.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https")))
    }
}

/// The origin of this server's own pages, as this client reaches it.
pub(crate) fn own_origin(headers: &HeaderMap, extensions: &Extensions) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let Secure(secure) = extensions.get().copied().unwrap_or_default();
    canonical_origin(&format!("{}://{host}", if secure { "https" } else { "http" }))
}

/// Whether a browser may call from the `Origin` of these headers. Other programs send none.
pub(crate) fn is_known_origin(headers: &HeaderMap, extensions: &Extensions, allowed: &[Origin]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    if allowed.iter().any(Origin::is_any) || is_from_own_page(headers, extensions) {
        return true;
    }
    let origin = origin.to_str().ok().and_then(canonical_origin);
    origin.is_some_and(|origin| allowed.iter().any(|known| known.as_str() == origin))
}

/// Why a request does not identify its host properly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostFault {
    /// HTTP/1.1 requires one (RFC 9112 section 3.2); older programs send none.
    Missing,
    /// More than one `Host`.
    Several,
    /// A host name that is not this server's.
    Foreign(String),
}

/// The host names that an open server accepts. Otherwise a page that points its own name at this server (DNS rebinding)
/// could read and write, since the browser treats it as one of this server's own pages.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: Vec<crate::config::HostName>,
    /// Whether IP addresses are accepted: they cannot be rebound. A server on a loopback address is reached only by
    /// that.
    addresses: bool,
}

impl Hosts {
    pub(crate) fn new(listen: std::net::IpAddr, names: &[crate::config::HostName]) -> Self {
        let usual = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), listen.to_string()];
        let usual = usual.iter().filter_map(|name| name.parse().ok());
        Self { names: names.iter().cloned().chain(usual).collect(), addresses: !listen.is_loopback() }
    }

    /// Whether the server is reachable from this computer only.
    pub(crate) fn is_on_loopback(&self) -> bool {
        !self.addresses
    }

    pub(crate) fn check(
        &self,
        version: Version,
        target: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), HostFault> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = hosts.next().map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        if hosts.next().is_some() {
            return Err(HostFault::Several);
        }
        if host.is_none() && target.is_none() && version >= Version::HTTP_11 {
            return Err(HostFault::Missing);
        }
        // An absolute-form target takes precedence over the header (RFC 9112 section 3.2.2); here both must match.
        for named in target.into_iter().chain(host.as_deref()) {
            if !self.answers_to(named) {
                return Err(HostFault::Foreign(named.to_owned()));
            }
        }
        Ok(())
    }

    fn answers_to(&self, authority: &str) -> bool {
        crate::config::HostName::of_authority(authority)
            .is_some_and(|host| self.names.contains(&host) || (self.addresses && host.address().is_some()))
    }
}

/// Whether the browser states that this comes from a page of this server's own origin: by `Sec-Fetch-Site`, which no
/// page can set, or without it by an `Origin` of the same scheme, host and port.
pub(crate) fn is_from_own_page(headers: &HeaderMap, extensions: &Extensions) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| canonical_origin(origin.to_str().ok()?));
    origin.is_some() && origin == own_origin(headers, extensions)
}

/// Why a page of a foreign origin is rejected.
pub(crate) fn origin_refused() -> AppError {
    let text = said!(
        "Origine refusée : ajoutez-la à ALLOWED_ORIGINS (server.allowed_origins) si cette page est la vôtre. Derrière \
         un proxy qui termine TLS, nommez-le dans RELAIS_TRUSTED_PROXIES (server.trusted_proxies)",
        "Origin refused: add it to ALLOWED_ORIGINS (server.allowed_origins) if this page is yours. Behind a proxy that \
         terminates TLS, name it in RELAIS_TRUSTED_PROXIES (server.trusted_proxies)"
    );
    AppError::forbidden("origin_refused", text)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::HostName;

    fn known(origin: Option<&str>, secure: bool, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("Relais.fr:8000"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(Secure(secure));
        let allowed: Vec<Origin> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        is_known_origin(&headers, &extensions, &allowed)
    }

    #[test]
    fn foreign_pages_are_refused_unless_they_are_named() {
        assert!(known(None, false, &[]));
        assert!(known(Some("http://relais.fr:8000"), false, &[]));
        for foreign in [
            "https://relais.fr:8000",
            "file://relais.fr:8000",
            "http://relais.fr",
            "http://relais.fr:80001",
            "http://relais.fr.evil:8000",
            "relais.fr:8000",
            "null",
            "file://",
            "http://app.fr",
        ] {
            assert!(!known(Some(foreign), false, &[]), "{foreign}");
        }
        assert!(known(Some("https://relais.fr:8000"), true, &[]), "behind a proxy that speaks TLS");
        assert!(!known(Some("http://relais.fr:8000"), true, &[]));
        assert!(known(Some("http://app.fr"), false, &["http://app.fr:80/"]));
        assert!(!known(Some("https://app.fr"), false, &["http://app.fr"]));
        assert!(known(Some("http://app.fr"), false, &["*"]) && known(Some("null"), false, &["*"]));
    }

    #[test]
    fn a_proxy_is_believed_only_if_it_is_trusted() {
        let headers: HeaderMap =
            [(FORWARDED_PROTO, HeaderValue::from_static("http, https"))].into_iter().collect();
        assert_eq!(Secure::of(&headers, true), Secure(true));
        assert_eq!(Secure::of(&headers, false), Secure(false));
        assert_eq!(Secure::of(&HeaderMap::new(), true), Secure(false));
    }

    fn refused(listen: &str, names: &[&str], target: Option<&str>, hosts: &[&str]) -> Option<HostFault> {
        let names: Vec<HostName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let headers = hosts.iter().map(|host| (header::HOST, HeaderValue::from_str(host).unwrap())).collect();
        Hosts::new(listen.parse().unwrap(), &names).check(Version::HTTP_11, target, &headers).err()
    }

    #[test]
    fn on_a_loopback_address_an_open_server_answers_to_its_own_names_only() {
        for own in ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:8000", "[::1]", "relais.lan:81"] {
            assert_eq!(refused("127.0.0.1", &["relais.lan"], None, &[own]), None, "{own}");
        }
        for foreign in
            ["evil.example:8000", "localhost.evil.example", "10.0.0.7", "127.0.0.1.evil.example", "", "a b"]
        {
            let fault = refused("127.0.0.1", &["relais.lan"], None, &[foreign]);
            assert_eq!(fault, Some(HostFault::Foreign(foreign.to_owned())));
        }
        assert_eq!(refused("127.0.0.1", &[], None, &["localhost", "localhost"]), Some(HostFault::Several));
        assert_eq!(refused("127.0.0.1", &[], None, &[]), Some(HostFault::Missing));
        let absolute = refused("127.0.0.1", &[], Some("evil.example"), &["localhost"]);
        assert_eq!(absolute, Some(HostFault::Foreign("evil.example".into())));
        assert_eq!(refused("127.0.0.1", &[], Some("localhost:8000"), &["localhost:8000"]), None);
    }

    #[test]
    fn elsewhere_it_answers_to_addresses_too_which_nobody_can_rebind() {
        assert_eq!(refused("0.0.0.0", &[], None, &["10.0.0.7:8000"]), None);
        assert_eq!(refused("0.0.0.0", &[], None, &["[fd00::7]:8000"]), None);
        assert_eq!(refused("0.0.0.0", &["nas"], None, &["nas:8000"]), None);
        assert!(refused("0.0.0.0", &[], None, &["nas:8000"]).is_some());
    }

    #[test]
    fn programs_of_old_that_name_no_host_are_no_browsers() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), &[]);
        assert_eq!(hosts.check(Version::HTTP_10, None, &HeaderMap::new()), Ok(()));
    }
}
