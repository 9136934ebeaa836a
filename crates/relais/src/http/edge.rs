//! What every request passes first and every response last: foreign origins are refused, the time is taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::layers::is_known_origin;
use super::meters::Meters;
use crate::AppError;
use crate::auth::http::shows_credential;

/// Routes of devices. Each shows the credential of its module and no cookie counts, so that a foreign page has nothing to
/// abuse; and their libraries send an `Origin` of their own, such as `file://`.
const DEVICE_ROUTES: &[&str] = &["/esp32", "/api/v1/modules/{id}/report"];

/// Puts an [`Edge`] around a service.
#[derive(Clone)]
pub(super) struct EdgeLayer(Arc<Shared>);

struct Shared {
    allowed_origins: Vec<String>,
    meters: Meters,
}

impl EdgeLayer {
    pub(super) fn new(allowed_origins: &[String]) -> Self {
        Self(Arc::new(Shared { allowed_origins: allowed_origins.to_vec(), meters: Meters::default() }))
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

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let shared = Arc::clone(&self.shared);
        let answer = if is_foreign(&request, &shared.allowed_origins) {
            Answer::Refused
        } else {
            Answer::Awaited { future: self.inner.call(request) }
        };
        EdgeFuture { answer, started, method, route, shared }
    }
}

/// Whether a page of a foreign origin makes a browser send this: a change, or a socket, which CORS does not cover.
/// What shows its own credential is admitted by that, whatever `Origin` a program gives itself.
fn is_foreign(request: &Request, allowed: &[String]) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    (!reads || upgrades)
        && !DEVICE_ROUTES.contains(&route)
        && !shows_credential(request.headers())
        && !is_known_origin(request.headers(), allowed)
}

pin_project! {
    /// A response on its way.
    pub(super) struct EdgeFuture<F> {
        #[pin]
        answer: Answer<F>,
        started: Instant,
        method: Method,
        route: Option<MatchedPath>,
        shared: Arc<Shared>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Awaited { #[pin] future: F },
        Refused,
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
            AnswerProjection::Refused => Ok(refusal()),
        };
        name_the_charset(&mut response);
        let (status, elapsed) = (response.status(), this.started.elapsed());
        let (method, route) = (&*this.method, this.route.as_ref().map_or("other", MatchedPath::as_str));
        this.shared.meters.record(route, method, status, elapsed);
        tracing::debug!(%method, route, status = status.as_u16(), elapsed_us = elapsed.as_micros(), "request");
        Poll::Ready(Ok(response))
    }
}

fn refusal() -> Response {
    let text =
        "Origine refusée : ajoutez-la à ALLOWED_ORIGINS (server.allowed_origins) si cette page est la vôtre";
    AppError::forbidden("origin_refused", text).into_response()
}

/// Clients of the first hour read bytes beyond ASCII as Latin-1 unless they are told: every text says that it is UTF-8.
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
