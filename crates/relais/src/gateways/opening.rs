//! Sessions for clients that may have one. The others are told why: a WebSocket is there already when the hub is
//! asked, so they hear it in its close frame.

use std::sync::Arc;
use std::time::Duration;

use relais_hub::{CloseCode, CloseReason, Hub, OpenError, Session, SessionSpec, Transport};
use relais_protocol::websocket::close_frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a client that was turned away has to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Opens a session. If there is none for a WebSocket, its client is told with 1012 when the server drains and with
/// 1013 when there are too many.
///
/// # Errors
/// [`OpenError`], for the log or the HTTP answer.
pub(super) fn open_session(hub: &Hub, spec: SessionSpec) -> Result<Arc<Session>, OpenError> {
    let stream = match &spec.transport {
        Transport::Socket(stream) => Some(Arc::clone(stream)),
        Transport::Queue => None,
    };
    let opened = hub.open(spec);
    if opened.is_err() {
        metrics::counter!("relais_sessions_refused_total").increment(1);
    }
    if let (Err(error), Some(stream)) = (&opened, stream) {
        tracing::debug!(%error, "a connection was refused");
        let CloseReason { code, text } = reason(error);
        write_close(&stream, code.number(), &text);
        if let Some(stream) = Arc::into_inner(stream) {
            super::spawn(part(stream));
        }
    }
    opened
}

fn reason(error: &OpenError) -> CloseReason {
    let code = match error {
        OpenError::Draining => CloseCode::ServiceRestart,
        OpenError::TooManySessions(_)
        | OpenError::TooManyForPrincipal { .. }
        | OpenError::TooManyForAddress { .. }
        | OpenError::TooManyAnonymous(_)
        | OpenError::TooManyAnonymousForAddress { .. } => CloseCode::TryLater,
        OpenError::Socket(_) => CloseCode::Internal,
    };
    CloseReason::new(code, error.to_string())
}

/// The last frame of a socket without a session. What cannot be written at once is not written.
pub(super) fn write_close(stream: &TcpStream, code: u16, text: &str) {
    let mut frame = Vec::new();
    close_frame(code, text, &mut frame);
    let _ = stream.try_write(&frame);
}

/// Waits for the client to close: if it has said something that nobody has read, a connection that is dropped at
/// once is reset, and the close frame may be lost with it.
async fn part(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whoever is gone already has not waited for it.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}
