//! Opens sessions. A client that is refused gets the reason: a WebSocket is already established when the hub is asked,
//! so it is sent in its close frame.

use std::sync::{Arc, Weak};
use std::time::Duration;

use relais_hub::{CloseCode, CloseReason, Hub, OpenError, Session, SessionSpec, Transport};
use relais_protocol::websocket::close_frame;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::tasks::spawn;
use crate::web::{Guest, Unnamed};

/// How long a refused client has to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Opens a session. If none is available for a WebSocket, it is closed with 1012 when the server drains and with 1013
/// when there are too many.
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
            spawn("farewell", part(stream));
        }
    }
    opened
}

/// As [`open_session`]. A client that has to authenticate may be closed to make room for others until it has.
///
/// # Errors
/// As there.
pub(super) fn open_guest(hub: &Hub, spec: SessionSpec, guest: Guest) -> Result<Arc<Session>, OpenError> {
    let stream = match &spec.transport {
        Transport::Socket(stream) => Arc::downgrade(stream),
        Transport::Queue => Weak::new(),
    };
    let must_say_who = spec.identify_within_s.is_some() && spec.identity.anonymous;
    let session = open_session(hub, spec)?;
    if must_say_who {
        await_name(hub, &session, stream, guest);
    }
    Ok(session)
}

/// The client of this session may be closed to make room for others until it has authenticated. Without a live `stream`
/// it is sent the reason first and has the hub's close timeout.
pub(super) fn await_name(hub: &Hub, session: &Arc<Session>, stream: Weak<TcpStream>, guest: Guest) {
    guest.await_name(Stranger { hub: hub.clone(), session: Arc::downgrade(session), stream });
}

/// An unauthenticated session.
struct Stranger {
    hub: Hub,
    session: Weak<Session>,
    stream: Weak<TcpStream>,
}

impl Unnamed for Stranger {
    fn is_awaited(&self) -> bool {
        self.session.upgrade().is_some_and(|session| session.is_open() && session.identity().anonymous)
    }

    fn leave(&self) {
        let Some(session) = self.session.upgrade() else { return };
        let reason = CloseReason::new(
            CloseCode::TryLater,
            "the server has all its connections: say who you are sooner",
        );
        self.hub.close(&session, reason);
        if let Some(stream) = self.stream.upgrade() {
            // After the close frame. The task that runs it sees the end and releases its place.
            let _ = SockRef::from(&*stream).shutdown(std::net::Shutdown::Both);
        }
    }
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

/// The last frame of a socket without a session. What cannot be written at once is dropped.
pub(super) fn write_close(stream: &TcpStream, code: u16, text: &str) {
    let mut frame = Vec::new();
    close_frame(code, text, &mut frame);
    let _ = stream.try_write(&frame);
}

/// Waits for the client to close: dropping a connection with unread data resets it, and the close frame may be lost.
async fn part(mut stream: TcpStream) {
    let farewell = async {
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // The outcome does not matter: the connection ends in any case.
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
}
