//! Long polling: for networks that let nothing else through. No session: the log is the memory.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use relais_hub::Subscription;
use relais_protocol::event::{Cursor, Event};
use serde_json::{Value, json};

use super::dialects::write_native;
use super::native::{ChannelQuery, all_allowed};
use crate::auth::http::Caller;
use crate::{App, AppError};

/// Events of one reply at most.
const PAGE: usize = 500;

/// Durable events of channels after a cursor; waits for one if there is none.
#[utoipa::path(get, path = "/api/v1/poll", tag = "hub",
    params(("channel" = Vec<String>, Query, description = "Topics such as `societe:rsp-bgs`, or a family: `societe:*`"),
        ("since" = Option<String>, Query, description = "Cursor of the last reply; without one the reply only names the present cursor"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for an event, at most 60")),
    responses((status = 200, description = "`{\"events\": [event…], \"cursor\", \"has_more\"}`, with the events of the native WebSocket"),
        (status = 400, description = "`invalid_parameter`, `invalid_channel`"),
        (status = 410, description = "`cursor_expired`, with the present `cursor`: take a fresh snapshot, then go on from it")))]
pub(super) async fn poll_events(
    State(app): State<App>,
    Caller(principal): Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AppError> {
    let query = ChannelQuery::parse(query.as_deref())?;
    let subscriptions = all_allowed(&app, &principal, &query.channels).await?;
    let mut heads = app.heads();
    let mut since = query.since.unwrap_or_else(|| app.store().head());
    if !app.store().log_bounds().await?.can_recover(since) {
        let text = "Ce curseur ne peut plus être repris : reprenez un état complet, puis continuez avec le curseur joint";
        let head = app.store().head().to_string();
        return Err(AppError::new(StatusCode::GONE, "cursor_expired", text).with("cursor", head));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(query.wait_s);
    loop {
        let head = *heads.borrow_and_update();
        let page = read(&app, &subscriptions, since, head).await?;
        let nothing = page.events.is_empty() && !page.has_more;
        let over = query.since.is_none() && query.wait_s == 0;
        if !nothing || over || !app.next_event(&mut heads, deadline).await {
            return Ok(Json(page.render()));
        }
        since = page.cursor;
    }
}

struct Page {
    events: Vec<Event>,
    cursor: Cursor,
    has_more: bool,
}

/// The next events of all channels together, in the order of the log, each once.
async fn read(
    app: &App,
    subscriptions: &[Subscription],
    since: Cursor,
    head: Cursor,
) -> Result<Page, AppError> {
    let mut events: Vec<Event> = Vec::new();
    let mut complete_to = head.seq.max(since.seq);
    for subscription in subscriptions {
        let found = app.store().events_after(&subscription.channel, since.seq, head.seq, PAGE).await?;
        if found.len() >= PAGE {
            complete_to = complete_to.min(found.last().map_or(since.seq, |event| event.seq));
        }
        let wanted = |event: &Event| subscription.filter.as_ref().is_none_or(|filter| filter.passes(event));
        events.extend(found.into_iter().filter(wanted));
    }
    events.sort_by_key(|event| event.seq);
    events.dedup_by_key(|event| event.seq);
    events.retain(|event| event.seq <= complete_to);
    Ok(Page { events, cursor: Cursor { seq: complete_to, ..head }, has_more: complete_to < head.seq })
}

impl Page {
    fn render(&self) -> Value {
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|event| {
                let mut text = Vec::new();
                write_native(event, &mut text);
                serde_json::from_slice(&text).unwrap_or_default()
            })
            .collect();
        json!({ "events": events, "cursor": self.cursor.to_string(), "has_more": self.has_more })
    }
}
