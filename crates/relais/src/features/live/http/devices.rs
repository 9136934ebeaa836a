//! Devices that report by calls: the simplest way, for what sleeps between two reports.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use relais_protocol::time::SharedClock;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::super::guests::{Arrival, Refused, Showing};
use super::super::message::Message;
use super::super::modules::wrong_credential;
use crate::auth::Credential;
use crate::auth::http::{address_of, credential};
use crate::features::live::Live;
use crate::said::Said;
use crate::{App, AppError};

/// The routes of devices.
pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(report_values))
}

/// Report values of a module
///
/// For the device: `Authorization: Bearer <credential>`, or `password` among the values. Every value is kept but those
/// that say from whom it is; `type` may say `command_response`. The commands that wait for the device are in the answer,
/// each once.
#[utoipa::path(post, path = "/api/v1/modules/{id}/report", tag = "modules", params(("id" = String, Path)),
    request_body(content = Object, description = "Values by name: `{\"uptime\": 12, \"position\": \"A\"}`"), responses(
    (status = 200, description = "`{success, timestamp, commands: [{type: \"command\", data, …}]}`"),
    (status = 400, description = "`invalid_report`, `report_refused`, `foreign_module`"),
    (status = 401, description = "`unauthenticated`: there is no such module, or the credential is another"),
    (status = 408, description = "`upload_stalled`"),
    (status = 413, description = "`report_too_large`: see `live.report_bytes`"),
    (status = 429, description = "`too_many_reports`, with `Retry-After`: see `live.reports_per_s`")))]
pub(super) async fn report_values(
    State(live): State<Live>,
    State(clock): State<SharedClock>,
    Path(module): Path<String>,
    request: Request,
) -> Result<Json<Value>, AppError> {
    let (parts, body) = request.into_parts();
    let from = address_of(&parts);
    let shown = match credential(&parts)? {
        Some(Credential::Bearer(shown)) => Some(shown),
        Some(Credential::Session(_)) | None => None,
    };
    // Whoever says who they are before the values is refused before they are read.
    if let Some(shown) = &shown {
        admit(&live, &module, shown, from).await?;
    }
    let Message { fields: message, mended } = match read(&live, &parts.headers, body).await {
        Ok(message) => message,
        // Whoever has not shown that they are the module says nothing of it.
        Err(error) if shown.is_none() => return Err(error),
        Err(error) => return Err(refuse(&live, &module, error)),
    };
    if shown.is_none() {
        let password = message.get("password").and_then(Value::as_str).unwrap_or_default();
        admit(&live, &module, password, from).await?;
    }
    live.note_mended(&module, mended);
    take(&live, &module, message).map_err(|error| refuse(&live, &module, error))?;
    // Whoever is answered need not say it again.
    live.stored().await?;
    let commands = live.take_commands(&module).await?;
    Ok(Json(json!({ "success": true, "timestamp": clock.now(), "commands": commands })))
}

async fn admit(live: &Live, module: &str, password: &str, from: Option<IpAddr>) -> Result<(), AppError> {
    let admitted = live.admit(module, Showing::Password(password, from), Arrival::Now).await;
    let error = match admitted {
        Ok(()) => return Ok(()),
        // Which of the two it is nobody learns.
        Err(Refused::Unknown | Refused::Credential) => wrong_credential(),
        Err(Refused::TooFast) => {
            let most = live.config().reports_per_s;
            let message = format!("Too many messages: at most {most} per second. Try again in 1 s.");
            AppError::too_many_requests("too_many_reports", Said::in_english(message)).retry_after(1)
        }
        Err(Refused::Unavailable(error)) => return Err(error.into()),
    };
    Err(refuse(live, module, error))
}

/// The module says what of it was refused.
fn refuse(live: &Live, module: &str, error: AppError) -> AppError {
    live.refused(module, error.code(), error.english());
    error
}

fn take(live: &Live, module: &str, message: Map<String, Value>) -> Result<(), AppError> {
    let said = message.get("moduleId").and_then(Value::as_str);
    if said.is_some_and(|said| said != module) {
        let text = format!("This address is that of the module {module}");
        return Err(AppError::bad_request("foreign_module", Said::in_english(text)));
    }
    live.heard(module);
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    live.take_message(module, &kind, message).map_err(|error| {
        AppError::bad_request("report_refused", Said::in_english(format!("Values refused: {error}")))
    })
}

/// The values that were sent, bounded in bytes.
async fn read(live: &Live, headers: &HeaderMap, body: axum::body::Body) -> Result<Message, AppError> {
    let most = live.config().report_bytes as usize;
    let too_large = || {
        let text = format!("Message too large: at most {most} bytes");
        AppError::new(StatusCode::PAYLOAD_TOO_LARGE, "report_too_large", Said::in_english(text))
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > most) {
        return Err(too_large());
    }
    // A body that makes no progress is ended and told by the edge.
    let bytes = axum::body::to_bytes(body, most).await.map_err(|_| too_large())?;
    Message::read_bytes(&bytes)
        .map_err(|_| AppError::bad_request("invalid_report", Said::in_english("A JSON object is expected")))
}
