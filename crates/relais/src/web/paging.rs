//! Paginated lists.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::IntoParams;

use crate::AppError;
use crate::error::unreadable_query;

/// The default number of entries per page, and the maximum.
const PAGE: usize = 50;
const PAGE_MAX: usize = 200;

/// Which part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// From the reply before; none: from the beginning.
    cursor: Option<String>,
    /// Entries at most: 50 unless said, never more than 200.
    limit: Option<usize>,
}

impl Page {
    pub(crate) fn read(page: Result<Query<Self>, QueryRejection>) -> Result<(String, usize), AppError> {
        let Query(page) = page.map_err(|rejection| unreadable_query(&rejection))?;
        Ok((page.cursor.unwrap_or_default(), page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX)))
    }
}

/// The reply of a list: one extra entry was requested, to know whether there are more.
pub(crate) fn listed<T: Serialize>(
    name: &str,
    mut entries: Vec<T>,
    limit: usize,
    id: impl Fn(&T) -> &str,
) -> Json<Value> {
    let more = entries.len() > limit;
    entries.truncate(limit);
    let cursor = entries.last().filter(|_| more).map(|last| id(last).to_owned());
    Json(json!({name: entries, "cursor": cursor}))
}
