//! The OpenAPI document and its viewer.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::Config;

use super::scripts::Script;
use crate::declared::declared;
use crate::said::Said;
use crate::{App, AppError};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Relais",
        description = "Files, events and accounts. Errors are `{\"detail\", \"message\", \"error\", \"code\"}`; every code is in docs/api/errors.md. Credentials: `Authorization: Bearer <token or API key>`, `X-API-Key`, or the session cookie.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags((name = "hub", description = "Events of any channel"))
)]
struct Base;

/// The calls of all features and dialects, with their document.
pub(super) fn calls() -> OpenApiRouter<App> {
    let mut base = Base::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut base.info.version);
    declared().fold(OpenApiRouter::with_openapi(base), |calls, feature| calls.merge((feature.routes)()))
}

/// The document of every HTTP call.
#[must_use]
pub fn document() -> Document {
    calls().into_openapi()
}

/// The document as it is sent: generating it takes a while, and it does not change.
static TEXT: LazyLock<Script> =
    LazyLock::new(|| Script::new(serde_json::to_vec(&document()).unwrap_or_default(), "application/json"));

/// `GET /openapi.json`.
pub(super) async fn send(headers: HeaderMap) -> Response {
    TEXT.send(&headers).await
}

static VIEWER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::from("/openapi.json")));

/// `GET /docs`: the viewer needs its folder to find its files.
pub(super) async fn show() -> Redirect {
    Redirect::permanent("/docs/index.html")
}

/// The viewer adds styles to its elements; otherwise it loads and runs only its own files.
const VIEWER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     connect-src 'self'; img-src 'self' data:; font-src 'self'; form-action 'none'; frame-ancestors 'none'; \
     base-uri 'none'";

/// The viewer's files, from the binary.
pub(super) async fn send_asset(Path(file): Path<String>) -> Response {
    match utoipa_swagger_ui::serve(&file, Arc::clone(&VIEWER)) {
        Ok(Some(found)) => {
            let headers = [
                (header::CONTENT_TYPE, found.content_type.as_str()),
                (header::CONTENT_SECURITY_POLICY, VIEWER_POLICY),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, found.bytes).into_response()
        }
        Ok(None) => AppError::not_found("not_found", Said::in_english("Unknown address")).into_response(),
        Err(error) => AppError::internal(error).into_response(),
    }
}
