//! Names for new things.

use relais_protocol::time::Timestamp;

/// Ids of one millisecond sort in the order in which they were made.
static ORDER: std::sync::Mutex<uuid::ContextV7> = std::sync::Mutex::new(uuid::ContextV7::new());

/// A UUIDv7 of this moment (RFC 9562 section 5.7).
#[must_use]
pub fn new_id(now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_secs()).unwrap_or(0);
    let nanos = u32::try_from(now.as_millis().rem_euclid(1000) * 1_000_000).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, seconds, nanos)).to_string()
}
