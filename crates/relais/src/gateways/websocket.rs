//! The one loop of all native WebSockets: accept, identify, read, handle, close.
//!
//! A [`Protocol`] defines the frames of one kind of client and nothing else. Pings, timeouts, the outbound queue and
//! the revocation of rights belong to the session; the close codes are [`CloseCode`]'s.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::response::Response;
use bytes::Bytes;
use parking_lot::Mutex;
use relais_hub::{
    CloseCode, CloseReason, Dialect, Ended, Flow, Receiver, Session, SessionSpec, Transport, run_socket,
};
use relais_protocol::websocket::Limits;

use super::opening::open_guest;
use super::upgrade::{Handshake, Upgraded};
use super::{belongs_to, identity, other_identity, renew, spawn_connection, too_fast};
use crate::auth::Principal;
use crate::token_bucket::{TokenBucket, per_second};
use crate::{App, AppError};

/// The messages of one kind of native WebSocket. A value is one connection of it.
pub(super) trait Protocol: Send + Sync + 'static {
    /// A text message.
    fn text(self: &Arc<Self>, text: &str) -> Flow;

    /// A binary message. Refused with 1003 unless the protocol has some.
    fn binary(self: &Arc<Self>, bytes: &[u8]) -> Flow {
        let _ = bytes;
        Flow::Close(CloseCode::Unsupported.into())
    }

    /// The client exceeds [`Terms::messages_per_s`] and is closed with 1008.
    fn too_fast(&self) {}

    /// The connection has ended: how, unless its task failed. Called exactly once.
    fn ended(&self, how: Option<Ended>) {
        let _ = how;
    }
}

/// The terms of a connection, fixed when it opens.
pub(super) struct Terms {
    pub(super) dialect: Arc<dyn Dialect>,
    /// The principal, as far as the request shows.
    pub(super) principal: Principal,
    /// Closes the connection unless it is authenticated in time.
    pub(super) must_identify: bool,
    /// Whether the client may have compression if it offers it.
    pub(super) compression: bool,
    pub(super) message_bytes: u32,
    /// Takes text that is not UTF-8 as binary.
    pub(super) any_text: bool,
    /// Messages per second, and twice as many at once.
    pub(super) messages_per_s: u32,
}

impl Terms {
    /// Those of the settings `hub.*`.
    pub(super) fn new(app: &App, dialect: Arc<dyn Dialect>, principal: Principal) -> Self {
        let config = &app.config().hub;
        Self {
            dialect,
            principal,
            must_identify: false,
            compression: config.compression,
            message_bytes: u32::try_from(config.message_bytes).unwrap_or(u32::MAX),
            any_text: false,
            messages_per_s: config.messages_per_s,
        }
    }
}

/// One connection, for its protocol.
pub(super) struct Connection {
    pub(super) app: App,
    pub(super) session: Arc<Session>,
    principal: Mutex<Principal>,
}

impl Connection {
    /// The principal with its current rights.
    pub(super) fn principal(&self) -> Principal {
        self.principal.lock().clone()
    }

    /// Queues a complete frame after those already queued.
    pub(super) fn send(&self, frame: Bytes) {
        self.app.hub().send(&self.session, frame);
    }

    /// Closes it after the queued frames.
    pub(super) fn close(&self, reason: impl Into<CloseReason>) {
        self.app.hub().close(&self.session, reason);
    }

    /// Applies a credential shown by its client: it sets the principal, or extends the session. Returns whether the
    /// session continues; see [`renew`].
    ///
    /// # Errors
    /// 409 `other_identity` if it belongs to another principal, 503 if they have too many sessions.
    pub(super) fn belong(&self, principal: &Principal) -> Result<bool, AppError> {
        let known = self.principal();
        if !known.is_anonymous() && known.id() != principal.id() {
            return Err(other_identity());
        }
        let goes_on = if known.is_anonymous() {
            self.app.hub().identify(&self.session, identity(principal))?;
            belongs_to(&self.app, principal, &self.session);
            true
        } else {
            renew(&self.app, &known, principal, &self.session)
        };
        *self.principal.lock() = principal.clone();
        Ok(goes_on)
    }
}

/// An established connection, and what is done before its first message is read.
pub(super) struct Opened<P> {
    pub(super) protocol: Arc<P>,
    pub(super) first: Flow,
}

impl<S: Send + Sync> FromRequest<S> for Handshake {
    type Rejection = AppError;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, AppError> {
        Self::new(&mut request)
    }
}

