//! What every request passes first and every response last: foreign origins and foreign names of the server are refused,
//! pages get the headers of pages, the time is taken, and whose body made no progress is told so.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use relais_protocol::time::SharedClock;
use tower::{Layer, Service};

use super::asking::ask_at_end;
use super::landing::CONTENT_SECURITY_POLICY;
use super::meters::Meters;
use crate::auth::Auth;
use crate::auth::http::{Asking, shows_credential};
use crate::config::Origin;
use crate::said::said;
use crate::web::Activity;
use crate::web::origins::{HostFault, Hosts, is_known_origin, origin_refused};
use crate::{App, AppError};

/// Maximum size of the header list in a CORS preflight, in bytes.
const ASKED_HEADERS_BYTES_MAX: usize = 4096;
/// Routes of devices. Each shows the credential of its module and no cookie counts, so that a foreign page has nothing to
/// abuse; and their libraries send an `Origin` of their own, such as `file://`. In a network they call the server by
/// whatever name they were given; on a loopback address only by one of its own, as everybody there.
const DEVICE_ROUTES: &[&str] = &["/esp32", "/api/v1/modules/{id}/report"];

/// Wraps a service in an [`Edge`].
#[derive(Clone)]
pub(super) struct EdgeLayer(Arc<Shared>);

struct Shared {
    allowed_origins: Vec<Origin>,
    /// The accepted host names; any where credentials are required, since a foreign page has none.
    hosts: Option<Hosts>,
    auth: Auth,
    meters: Meters,
    clock: SharedClock,
}

impl EdgeLayer {
    pub(super) fn new(app: &App) -> Self {
        let (server, auth) = (&app.config().server, app.auth().clone());
        let hosts = auth.open_mode().then(|| Hosts::new(server.listen.ip(), &server.names));
        let allowed_origins = server.allowed_origins.clone();
        Self(Arc::new(Shared {
            allowed_origins,
            hosts,
            auth,
            meters: Meters::default(),
            clock: SharedClock::clone(app.clock()),
        }))
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, shared: Arc::clone(&self.0) }
    }
}

/// A service behind the edge.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = EdgeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let started = self.shared.clock.instant();
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let activity = request.extensions().get::<Arc<Activity>>().cloned();
        let shared = Arc::clone(&self.shared);
        let (answer, asking) = match shared.refusal(&request) {
            Some(error) => (Answer::Refused { error: Some(error) }, None),
            None => {
                let asking = ask_at_end(&mut request, &shared.auth);
                (Answer::Awaited { future: self.inner.call(request) }, asking)
            }
        };
        EdgeFuture { answer, started, method, route, asking, activity, shared }
    }
}

impl Shared {
    /// Why a request is refused before it is handled.
    fn refusal(&self, request: &Request) -> Option<AppError> {
        let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let is_device = DEVICE_ROUTES.contains(&route);
        if let Some(hosts) = self.hosts.as_ref().filter(|hosts| !is_device || hosts.is_on_loopback()) {
            let target = request.uri().authority().map(Authority::as_str);
            if let Err(fault) = hosts.check(request.version(), target, request.headers()) {
                return Some(host_refused(&fault));
            }
        }
        if !is_device && is_foreign(request, &self.allowed_origins) {
            return Some(origin_refused());
        }
        let asked = request.headers().get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let asks_too_much = asked.map(HeaderValue::len).sum::<usize>() > ASKED_HEADERS_BYTES_MAX;
        asks_too_much.then(|| {
            let text = said!(
                "Access-Control-Request-Headers : {ASKED_HEADERS_BYTES_MAX} octets au plus",
                "Access-Control-Request-Headers: at most {ASKED_HEADERS_BYTES_MAX} bytes"
            );
            AppError::bad_request("too_many_headers", text)
        })
    }
}

/// Whether a page of a foreign origin makes a browser send this: a change, or a socket, which CORS does not cover.
/// What shows its own credential is admitted by that, whatever `Origin` a program gives itself.
fn is_foreign(request: &Request, allowed: &[Origin]) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    (!reads || upgrades)
        && !shows_credential(request.headers())
        && !is_known_origin(request.headers(), request.extensions(), allowed)
}

