//! Bodies that arrive slowly: when one is complete, the sender's rights are checked again before it is acted upon.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::auth::Auth;
use crate::auth::http::Asking;

/// Lets the body of a request end well only if the rights of its sender were not revoked meanwhile. None if there is no
/// body.
pub(super) fn ask_at_end(request: &mut Request, auth: &Auth) -> Option<Asking> {
    if request.body().is_end_stream() {
        return None;
    }
    let asking = Asking::default();
    request.extensions_mut().insert(asking.clone());
    let body = std::mem::take(request.body_mut());
    let end = End::Coming(auth.clone(), asking.clone());
    *request.body_mut() = Body::new(AskedBody { body, end });
    Some(asking)
}

struct AskedBody {
    body: Body,
    end: End,
}

enum End {
    Coming(Auth, Asking),
    Asked(BoxFuture<'static, bool>),
    Reached,
}

#[derive(Debug, thiserror::Error)]
#[error("the rights of the sender have ended")]
struct RightsEnded;

impl HttpBody for AskedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        loop {
            match &mut this.end {
                End::Coming(auth, asking) => match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                    None => this.end = End::Asked(Box::pin(asking.clone().ask_again(auth.clone()))),
                    frame => return Poll::Ready(frame),
                },
                End::Asked(answer) => {
                    let may = ready!(answer.as_mut().poll(cx));
                    this.end = End::Reached;
                    if !may {
                        return Poll::Ready(Some(Err(axum::Error::new(RightsEnded))));
                    }
                }
                End::Reached => return Poll::Ready(None),
            }
        }
    }

    /// Not before it was asked.
    fn is_end_stream(&self) -> bool {
        matches!(self.end, End::Reached)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
