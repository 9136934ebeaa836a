//! A session's frames as the body of an HTTP response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use crate::session::Session;

/// The frames of a session with [`Transport::Queue`](crate::Transport::Queue) as a stream of chunks: all that are
/// queued at the moment in one chunk. Ends when the session does; dropping it ends the session.
pub struct QueueBody {
    session: Arc<Session>,
    /// Whether the session continues without it.
    released: bool,
}

impl QueueBody {
    /// Takes over the write side of `session`. There is one per session.
    #[must_use]
    pub fn new(session: Arc<Session>) -> Self {
        Self { session, released: false }
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Everything queued at the moment, if anything. The task that polls the stream is still woken for later frames.
    pub fn take_waiting(&mut self) -> Option<Bytes> {
        self.session.take_waiting()
    }

    /// The session, which continues.
    pub(crate) fn into_session(mut self) -> Arc<Session> {
        self.released = true;
        Arc::clone(&self.session)
    }
}

impl Stream for QueueBody {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.session.poll_take(cx)
    }
}

impl Drop for QueueBody {
    fn drop(&mut self) {
        if !self.released {
            self.session.end();
        }
    }
}
