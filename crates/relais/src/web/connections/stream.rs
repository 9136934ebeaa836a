//! The socket of an HTTP connection: it records what it is waiting for, closes when ordered to, and drains the client's
//! input for a while after the last response.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::activity::Activity;
use super::table::Place;
use crate::web::refusal;

/// Bytes drained after a response. Closing a socket with unread bytes resets it: a client that is still sending, or a
/// proxy in front of it, would see a broken connection instead of the response.
const DRAIN_BYTES: usize = 128 * 1024 * 1024;
/// Bytes drained per read, into a buffer that all connections of a thread share.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// The socket of an HTTP connection.
pub(crate) struct ClientStream {
    // Closed before its place is freed.
    stream: TcpStream,
    activity: Arc<Activity>,
    place: Place,
    /// Bytes drained, once no response follows.
    drained: Option<usize>,
    patience: Duration,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, place: Place, patience: Duration) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, activity: Arc::clone(place.activity()), place, drained: None, patience }
    }

    /// The bare socket, and its place, which is occupied for as long as it is held.
    pub(crate) fn into_parts(self) -> (TcpStream, Place) {
        (self.stream, self.place.into_live())
    }

    /// An error if the connection must be closed now. A client with an unanswered request is sent the reason.
    fn must_go_on(&self) -> io::Result<()> {
        if !self.activity.must_leave() {
            return Ok(());
        }
        match self.activity.farewell() {
            Some((error, language)) => {
                let _ = self.stream.try_write(&refusal::raw(&error, language));
                let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
            }
            // Discards what is in the kernel's buffers.
            None if self.activity.is_unheard() => {
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            }
            None => {}
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn note_sent(&self, sent: &Poll<io::Result<usize>>) {
        match sent {
            Poll::Ready(Ok(bytes)) => self.activity.sent(*bytes),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.awaits_room(),
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>, mut drained: usize) -> Poll<io::Result<()>> {
        while drained < DRAIN_BYTES {
            let stream = &self.stream;
            ready!(stream.poll_read_ready(cx))?;
            match SCRATCH.with_borrow_mut(|scratch| stream.try_read(scratch)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(bytes) => {
                    self.activity.received(bytes);
                    drained += bytes;
                    self.drained = Some(drained);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let was_idle = this.activity.is_idle();
        if !was_idle {
            this.must_go_on()?;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            this.activity.received(bytes);
        } else if was_idle {
            this.must_go_on()?;
        }
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.must_go_on()?;
        let sent = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_sent(&sent);
        sent
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.must_go_on()?;
        let sent = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note_sent(&sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    /// Shuts down the write side, then drains what the client is still sending: RFC 9112, section 9.6.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.must_go_on()?;
        if let Some(drained) = this.drained {
            return this.poll_drain(cx, drained);
        }
        // After the close, this also discards what is in the kernel's buffers and is never read. Not before: the kernel
        // cannot tell a client that reads slowly, with a small window, from one that does not read.
        let _ = SockRef::from(&this.stream).set_tcp_user_timeout(Some(2 * this.patience));
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if !this.activity.begin_draining() {
            return Poll::Ready(Ok(()));
        }
        this.drained = Some(0);
        this.poll_drain(cx, 0)
    }
}
