//! Where a session's bytes are written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::config::HubConfig;

/// Where a session's bytes are written.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A socket that the hub writes to directly. Its read side belongs to [`run_socket`](crate::run_socket).
    Socket(Arc<TcpStream>),
    /// A queue read by an HTTP response: see [`QueueBody`](crate::QueueBody).
    Queue,
}

impl Transport {
    /// A socket transport of a stream that was taken back from the HTTP server.
    #[must_use]
    pub fn socket(stream: TcpStream) -> Self {
        Self::Socket(Arc::new(stream))
    }
}

/// Bounds the kernel's send buffer, which would otherwise swallow megabytes before the queue's limit takes effect, and
/// sends small writes at once. A client that keeps sending but reads nothing is lost as well: its socket fails after
/// twice the idle timeout.
pub(crate) fn configure(stream: &TcpStream, config: &HubConfig) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(2 * Duration::from_secs(config.idle_timeout_s.into())))?;
    socket.set_send_buffer_size(config.send_buffer_bytes)
}
