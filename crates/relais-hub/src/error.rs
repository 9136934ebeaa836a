//! Why a session or a subscription is refused.

use std::net::IpAddr;

use relais_protocol::event::Channel;

use crate::log::LogError;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// All places are taken.
    #[error("the server already has {0} sessions, its limit: try again later or raise sessions_max")]
    TooManySessions(usize),
    /// The principal has too many sessions.
    #[error("{principal} already has {limit} sessions, the limit: close one first")]
    TooManyForPrincipal {
        /// The principal.
        principal: String,
        /// The limit.
        limit: usize,
    },
    /// The address has too many sessions.
    #[error("{address} already has {limit} sessions, the limit: close one first")]
    TooManyForAddress {
        /// The address.
        address: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// Too many unauthenticated sessions.
    #[error("{0} sessions have not said who they are, the limit: sign in first, or try again in a moment")]
    TooManyAnonymous(usize),
    /// The same, for one address.
    #[error(
        "{limit} sessions from {address} have not said who they are, the limit: sign in first, or try again in a moment"
    )]
    TooManyAnonymousForAddress {
        /// The address.
        address: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down: connect again in a moment")]
    Draining,
    /// The socket's options could not be set, usually because it is closed.
    #[error("the socket cannot be used: {0}")]
    Socket(#[from] std::io::Error),
}

/// Why a subscription failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The session is already subscribed to the channel.
    #[error("already subscribed to {0}")]
    AlreadySubscribed(Channel),
    /// The session is subscribed to too many channels.
    #[error("a session can be in {0} channels: leave one first")]
    TooManySubscriptions(usize),
    /// A position refers to a single topic.
    #[error("{0} is not a single topic: resume it with a cursor instead of an offset")]
    NotATopic(Channel),
    /// The session has ended or is ending.
    #[error("the session is closed")]
    SessionClosed,
    /// The hub has stopped.
    #[error("the hub has stopped")]
    Stopped,
    /// The missed events could not be read. The session is closed with 1011: live frames held behind them can no longer
    /// be ordered, so the client reconnects and resumes.
    #[error(transparent)]
    Log(#[from] LogError),
}
