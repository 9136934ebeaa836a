//! The HTTP edge of history: `/api/v1/modules/{id}/history`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::SeriesList;
use super::asked::Asked;
use super::range::Range;
use crate::auth::Auth;
use crate::auth::http::Caller;
use crate::error::unreadable_query;
use crate::features::live::Live;
use crate::features::live::Visibility;
use crate::features::live::http::readable;
use crate::{App, AppError};
use relais_protocol::time::SharedClock;

/// The routes of history.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(show_history)).routes(routes!(list_series))
}

/// Show what a module reported, as a chart
///
/// Buckets are in UTC and aligned to `step_ms`; those without a value are absent. The tier follows from the span and the
/// number of points: single values, aggregates of a minute, aggregates of an hour.
#[utoipa::path(get, path = "/api/v1/modules/{id}/history", tag = "modules", params(("id" = String, Path), Asked), responses(
    (status = 200, body = Range), (status = 400, description = "`invalid_value`, `invalid_query`"),
    (status = 404, description = "`module_not_found`")))]
async fn show_history(
    State(auth): State<Auth>,
    State(live): State<Live>,
    State(clock): State<SharedClock>,
    Caller(principal): Caller,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Range>, AppError> {
    let Query(asked) = asked.map_err(|rejection| unreadable_query(&rejection))?;
    let now = clock.now();
    let mut query = asked.read(now)?;
    let visibility = readable(&auth, &principal)?;
    let module = live.modules().find(&visibility, &id).await?;
    // What was before belongs to whoever had the module then. Its series went at the hand-over; what is left are values
    // that its device says it measured before. A hand-over in the future was noted by a clock that leapt: it hides nothing.
    if visibility != Visibility::All && module.owned_at <= now {
        let begin = module.owned_at.as_millis();
        (query.from, query.to) = (query.from.max(begin), query.to.max(begin + 1));
    }
    Ok(Json(live.history().range(&module.id, query).await?))
}

/// List the series of a module
#[utoipa::path(get, path = "/api/v1/modules/{id}/history/series", tag = "modules", params(("id" = String, Path)), responses(
    (status = 200, body = SeriesList),
    (status = 404, description = "`module_not_found`")))]
async fn list_series(
    State(auth): State<Auth>,
    State(live): State<Live>,
    Caller(principal): Caller,
    Path(id): Path<String>,
) -> Result<Json<SeriesList>, AppError> {
    let module = live.modules().find(&readable(&auth, &principal)?, &id).await?;
    Ok(Json(live.history().series(&module.id)))
}
