//! Publishing: validation and idempotency.

use std::sync::Arc;

use relais_hub::Hub;
use relais_protocol::event::{EVENT_DATA_BYTES_MAX, Event, Topic};
use relais_protocol::socketio;
use relais_protocol::time::SharedClock;
use relais_store::{Store, StoreError, WriteTx};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::store;
use crate::AppError;
use crate::auth::{Action, Auth, Permit, Principal};
use crate::feature::{Observers, Opening};
use crate::said::Said;

/// Maximum number of events of one call.
const EVENTS_MAX: usize = 100;
/// The longest name of an event and of an idempotency key, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// How long an idempotency key is kept, in milliseconds.
const KEYS_KEPT_MS: i64 = 30 * 86_400_000;

/// An event to be published.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Where: a topic such as `flow:paie`, `user:<id>`, `role:admin`, `page:modules`, `system`.
    pub topic: String,
    /// What happened, in the past tense: letters, digits, `_`, `-`, `.` and `:`.
    pub name: String,
    /// A JSON object.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
    /// Whether only those who listen now need it: it is not stored and cannot be recovered.
    #[serde(default, deserialize_with = "crate::aliases::null_is_absent")]
    pub ephemeral: bool,
    /// Of an ephemeral event: for a slow client, the newest of each topic, name and key waits.
    #[serde(default)]
    pub key: Option<String>,
}

/// Where an event was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Published {
    /// The topic.
    pub topic: String,
    /// Its place in the topic, from 1 and without gaps; absent if it is ephemeral.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Its place in the log; absent if it is ephemeral.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A checked event.
struct Checked {
    topic: Topic,
    name: String,
    data: String,
    /// The key of an ephemeral event.
    ephemeral: Option<String>,
}

/// Publishing from outside. Cheap to clone.
#[derive(Clone)]
pub struct Publishing {
    auth: Auth,
    store: Store,
    hub: Hub,
    clock: SharedClock,
    observers: Observers,
}

impl Publishing {
    pub(super) fn new(opening: &Opening) -> Self {
        let Opening { auth, store, hub, clock, observers, .. } = opening;
        Self {
            auth: auth.clone(),
            store: store.clone(),
            hub: hub.clone(),
            clock: Arc::clone(clock),
            observers: observers.clone(),
        }
    }

