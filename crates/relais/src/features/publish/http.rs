//! The HTTP edge of publishing.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::service::{NewEvent, Published, Publishing};
use crate::aliases::null_is_absent;
use crate::auth::http::Caller;
use crate::said::Said;
use crate::{App, AppError};

impl FromRef<App> for Publishing {
    fn from_ref(app: &App) -> Self {
        app.service::<Self>().clone()
    }
}

/// The routes of publishing.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(publish_events))
}

/// One event, or several that are published together.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// All or none, in their order; at most 100. Without it, the other fields are one event.
    events: Option<Vec<NewEvent>>,
    topic: Option<String>,
    name: Option<String>,
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "null_is_absent")]
    ephemeral: bool,
    key: Option<String>,
}

impl Call {
    fn events(self) -> Result<Vec<NewEvent>, AppError> {
        match (self.events, self.topic, self.name, self.data) {
            (Some(events), None, None, None) => Ok(events),
            (None, Some(topic), Some(name), Some(data)) => {
                Ok(vec![NewEvent { topic, name, data, ephemeral: self.ephemeral, key: self.key }])
            }
            _ => {
                let text = "Invalid request body: \"topic\", \"name\" and \"data\", or \"events\" alone";
                Err(AppError::bad_request("invalid_body", Said::in_english(text)))
            }
        }
    }
}

/// Publish events
///
/// Needs a key with the scope `events:publish:<topic>`, `events:publish:<family>:*` or `events:publish:*`. With the
/// header `Idempotency-Key` the same call again publishes nothing and has the same answer, for 30 days.
#[utoipa::path(post, path = "/api/v1/events", tag = "hub", request_body = Call,
    params(("idempotency-key" = Option<String>, Header, description = "What the caller calls this call; at most 100 bytes")),
    responses(
    (status = 200, description = "Where each was put, in the order of the call", body = Vec<Published>),
    (status = 400, description = "`invalid_event`, `invalid_body`"), (status = 401, description = "`unauthenticated`"),
    (status = 403, description = "`forbidden`: the scope does not allow the topic, or a feature alone publishes there"),
    (status = 409, description = "`idempotency_key_in_use`")))]
async fn publish_events(
    State(publishing): State<Publishing>,
    Caller(principal): Caller,
    headers: HeaderMap,
    given: Result<Json<Call>, JsonRejection>,
) -> Result<Response, AppError> {
    let Json(call) = given?;
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
    let reply = publishing.publish(&principal, call.events()?, key).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], format!("{{\"published\":{reply}}}")).into_response())
}
