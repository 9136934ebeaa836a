//! Where a session's bytes go.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

/// Where a session's bytes go.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A socket that the hub writes to directly. Its read side belongs to
    /// [`run_socket`](crate::run_socket).
    Socket(Arc<TcpStream>),
    /// A queue that an HTTP reply takes from: see [`QueueBody`](crate::QueueBody).
    Queue,
}

impl Transport {
    /// A socket transport of a stream that was taken back from the HTTP server.
    #[must_use]
    pub fn socket(stream: TcpStream) -> Self {
        Self::Socket(Arc::new(stream))
    }
}

/// Bounds the kernel's send buffer, which would otherwise swallow megabytes before the queue's limit sees
/// anything, and sends small writes at once.
pub(crate) fn configure(stream: &TcpStream, send_buffer_bytes: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_send_buffer_size(send_buffer_bytes)
}
