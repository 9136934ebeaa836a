//! Limits and intervals of the hub.

use std::sync::Arc;

use relais_protocol::time::{SharedClock, SystemClock};

/// Limits and intervals of the hub. Sizes are bytes, times are seconds unless the name says otherwise.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The most that may be queued for one session before it is closed as a slow consumer. A single batch may be larger
    /// when nothing else is queued.
    pub queue_bytes: usize,
    /// A stream's batch is written out when it reaches this size. A slow session's queue keeps the whole
    /// batch alive, so this also bounds what a small remainder pins.
    pub batch_bytes: usize,
    /// The most that may be queued in the hub's inbox. Beyond it [`Hub::has_room`](crate::Hub::has_room) returns false
    /// to publishers of durable events, and ephemeral ones are dropped.
    pub inbox_bytes: usize,
    /// The least pause before a pass, in which more frames accumulate during bursts, in microseconds; 0 for no pause at
    /// all.
    pub burst_pause_us: u64,
    /// Send buffer of each socket in the kernel (it reserves twice as much).
    pub send_buffer_bytes: usize,
    /// Sessions in all.
    pub sessions_max: usize,
    /// Sessions of one principal; anonymous sessions are not counted.
    pub sessions_per_principal_max: usize,
    /// Sessions from one address.
    pub sessions_per_address_max: usize,
    /// Unauthenticated sessions in all.
    pub anonymous_max: usize,
    /// The same per address.
    pub anonymous_per_address_max: usize,
    /// The most that is buffered of an incomplete message for an unauthenticated client.
    pub anonymous_message_bytes_max: usize,
    /// The most that is buffered of incomplete messages, over all sessions.
    pub unfinished_bytes_max: usize,
    /// Channels that one session may subscribe to; those its principal belongs to are not counted.
    pub subscriptions_per_session_max: usize,
    /// Recent durable events kept in memory for recovery.
    pub history_events_max: usize,
    /// The same in bytes of their data.
    pub history_bytes_max: usize,
    /// Events that one recovery may replay; a client that missed more starts afresh.
    pub recover_events_max: usize,
    /// The same in bytes of encoded frames. They are queued for the session in addition to `queue_bytes`.
    pub recover_bytes_max: usize,
    /// Recoveries that read the log at the same time; others wait for their turn.
    pub recoveries_max: usize,
    /// Latest values of ephemeral events queued for one slow session; further keys are dropped.
    pub latest_values_max: usize,
    /// The same in bytes of frames.
    pub latest_bytes_max: usize,
    /// How often a silent session is pinged.
    pub ping_interval_s: u32,
    /// A session that receives nothing for so long is closed.
    pub idle_timeout_s: u32,
    /// Minimum average rate, in bytes per second, of a message that takes longer than `idle_timeout_s`.
    pub message_rate_min: u32,
    /// How long a closing session may take to read what is queued and answer.
    pub close_timeout_s: u32,
    /// Where the seconds come from.
    pub ticks: Ticks,
    /// The time, for whoever serves the sessions.
    pub clock: SharedClock,
}

/// Where the hub's seconds come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticks {
    /// The hub's thread wakes every second.
    System,
    /// Every [`Hub::tick`](crate::Hub::tick) is a second: time stands still until a test moves it.
    Manual,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            queue_bytes: 1024 * 1024,
            batch_bytes: 64 * 1024,
            inbox_bytes: 16 * 1024 * 1024,
            burst_pause_us: 100,
            send_buffer_bytes: 64 * 1024,
            sessions_max: 100_000,
            sessions_per_principal_max: 100,
            sessions_per_address_max: 20_000,
            anonymous_max: usize::MAX,
            anonymous_per_address_max: usize::MAX,
            anonymous_message_bytes_max: usize::MAX,
            unfinished_bytes_max: 256 * 1024 * 1024,
            subscriptions_per_session_max: 500,
            history_events_max: 4_096,
            history_bytes_max: 8 * 1024 * 1024,
            recover_events_max: 10_000,
            recover_bytes_max: 4 * 1024 * 1024,
            recoveries_max: 32,
            latest_values_max: 32_768,
            latest_bytes_max: 8 * 1024 * 1024,
            ping_interval_s: 25,
            idle_timeout_s: 60,
            message_rate_min: 256,
            close_timeout_s: 5,
            ticks: Ticks::System,
            clock: Arc::new(SystemClock),
        }
    }
}
