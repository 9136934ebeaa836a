//! A page of an administrator: a Socket.IO client on a WebSocket that shows every module.

use std::net::SocketAddr;

use serde_json::json;

use super::place_of;
use crate::dialect::Dialect;
use crate::error::BenchError;
use crate::http::find;
use crate::websocket::Listener;

/// What a page hears first once it listens.
const READY: &[u8] = b"42[\"page_registered\"";
const UPDATED: &[u8] = b"42[\"rt_telemetry_updated\",";
const SHORT: &[u8] = b"42[\"module_telemetry\",";
const ONLINE: &[u8] = b"42[\"rt_module_online\",";
const OFFLINE: &[u8] = b"42[\"rt_module_offline\",";

/// What a page hears of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Its values, with the moment of their sending.
    Updated {
        place: usize,
        stamp: u64,
    },
    /// The same in short.
    Short,
    Online(usize),
    Offline(usize),
    /// What the scenarios do not look at.
    Other,
}

/// Connects a page and waits until it listens.
pub(super) async fn open_page(address: SocketAddr, token: &str) -> Result<Listener, BenchError> {
    let mut page = Listener::open(address, Dialect::Page).await?;
    let entry = format!("40{}", json!({ "token": token }));
    let mut state = State::Entering;
    page.say(entry.as_bytes())?;
    while state != State::Ready {
        let mut next = state;
        page.next_frames(|text| next = next.hear(text)).await?;
        if next == State::Refused {
            return Err(BenchError::wrong("a page was not let in"));
        }
        if next != state && next == State::Entered {
            page.say(br#"42["register_page",{"page":"admin"}]"#)?;
        }
        state = next;
    }
    Ok(page)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Entering,
    Entered,
    Ready,
    Refused,
}

impl State {
    fn hear(self, text: &[u8]) -> Self {
        match self {
            Self::Entering if text.starts_with(b"40") => Self::Entered,
            _ if text.starts_with(READY) => Self::Ready,
            _ if text.starts_with(b"44") || text.starts_with(b"42[\"error\"") => Self::Refused,
            state => state,
        }
    }
}

/// What a text means to the page. Only the bytes that count are looked at: there are very many.
pub(super) fn shown(text: &[u8]) -> Result<Shown, BenchError> {
    let of = |event: &[u8]| text.starts_with(event);
    if of(SHORT) {
        return Ok(Shown::Short);
    }
    let is_known = of(UPDATED) || of(ONLINE) || of(OFFLINE);
    if !is_known {
        return Ok(Shown::Other);
    }
    let wrong = || BenchError::wrong(format!("a page heard {}", String::from_utf8_lossy(text)));
    let place = value(text, b"\"moduleId\":\"").and_then(place_of).ok_or_else(wrong)?;
    if !of(UPDATED) {
        return Ok(if of(ONLINE) { Shown::Online(place) } else { Shown::Offline(place) });
    }
    // Until its first report a module has no stamp.
    let stamp = value(text, b"\"sentUs\":").map_or(Some(0), number).ok_or_else(wrong)?;
    Ok(Shown::Updated { place, stamp })
}

/// What follows `name`, up to the next quote, comma or brace.
fn value<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = &text[find(text, name)? + name.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b',' | b'}'))?;
    Some(&rest[..end])
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_hears_is_understood() {
        let text =
            br#"42["rt_telemetry_updated",{"moduleId":"MC-0042-STN","telemetry":{"uptime":1,"sentUs":77}}]"#;
        assert_eq!(shown(text).unwrap(), Shown::Updated { place: 42, stamp: 77 });
        assert_eq!(
            shown(br#"42["rt_module_offline",{"moduleId":"MC-0007-AP"}]"#).unwrap(),
            Shown::Offline(7)
        );
        assert_eq!(shown(br#"42["module_telemetry",{}]"#).unwrap(), Shown::Short);
        assert_eq!(shown(br#"42["rt_global_stats_updated",{}]"#).unwrap(), Shown::Other);
        assert!(shown(br#"42["rt_module_online",{"moduleId":"other"}]"#).is_err());
    }
}