    /// Publishes events, all or none, in their order. With an idempotency key the same call again publishes nothing and
    /// is answered the same.
    ///
    /// # Errors
    /// 400 for an event that cannot be published, 403 without the scope, 409 if the key was used for another call.
    pub async fn publish(
        &self,
        principal: &Principal,
        events: Vec<NewEvent>,
        idempotency_key: Option<String>,
    ) -> Result<String, AppError> {
        if events.is_empty() || events.len() > EVENTS_MAX {
            return Err(invalid("events", format!("1 to {EVENTS_MAX} events per call")));
        }
        if idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > NAME_BYTES_MAX) {
            return Err(invalid("Idempotency-Key", format!("1 to {NAME_BYTES_MAX} bytes")));
        }
        let checked = events.into_iter().map(|event| self.check(principal, event));
        let checked = Arc::new(checked.collect::<Result<Vec<_>, _>>()?);
        let digest = digest(&checked);
        let (sender, all) = (principal.id(), Arc::clone(&checked));
        let permit = Permit::new(self.auth.clone(), principal.clone());
        let (reply, fresh) = permit
            .write(&self.store, move |tx| {
                if let Some(key) = &idempotency_key
                    && let Some((known, reply)) = store::find(tx, &sender, key)?
                {
                    return if known == digest { Ok((reply, false)) } else { Err(key_in_use()) };
                }
                let published = all.iter().map(|event| emit(tx, event)).collect::<Result<Vec<_>, _>>()?;
                let reply = serde_json::to_string(&published).map_err(AppError::internal)?;
                if let Some(key) = &idempotency_key {
                    let before = tx.retention_now().plus_millis(-KEYS_KEPT_MS);
                    store::insert(tx, &sender, key, &digest, &reply, before)?;
                }
                Ok((reply, true))
            })
            .await?;
        if fresh {
            self.publish_ephemeral(&checked);
        }
        Ok(reply)
    }

    fn check(&self, principal: &Principal, event: NewEvent) -> Result<Checked, AppError> {
        let wrong = |error: relais_protocol::event::NameError| {
            invalid("topic", format!("{:?}: {error}", event.topic))
        };
        let topic = Topic::new(&event.topic).map_err(wrong)?;
        self.auth.require(principal, Action::Publish(&topic))?;
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        if event.name.is_empty() || event.name.len() > NAME_BYTES_MAX || !event.name.chars().all(letters) {
            let message =
                format!("1 to {NAME_BYTES_MAX} ASCII letters, digits, \"_\", \"-\", \".\" or \":\"");
            return Err(invalid("name", message));
        }
        if socketio::is_reserved(&event.name) {
            return Err(invalid("name", format!("\"{}\" is reserved by Socket.IO", event.name)));
        }
        if self.auth.topics().is_reserved(&event.name) {
            let message = format!("\"{}\" is published by this server alone: use another name", event.name);
            return Err(invalid("name", message));
        }
        let data = event.data.get();
        // Without the spaces that it may have: dialects rely on the compact form, and event streams on one line.
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(data);
        let Some(object) = object.ok().filter(|_| data.len() <= EVENT_DATA_BYTES_MAX) else {
            return Err(invalid("data", format!("a JSON object of at most {EVENT_DATA_BYTES_MAX} bytes")));
        };
        if self.observers.any(|observer| observer.is_sole_source(&event.name, &object)) {
            let message = format!(
                "\"{}\" tells of a module of this server, which alone tells of its modules",
                event.name
            );
            return Err(invalid("name", message));
        }
        let ephemeral = event.ephemeral.then(|| event.key.unwrap_or_default());
        let data = serde_json::to_string(&object).map_err(AppError::internal)?;
        Ok(Checked { topic, name: event.name, data, ephemeral })
    }

    fn publish_ephemeral(&self, events: &[Checked]) {
        for event in events {
            let Some(key) = &event.ephemeral else { continue };
            let told = Event {
                topic: event.topic.clone(),
                epoch: self.hub.head().epoch,
                offset: 0,
                seq: 0,
                name: event.name.as_str().into(),
                data: event.data.as_str().into(),
                at: self.clock.now(),
            };
            self.hub.publish_latest(Arc::new(told), key.as_str().into());
        }
    }
}

fn digest(events: &[Checked]) -> String {
    let mut digest = Sha256::new();
    for event in events {
        let key = event.ephemeral.as_deref();
        digest.update([u8::from(key.is_some())]);
        for part in [event.topic.as_str(), &event.name, &event.data, key.unwrap_or("")] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
    }
    hex::encode(digest.finalize())
}

fn emit(tx: &mut WriteTx<'_>, event: &Checked) -> Result<Published, StoreError> {
    let topic = event.topic.to_string();
    if event.ephemeral.is_some() {
        return Ok(Published { topic, offset: None, cursor: None });
    }
    let emitted = tx.emit(&event.topic, &event.name, event.data.clone())?;
    let cursor = relais_protocol::event::Cursor { epoch: emitted.position.epoch, seq: emitted.seq };
    Ok(Published { topic, offset: Some(emitted.position.offset), cursor: Some(cursor.to_string()) })
}

fn invalid(field: &str, message: impl std::fmt::Display) -> AppError {
    let message = format!("\"{field}\": {message}");
    AppError::bad_request("invalid_event", Said::in_english(message)).with("field", field)
}

fn key_in_use() -> AppError {
    let text = "This Idempotency-Key was already used for another request: a new request needs a new one";
    AppError::conflict("idempotency_key_in_use", Said::in_english(text))
}