/// Accepts a WebSocket and runs it to its end. `open` is called once it has a session; if none is available, its client
/// has been notified.
pub(super) fn serve<P: Protocol>(
    app: App,
    mut handshake: Handshake,
    terms: Terms,
    open: impl FnOnce(Connection) -> Opened<P> + Send + 'static,
) -> Response {
    let address = handshake.address.ip();
    let deflate = handshake.agree_deflate(terms.compression);
    let (response, stream) = handshake.accept();
    // Boxed and apart, so that an idle connection keeps only what it needs to read.
    let opened = Box::pin(async move {
        let Upgraded { stream, leftover, guest } = stream.await?;
        let Terms { dialect, principal, must_identify, messages_per_s, .. } = terms;
        let name = dialect.name();
        let spec = SessionSpec {
            identity: identity(&principal),
            address,
            dialect,
            transport: Transport::socket(stream),
            identify_within_s: must_identify.then_some(app.config().hub.authenticate_timeout_s),
        };
        let session = open_guest(app.hub(), spec, guest).ok()?;
        if deflate {
            app.hub().compress(&session);
        }
        belongs_to(&app, &principal, &session);
        let limits = Limits {
            frame_bytes: terms.message_bytes,
            message_bytes: terms.message_bytes,
            any_text: terms.any_text,
            deflate,
            ..Limits::default()
        };
        let connection =
            Connection { app: app.clone(), session: Arc::clone(&session), principal: Mutex::new(principal) };
        let Opened { protocol, first } = open(connection);
        let farewell = Farewell { protocol: Arc::clone(&protocol), name, how: None };
        let bucket = TokenBucket::new(per_second(messages_per_s));
        let reader = Reader { app, protocol, bucket, messages_per_s };
        Some((run_socket(session, leftover, reader, limits).after(first), farewell))
    });
    spawn_connection(async move {
        if let Some((run, mut farewell)) = opened.await {
            farewell.how = Some(run.await);
        }
    });
    response
}

/// Passes messages to their protocol, within the rate limit.
struct Reader<P> {
    app: App,
    protocol: Arc<P>,
    bucket: TokenBucket,
    messages_per_s: u32,
}

impl<P: Protocol> Reader<P> {
    fn take(&mut self, message: impl FnOnce(&Arc<P>) -> Flow) -> Flow {
        if self.bucket.take(self.app.clock().steady()) {
            return message(&self.protocol);
        }
        self.protocol.too_fast();
        Flow::Close(too_fast(self.messages_per_s))
    }
}

impl<P: Protocol> Receiver for Reader<P> {
    fn text(&mut self, _: &Arc<Session>, text: &str) -> Flow {
        self.take(|protocol| protocol.text(text))
    }

    fn binary(&mut self, _: &Arc<Session>, bytes: &[u8]) -> Flow {
        self.take(|protocol| protocol.binary(bytes))
    }
}

/// Reports that a connection has ended, even if its task failed: no ended connection stays registered.
struct Farewell<P: Protocol> {
    protocol: Arc<P>,
    /// The name of the dialect in the metrics.
    name: &'static str,
    how: Option<Ended>,
}

impl<P: Protocol> Drop for Farewell<P> {
    fn drop(&mut self) {
        if let Some(code) = self.how.and_then(closed_with) {
            let code = code.number().to_string();
            metrics::counter!("relais_websockets_closed_total", "dialect" => self.name, "code" => code)
                .increment(1);
        }
        self.protocol.ended(self.how);
    }
}

/// The code with which the server closed a connection.
fn closed_with(how: Ended) -> Option<CloseCode> {
    match how {
        Ended::ByServer(code) => Some(code),
        Ended::Protocol(error) => Some(CloseReason::from(error).code),
        Ended::ByClient(_) | Ended::Lost => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::spawn;

    #[derive(Default)]
    struct Noted(Mutex<Vec<Option<Ended>>>);

    impl Protocol for Noted {
        fn text(self: &Arc<Self>, _: &str) -> Flow {
            Flow::Continue
        }

        fn ended(&self, how: Option<Ended>) {
            self.0.lock().push(how);
        }
    }

    #[tokio::test]
    async fn a_protocol_hears_of_the_end_once_also_when_its_work_fails() {
        let protocol = Arc::new(Noted::default());
        let farewell = || Farewell { protocol: Arc::clone(&protocol), name: "noted", how: None };
        let run = |mut farewell: Farewell<Noted>, fails: bool| async move {
            assert!(!fails, "the work of a connection fails");
            farewell.how = Some(Ended::Lost);
            drop(farewell);
        };
        spawn("test", run(farewell(), false)).await.unwrap();
        assert!(spawn("test", run(farewell(), true)).await.is_err());
        assert_eq!(*protocol.0.lock(), [Some(Ended::Lost), None]);
    }
}
