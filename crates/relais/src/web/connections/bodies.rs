//! Request and response bodies, as they pass through the edge.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::Activity;
use super::table::ClientPlace;

/// A request body: it times out without progress, and its bytes are counted.
pub(super) struct RequestBody {
    incoming: Incoming,
    activity: Arc<Activity>,
    total: usize,
    is_whole: bool,
}

impl RequestBody {
    /// Wraps a body; an absent one stays as it is.
    pub(super) fn around(incoming: Incoming, activity: &Arc<Activity>) -> Body {
        if incoming.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { incoming, activity: Arc::clone(activity), total: 0, is_whole: false })
    }
}

/// Why a body ended early. The edge, which knows more, answers the client.
#[derive(Debug)]
struct BodyEnded;

impl fmt::Display for BodyEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body was not read to its end")
    }
}

impl std::error::Error for BodyEnded {}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.activity.has_fault() {
            return Poll::Ready(Some(Err(BodyEnded.into())));
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                this.activity.awaits_body(cx);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.total += bytes;
                if !this.activity.body_came(bytes, this.total) {
                    return Poll::Ready(Some(Err(BodyEnded.into())));
                }
                this.is_whole = this.incoming.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => {
                this.is_whole = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.activity.body_ended(self.is_whole);
    }
}

/// A response body; when it is dropped, the connection is idle again.
pub(crate) struct AnswerBody {
    body: Body,
    activity: Arc<Activity>,
    /// The place of a client behind a proxy, held until then.
    _place: Option<Arc<ClientPlace>>,
}

impl AnswerBody {
    pub(super) fn new(body: Body, activity: Arc<Activity>, place: Option<Arc<ClientPlace>>) -> Self {
        Self { body, activity, _place: place }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.activity.end();
    }
}
