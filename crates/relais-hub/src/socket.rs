//! The read side of a WebSocket, and its end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use relais_protocol::websocket::{Limits, ProtocolError};

use crate::close::CloseReason;
use crate::session::Session;

/// What a dialect does with a client's messages.
///
/// Called on the connection's task, one message at a time and in order. The text is borrowed from the read
/// buffer: take what is needed.
pub trait Receiver: Send + Unpin + 'static {
    /// A complete text message.
    fn text(&mut self, session: &Arc<Session>, text: &str) -> Flow;

    /// A complete binary message. Refused with 1003 unless the dialect takes it.
    fn binary(&mut self, session: &Arc<Session>, bytes: &[u8]) -> Flow {
        let _ = (session, bytes);
        Flow::Close(crate::close::CloseCode::Unsupported.into())
    }
}

/// What happens after a message.
pub enum Flow {
    /// The next message.
    Continue,
    /// This work, and the next message when it is done. Frames to the client flow meanwhile.
    Await(BoxFuture<'static, Flow>),
    /// The connection closes after the frames that already wait.
    Close(CloseReason),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client closed, with this code if it gave one.
    ByClient(Option<u16>),
    /// We closed, with this code.
    ByServer(u16),
    /// The client broke the protocol.
    Protocol(ProtocolError),
    /// The connection was lost.
    Lost,
}

/// Runs the read side of `session` until the connection ends; the session is then gone from the hub, also if
/// the future is dropped before. `leftover` is what the HTTP server had read beyond the upgrade request.
///
/// # Panics
/// If the session's transport is not a socket.
pub fn run_socket<R: Receiver>(
    session: Arc<Session>,
    leftover: Bytes,
    receiver: R,
    limits: Limits,
) -> SocketRun<R> {
    let _ = (leftover, limits);
    SocketRun { session, receiver }
}

/// The future of [`run_socket`].
pub struct SocketRun<R> {
    session: Arc<Session>,
    receiver: R,
}

impl<R: Receiver> Future for SocketRun<R> {
    type Output = Ended;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Ended> {
        let _ = (&self.session, &self.receiver);
        Poll::Ready(Ended::Lost)
    }
}
