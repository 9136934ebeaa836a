//! Liveness, readiness and metrics.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::App;
use crate::declared::declared;
use crate::jobs::JobsWatch;

/// The process answers.
pub(super) async fn get_health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// The server takes requests: its database answers, and it is not stopping. A short read, so that asking holds up nobody.
/// How the jobs stand is told beside it and decides nothing: dead letters are for people.
pub(super) async fn get_readiness(State(app): State<App>) -> Response {
    if !app.is_accepting() {
        return not_ready("stopping");
    }
    match app.store().check().await {
        Ok(()) => {
            Json(json!({ "status": "ready", "jobs": app.service::<JobsWatch>().summary() })).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "not ready");
            not_ready("database")
        }
    }
}

fn not_ready(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not_ready", "reason": reason })))
        .into_response()
}

/// Metrics in the text format of Prometheus.
pub(super) async fn get_metrics(State(app): State<App>) -> Response {
    let stats = app.hub().stats();
    metrics::gauge!("relais_sessions").set(stats.sessions as f64);
    metrics::gauge!("relais_polls_waiting").set(app.polls_waiting() as f64);
    metrics::gauge!("relais_log_head").set(app.store().head().seq as f64);
    declared().for_each(|feature| (feature.gauges)(&app));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.render_metrics()).into_response()
}
