//! The address of a client behind reverse proxies.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::config::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Maximum number of proxies in a row.
const HOPS_MAX: usize = 16;

/// The address of the client: the peer's, unless the peer is a trusted proxy. Then `X-Forwarded-For` is read from its
/// end, where each proxy appends the address it was called from, up to the first that is not a trusted proxy: anything
/// before that one may be forged.
///
/// `Forwarded` (RFC 7239) is not read: a proxy that sets only one of the two passes on the other as the client sent it.
pub(super) fn client_address(peer: SocketAddr, headers: &HeaderMap, trusted: &[Network]) -> SocketAddr {
    let mut client = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).take(HOPS_MAX);
    while is_proxy(client.ip(), trusted) {
        let Some(before) = hops.next().and_then(|hop| address(hop.trim())) else { break };
        client = before;
    }
    client
}

/// Whether this is the address of a trusted proxy.
pub(super) fn is_proxy(address: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address))
}

/// An address with or without a port; some proxies add one.
fn address(hop: &str) -> Option<SocketAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let without_port = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    without_port.or_else(|_| hop.parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let trusted = ["127.0.0.1", "10.0.0.0/8", "::1"].map(|network| network.parse().unwrap());
        let lines = lines.iter().map(|line| (FORWARDED_FOR, line.parse().unwrap()));
        client_address(peer.parse().unwrap(), &lines.collect(), &trusted).ip().to_canonical().to_string()
    }

    #[test]
    fn who_is_no_proxy_of_ours_cannot_lie_about_its_address() {
        assert_eq!(client("198.51.100.7:5000", &["203.0.113.9"]), "198.51.100.7");
        assert_eq!(client("127.0.0.1:5000", &["203.0.113.9, 198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn the_client_is_found_behind_several_proxies() {
        assert_eq!(client("127.0.0.1:5000", &["198.51.100.7, 10.1.2.3"]), "198.51.100.7");
        assert_eq!(client("[::1]:5000", &["198.51.100.7", "10.1.2.3"]), "198.51.100.7");
        assert_eq!(client("[::ffff:127.0.0.1]:5000", &["2001:db8::7"]), "2001:db8::7");
    }

    #[test]
    fn ports_are_not_part_of_an_address() {
        assert_eq!(client("127.0.0.1:5000", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client("127.0.0.1:5000", &["[2001:db8::7]:4711"]), "2001:db8::7");
        assert_eq!(client("127.0.0.1:5000", &["[2001:db8::7]"]), "2001:db8::7");
    }

    #[test]
    fn where_nothing_sensible_stands_the_last_known_address_counts() {
        assert_eq!(client("127.0.0.1:5000", &[]), "127.0.0.1");
        assert_eq!(client("127.0.0.1:5000", &["198.51.100.7, unknown"]), "127.0.0.1");
        assert_eq!(client("127.0.0.1:5000", &["unknown, 10.1.2.3"]), "10.1.2.3");
        assert_eq!(client("127.0.0.1:5000", &[&"10.0.0.1, ".repeat(100)]), "127.0.0.1");
    }
}