pin_project! {
    /// A response in progress.
    pub(super) struct EdgeFuture<F> {
        #[pin]
        answer: Answer<F>,
        started: Instant,
        method: Method,
        route: Option<MatchedPath>,
        asking: Option<Asking>,
        activity: Option<Arc<Activity>>,
        shared: Arc<Shared>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Awaited { #[pin] future: F },
        Refused { error: Option<AppError> },
    }
}

impl<F> Future for EdgeFuture<F>
where
    F: Future<Output = Result<Response, Infallible>>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = match this.answer.project() {
            AnswerProjection::Awaited { future } => ready!(future.poll(cx)),
            AnswerProjection::Refused { error } => {
                Ok(error.take().map(IntoResponse::into_response).unwrap_or_default())
            }
        };
        // Whatever the handler made of a body that ended early, the client gets the reason.
        if let Some(fault) = this.activity.as_ref().and_then(|activity| activity.body_fault()) {
            response = fault.into_response();
        }
        // Whatever the handler made of such a body.
        if let Some(refused) = this.asking.as_ref().and_then(Asking::take_refusal) {
            response = refused.into_response();
        }
        protect_page(&mut response);
        name_the_charset(&mut response);
        let (status, elapsed) = (response.status(), this.shared.clock.instant() - *this.started);
        let (method, route) = (&*this.method, this.route.as_ref().map_or("other", MatchedPath::as_str));
        this.shared.meters.record(route, method, status, elapsed);
        tracing::debug!(%method, route, status = status.as_u16(), elapsed_us = elapsed.as_micros(), "request");
        Poll::Ready(Ok(response))
    }
}

fn host_refused(fault: &HostFault) -> AppError {
    match fault {
        HostFault::Missing => {
            AppError::bad_request("invalid_host", said!("En-tête Host manquant", "Missing Host header"))
        }
        HostFault::Several => {
            AppError::bad_request("invalid_host", said!("Plusieurs en-têtes Host", "Several Host headers"))
        }
        HostFault::Foreign(name) => {
            metrics::counter!("relais_http_hosts_refused_total").increment(1);
            let text = said!(
                "Nom d'hôte refusé : {name:?} n'est pas un nom de ce serveur, qui est ouvert à tous. Ajoutez-le à \
                 RELAIS_SERVER_NAMES (server.names), ou exigez des identifiants (RELAIS_AUTH_MODE=required)",
                "Host name refused: {name:?} is not a name of this server, which is open to everybody. Add it to \
                 RELAIS_SERVER_NAMES (server.names), or require credentials (RELAIS_AUTH_MODE=required)"
            );
            AppError::forbidden("host_refused", text)
        }
    }
}

/// A page runs only its own scripts and cannot be framed, whatever handler sends it. One that needs more overrides
/// this.
fn protect_page(response: &mut Response) {
    let headers = response.headers_mut();
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.get(..9).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html")) {
        return;
    }
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// The first clients read bytes beyond ASCII as Latin-1 by default: every text declares UTF-8.
fn name_the_charset(response: &mut Response) {
    let headers = response.headers_mut();
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return };
    if kind == "application/json" {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    } else if is_text(kind)
        && let Ok(named) = HeaderValue::try_from(format!("{kind}; charset=utf-8"))
    {
        headers.insert(header::CONTENT_TYPE, named);
    }
}

/// Whether this is a type of text that does not name its charset.
fn is_text(kind: &str) -> bool {
    if kind.contains("charset") {
        return false;
    }
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || ["+json", "+xml", "/json", "/xml", "/javascript"].iter().any(|end| essence.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_names_its_charset_and_nothing_else_does() {
        let named = |kind: &'static str| {
            let mut response = Response::new(axum::body::Body::empty());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            name_the_charset(&mut response);
            response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned()
        };
        for kind in
            ["application/json", "text/css", "text/event-stream", "application/javascript", "image/svg+xml"]
        {
            assert_eq!(named(kind), format!("{kind}; charset=utf-8"));
        }
        for kind in [
            "text/plain; charset=UTF-8",
            "text/plain; version=0.0.4; charset=utf-8",
            "image/png",
            "application/octet-stream",
        ] {
            assert_eq!(named(kind), kind);
        }
    }
}
