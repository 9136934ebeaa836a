//! The query of a request.

use relais_protocol::engineio::{Refusal, Version};

/// Parameters that one request may have.
const PARAMETERS_MAX: usize = 32;

/// The transport requested by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

/// The query of a request (section "Request path", query parameters).
#[derive(Debug)]
pub(super) struct Query {
    pub(super) version: Version,
    pub(super) transport: Transport,
    /// Absent in the request that opens a connection.
    pub(super) sid: Option<String>,
    /// A client of version 3 that accepts text only.
    pub(super) base64: bool,
    /// Whether the answer is to be a script, as early browsers required.
    pub(super) jsonp: bool,
    pub(super) pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn parse(query: &str, allow_v3: bool) -> Result<Self, Refusal> {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        let pairs: Vec<(String, String)> = pairs.take(PARAMETERS_MAX + 1).collect();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Refusal::BadRequest);
        }
        let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let transport = match value("transport") {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(Refusal::UnknownTransport),
        };
        let version = match value("EIO") {
            Some("4") => Version::V4,
            Some("3") if allow_v3 => Version::V3,
            _ => return Err(Refusal::UnsupportedVersion),
        };
        let base64 = value("b64").is_some_and(|b64| matches!(b64, "1" | "true"));
        let jsonp = value("j").is_some();
        let sid = value("sid").map(str::to_owned);
        Ok(Self { version, transport, sid, base64, jsonp, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> Refusal {
        Query::parse(query, true).unwrap_err()
    }

    #[test]
    fn the_order_of_parameters_is_free_and_unknown_ones_are_kept() {
        let query = Query::parse("transport=websocket&t=abc&EIO=4&sid=a%2Fb&recovery=1", true).unwrap();
        assert_eq!((query.version, query.transport), (Version::V4, Transport::WebSocket));
        assert_eq!(query.sid.as_deref(), Some("a/b"));
        assert!(query.pairs.contains(&("recovery".to_owned(), "1".to_owned())));
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_own_reason() {
        assert_eq!(refusal("EIO=4"), Refusal::UnknownTransport);
        assert_eq!(refusal("EIO=4&transport=abc"), Refusal::UnknownTransport);
        assert_eq!(refusal("transport=polling"), Refusal::UnsupportedVersion);
        assert_eq!(refusal("EIO=abc&transport=polling"), Refusal::UnsupportedVersion);
        assert_eq!(Query::parse("EIO=3&transport=polling", false).unwrap_err(), Refusal::UnsupportedVersion);
        assert_eq!(refusal(&"a=1&".repeat(40)), Refusal::BadRequest);
    }
}
