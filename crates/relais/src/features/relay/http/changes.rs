//! The change feed, for clients that poll instead of subscribing.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, RawQuery, State};
use relais_protocol::event::{Cursor, Event};
use relais_protocol::time::SharedClock;
use serde_json::{Value, json};

use super::super::SocieteName;
use super::super::frame;
use super::super::service::Changes;
use super::{may_read, societe};
use crate::app::Heads;
use crate::auth::http::Caller;
use crate::auth::{Access, Action, Auth, Principal};
use crate::features::relay::Relay;
use crate::said::{Said, said};
use crate::{App, AppError};

/// Maximum number of events of one page, and the default.
const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 500;
/// Seconds that a client may wait for an event.
const WAIT_MAX_S: u64 = 60;

/// The query of listeners and of the change feed.
#[derive(Debug, Default)]
pub(crate) struct ListenQuery {
    /// The client's position.
    pub(crate) since: Option<Cursor>,
    /// The requested sociétés; all readable ones if empty.
    pub(crate) societes: BTreeSet<SocieteName>,
    limit: Option<usize>,
    wait_s: u64,
}

impl ListenQuery {
    /// Parses a query string; `societe` may be repeated.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, AppError> {
        let mut parsed = Self::default();
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let wrong = |what: Said| {
                let text = said!(
                    "Paramètre « {key} » invalide : {value:?} n'est pas {}",
                    "Invalid parameter \"{key}\": {value:?} is not {}";
                    what
                );
                AppError::bad_request("invalid_parameter", text)
            };
            match &*key {
                "since" if value.is_empty() => {}
                "since" => {
                    let wanted = || said!("un curseur de ce serveur", "a cursor of this server");
                    parsed.since = Some(value.parse().map_err(|_| wrong(wanted()))?);
                }
                "societe" => drop(parsed.societes.insert(societe(&value)?)),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let wanted = || said!("un nombre de 1 à 1000", "a number from 1 to 1000");
                    parsed.limit = Some(limit.ok_or_else(|| wrong(wanted()))?);
                }
                "wait" => {
                    let wait = value.parse().ok().filter(|wait| *wait <= WAIT_MAX_S);
                    let wanted =
                        || said!("un nombre de secondes de 0 à 60", "a number of seconds from 0 to 60");
                    parsed.wait_s = wait.ok_or_else(|| wrong(wanted()))?;
                }
                _ => {}
            }
        }
        Ok(parsed)
    }

    /// The sociétés whose events the caller gets: those asked for, each of which must be allowed, or all that
    /// are.
    pub(crate) fn wanted(&self, auth: &Auth, caller: &Principal) -> Result<Access, AppError> {
        if self.societes.is_empty() {
            auth.require(caller, Action::RelayList)?;
            return Ok(auth.readable_societes(caller));
        }
        for name in &self.societes {
            may_read(auth, caller, name)?;
        }
        Ok(Access::only(self.societes.iter().map(SocieteName::as_str)))
    }
}

/// What happened in the sociétés that the caller may read.
#[utoipa::path(get, path = "/api/files/changes", tag = "relay",
    params(("since" = Option<String>, Query, description = "Cursor of an earlier reply or frame; without one from the oldest event that is kept"),
        ("societe" = Option<Vec<String>>, Query, description = "Only these sociétés"),
        ("limit" = Option<usize>, Query, description = "Events at most, 1 to 1000, by default 500"),
        ("wait" = Option<u64>, Query, description = "Seconds to wait for something to happen, at most 60")),
    responses(
        (status = 200, description = "`{\"changes\": [frame…], \"cursor\", \"has_more\"}`, oldest first, with the frames of the WebSocket"),
        (status = 400, description = "`invalid_parameter`"),
        (status = 410, description = "`cursor_expired`, with the present `cursor`: list the files, then go on from it")))]
pub(super) async fn list_changes(feed: Feed, RawQuery(query): RawQuery) -> Result<Json<Value>, AppError> {
    feed.answer(ListenQuery::parse(query.as_deref())?).await
}

/// What happened in one société.
#[utoipa::path(get, path = "/api/files/societe/{societe}/changes", tag = "relay",
    params(("societe" = String, Path), ("since" = Option<String>, Query), ("limit" = Option<usize>, Query), ("wait" = Option<u64>, Query)),
    responses((status = 200, description = "As `/api/files/changes`"), (status = 410, description = "`cursor_expired`")))]
pub(super) async fn list_societe_changes(
    feed: Feed,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, AppError> {
    let mut query = ListenQuery::parse(query.as_deref())?;
    query.societes = BTreeSet::from([societe(&name)?]);
    feed.answer(query).await
}

/// Who asks for changes, and where they come from.
#[derive(FromRequestParts)]
#[from_request(state(App))]
pub(super) struct Feed {
    #[from_request(via(State))]
    auth: Auth,
    #[from_request(via(State))]
    relay: Relay,
    #[from_request(via(State))]
    heads: Heads,
    #[from_request(via(State))]
    clock: SharedClock,
    caller: Caller,
}

impl Feed {
    async fn answer(mut self, query: ListenQuery) -> Result<Json<Value>, AppError> {
        let Caller(caller) = &self.caller;
        let mut access = query.wanted(&self.auth, caller)?;
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
        let deadline =
            tokio::time::Instant::from_std(self.clock.instant()) + Duration::from_secs(query.wait_s);
        let mut since = query.since;
        loop {
            let head = self.heads.head();
            if query.wait_s > 0 {
                // Rights may have ended meanwhile; that is in the log, so it wakes whoever waits. Asked after `head`: what
                // came before is theirs, and what ended before that wakes nobody any more.
                access = query.wanted(&self.auth, &self.auth.renewed(caller).await?)?;
            }
            let readable = |event: &Event| access.contains(event.topic.key());
            let page = self.relay.changes(since, head, limit, readable).await?;
            let nothing = page.events.is_empty() && !page.has_more;
            if !nothing || !self.heads.next(deadline).await {
                return Ok(Json(render(&page)));
            }
            since = Some(page.cursor);
        }
    }
}

fn render(page: &Changes) -> Value {
    let changes: Vec<Value> = page.events.iter().map(frame::event_value).collect();
    json!({ "changes": changes, "cursor": page.cursor.to_string(), "has_more": page.has_more })
}
