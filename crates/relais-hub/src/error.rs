//! Why a session or a subscription is refused.

use std::net::IpAddr;

use relais_protocol::event::Channel;

use crate::log::LogError;

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// All places are taken.
    #[error("the server already has {0} sessions, its limit: try again later or raise sessions_max")]
    TooManySessions(usize),
    /// The principal has too many sessions.
    #[error("{principal} already has {limit} sessions, the limit: close one first")]
    TooManyForPrincipal {
        /// Whose sessions.
        principal: String,
        /// The limit.
        limit: usize,
    },
    /// The address has too many sessions.
    #[error("{address} already has {limit} sessions, the limit: close one first")]
    TooManyForAddress {
        /// Where they come from.
        address: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// Too many sessions have not said who they are.
    #[error("{0} sessions have not said who they are, the limit: sign in first, or try again in a moment")]
    TooManyAnonymous(usize),
    /// The same, of one address.
    #[error(
        "{limit} sessions from {address} have not said who they are, the limit: sign in first, or try again in a moment"
    )]
    TooManyAnonymousForAddress {
        /// Where they come from.
        address: IpAddr,
        /// The limit.
        limit: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down: connect again in a moment")]
    Draining,
    /// The socket's options could not be set, usually because it is gone.
    #[error("the socket cannot be used: {0}")]
    Socket(#[from] std::io::Error),
}

/// Why a session is not in a channel.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The session is in the channel already.
    #[error("already subscribed to {0}")]
    AlreadySubscribed(Channel),
    /// The session is in too many channels.
    #[error("a session can be in {0} channels: leave one first")]
    TooManySubscriptions(usize),
    /// A position names a place in one topic.
    #[error("{0} is not a single topic: resume it with a cursor instead of an offset")]
    NotATopic(Channel),
    /// The session has ended, or is about to.
    #[error("the session is closed")]
    SessionClosed,
    /// The hub has stopped.
    #[error("the hub has stopped")]
    Stopped,
    /// The missed events could not be read. The session is closed with 1011: live frames that waited behind
    /// them can no longer be put in order, so the client comes back and resumes.
    #[error(transparent)]
    Log(#[from] LogError),
}
