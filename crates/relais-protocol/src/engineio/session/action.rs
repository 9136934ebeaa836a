//! What a session asks its caller to do.

use super::super::{Frame, Payload, Refusal};

/// The caller's identifier of an HTTP request of this session.
pub type RequestId = u64;
/// The caller's identifier of a WebSocket of this session.
pub type SocketId = u64;

/// What the caller does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer this request.
    Answer(RequestId, Response),
    /// Write this frame to the WebSocket, as text or binary, its bytes unchanged.
    Write(SocketId, Frame),
    /// Close the WebSocket with this code.
    CloseSocket(SocketId, u16),
    /// A message from the client, in the order of arrival.
    Message(Frame),
    /// This WebSocket is now the transport.
    Upgraded(SocketId),
    /// The session has ended: forget it. Nothing more is sent to the client.
    Closed(CloseReason),
}

/// The response to an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// 200 with the packets, to a GET.
    Packets(Payload),
    /// 200 with the body `ok`, to a POST.
    Ok,
    /// 400 with [`Refusal::to_json`].
    Refused(Refusal),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The client sent a close packet or closed its WebSocket.
    #[error("the client closed")]
    Client,
    /// [`Session::close`](super::Session::close) was called.
    #[error("the server closed")]
    Server,
    /// A heartbeat was not answered, or did not arrive.
    #[error("no heartbeat within pingTimeout")]
    PingTimeout,
    /// A second GET or POST while the first is in progress ("HTTP long-polling").
    #[error("two requests of one kind at once: a client has one GET and one POST under way")]
    ConcurrentRequests,
    /// A packet or payload that is invalid or that a client may not send.
    #[error("a packet that cannot be read, or that a client may not send here")]
    Protocol,
    /// A payload or frame larger than `maxPayload`.
    #[error("a payload larger than the maxPayload of the handshake")]
    TooLarge,
    /// The queue of a polling client exceeds its limit.
    #[error("more bytes wait for the client than queue_bytes allows")]
    SlowClient,
}

impl CloseReason {
    /// The close code of the WebSocket (RFC 6455 section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Client | Self::Server | Self::PingTimeout => 1000,
            Self::ConcurrentRequests | Self::Protocol => 1002,
            Self::TooLarge => 1009,
            Self::SlowClient => 1008,
        }
    }
}

/// Why a packet cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is closing or closed.
    #[error("the session is closed: nothing more can be sent on it")]
    Closed,
    /// The message does not fit in the queue; the session is closed with [`CloseReason::SlowClient`].
    #[error("more than {0} bytes wait for the client: the session was closed")]
    QueueFull(usize),
}
