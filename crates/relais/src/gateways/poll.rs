//! Long polling: for networks that block everything else. No session: the state is in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relais_hub::Subscription;
use relais_protocol::event::{Cursor, Event};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::DialectFeature;
use super::dialects::write_native;
use super::native::{ChannelQuery, all_allowed};
use crate::auth::http::Caller;
use crate::feature::Feature;
use crate::features;
use crate::said::Said;
use crate::{App, AppError};

/// Long polling.
pub(super) const DIALECT: DialectFeature = DialectFeature::of(Feature {
    routes: || OpenApiRouter::new().routes(routes!(poll_events)),
    ..Feature::named("poll")
});

/// Data of one reply at most, in bytes; a single event may have more.
const DATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events read at a time, so that little is read beyond the limits.
const STEP: usize = 64;

/// Durable events of channels after a cursor; waits for one if there is none.
///
/// At most 500 events and about 4 MiB of their data; `has_more` says that there are more. On a slow line ask for fewer
/// with `limit`.
#[utoipa::path(get, path = "/api/v1/poll", tag = "hub",
    params(("channel" = Vec<String>, Query, description = "Topics such as `societe:rsp-bgs`, or a family: `societe:*`"),
        ("since" = Option<String>, Query, description = "Cursor of the last reply; without one the reply only names the present cursor"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for an event, at most 60"),
        ("limit" = Option<u64>, Query, description = "Events of this reply, from 1 to 500, which is what there are without it")),
    responses((status = 200, description = "`{\"events\": [event…], \"cursor\", \"has_more\"}`, with the events of the native WebSocket"),
        (status = 400, description = "`invalid_parameter`, `invalid_channel`"),
        (status = 403, description = "`forbidden`, also if the channel was closed to the caller during the wait"),
        (status = 404, description = "`conversation_not_found`, also if the caller was taken out during the wait"),
        (status = 410, description = "`cursor_expired`, with the present `cursor`: take a fresh snapshot, then go on from it")))]
async fn poll_events(
    State(app): State<App>,
    Caller(principal): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, AppError> {
    let query = ChannelQuery::parse(query.as_deref())?;
    let mut subscriptions = all_allowed(&app, &principal, &query.channels).await?;
    let mut heads = app.heads();
    let mut since = query.since.unwrap_or_else(|| app.store().head());
    if !app.store().log_bounds().await?.can_recover(since) {
        let text = Said::in_english(
            "This cursor cannot be resumed any more: take a new snapshot, then go on from the cursor of this answer",
        );
        let head = app.store().head().to_string();
        return Err(AppError::new(StatusCode::GONE, "cursor_expired", text).with("cursor", head));
    }
    let deadline = tokio::time::Instant::from_std(app.clock().instant()) + Duration::from_secs(query.wait_s);
    let may_wait = query.wait_s > 0;
    loop {
        let head = heads.head();
        if may_wait {
            // Rights may have been revoked meanwhile, or a member removed: that is in the log, so it wakes the waiting
            // request. Checked after `head`: earlier events belong to the caller, and an earlier revocation wakes
            // nobody any more.
            let renewed = app.auth().renewed(&principal).await?;
            subscriptions = all_allowed(&app, &renewed, &query.channels).await?;
        }
        let page = Page::read(&app, &subscriptions, since, head, query.limit).await?;
        let over = query.since.is_none() && query.wait_s == 0;
        if !page.is_nothing() || over || !heads.next(deadline).await {
            return Ok(([(header::CONTENT_TYPE, "application/json")], page.render()).into_response());
        }
        since = page.cursor;
    }
}

/// The next events of all channels together, each once.
struct Page {
    /// By position in the log.
    events: BTreeMap<u64, Event>,
    data_bytes: usize,
    events_max: usize,
    /// Up to where the page is complete.
    cursor: Cursor,
    has_more: bool,
}

impl Page {
    async fn read(
        app: &App,
        subscriptions: &[Subscription],
        since: Cursor,
        head: Cursor,
        events_max: usize,
    ) -> Result<Self, AppError> {
        let cursor = Cursor { seq: head.seq.max(since.seq), ..head };
        let mut page = Self { events: BTreeMap::new(), data_bytes: 0, events_max, cursor, has_more: false };
        for subscription in subscriptions {
            page.add(app, subscription, since.seq).await?;
        }
        page.has_more = page.cursor.seq < head.seq;
        Ok(page)
    }

    /// Adds the events of a channel up to the page's end, and ends the page earlier if they are too many.
    async fn add(&mut self, app: &App, subscription: &Subscription, mut after: u64) -> Result<(), AppError> {
        let mut left = self.events_max;
        while after < self.cursor.seq {
            let step = STEP.min(left);
            let found = app.store().events_after(&subscription.channel, after, self.cursor.seq, step).await?;
            let is_last = found.len() < step;
            left -= found.len();
            after = found.last().map_or(after, |event| event.seq);
            for event in found {
                let event = features::expanded(&event).unwrap_or(event);
                if subscription.filter.as_ref().is_none_or(|filter| filter.passes(&event)) {
                    self.put(event);
                }
            }
            if is_last {
                break;
            }
            if left == 0 {
                self.end_at(after);
            }
        }
        Ok(())
    }

    fn put(&mut self, event: Event) {
        if event.seq > self.cursor.seq || self.events.contains_key(&event.seq) {
            return;
        }
        self.data_bytes += event.data.len();
        self.events.insert(event.seq, event);
        while self.events.len() > self.events_max
            || (self.data_bytes > DATA_BYTES_MAX && self.events.len() > 1)
        {
            let last = self.events.last_key_value().map_or(0, |(seq, _)| *seq);
            self.end_at(last - 1);
        }
    }

    /// Drops events beyond `seq`; they belong to the next page.
    fn end_at(&mut self, seq: u64) {
        self.cursor.seq = self.cursor.seq.min(seq);
        while let Some(last) = self.events.last_entry()
            && *last.key() > seq
        {
            self.data_bytes -= last.remove().data.len();
        }
    }

    fn is_nothing(&self) -> bool {
        self.events.is_empty() && !self.has_more
    }

    /// `{"events":[event…],"cursor","has_more"}`.
    fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.data_bytes + 200 * (self.events.len() + 1));
        text.extend_from_slice(b"{\"events\":[");
        for (number, event) in self.events.values().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            write_native(event, &mut text);
        }
        let end = format!("],\"cursor\":\"{}\",\"has_more\":{}}}", self.cursor, self.has_more);
        text.extend_from_slice(end.as_bytes());
        text
    }
}
