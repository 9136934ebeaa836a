//! Coming and going, and listening to what one is in.

use std::sync::Arc;

use relais_protocol::event::{Channel, Cursor, Event};
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::{Device, DeviceId};
use super::messages::{begin, own};
use super::model::Person;
use super::people::{Me, topic_of};
use super::refusal::{checked_text, checked_words, invalid, too_many_notices};
use super::service::{Chat, topic};
use crate::AppError;
use crate::aliases::Aliased;
use crate::event_log::EVENT_DATA_BYTES_MAX;

/// The longest title, type and text of a notification, in bytes.
const TITLE_BYTES_MAX: usize = 200;
const BODY_BYTES_MAX: usize = 4_000;

/// What an event about one's conversations says.
#[derive(Deserialize)]
struct Listening {
    conversation_id: String,
    since: Option<String>,
}

/// A word to somebody outside of any conversation.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
pub struct Notice {
    /// To whom, by id or e-mail address; also `toUserId`, `recipient_id`, `recipientId`, `user_id`, `userId`.
    pub to_user_id: String,
    /// What kind; the receiving program knows.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// In short.
    pub title: String,
    /// At length.
    #[serde(default)]
    pub body: String,
    /// What the receiving program needs.
    #[serde(default)]
    pub data: Value,
}

impl Aliased for Notice {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("to_user_id", RECIPIENT_NAMES)];
}

/// What clients call whom something is for.
pub(super) const RECIPIENT_NAMES: &[&str] = &["toUserId", "recipient_id", "recipientId", "user_id", "userId"];

/// The event that says that somebody is in a conversation from then on.
pub const JOINED: &str = "conversation_joined";
/// The event that says that somebody is out of a conversation.
pub const LEFT: &str = "conversation_left";

impl Chat {
    /// A device of somebody is here. Others are told if it is the first, and what waited counts as delivered.
    ///
    /// # Errors
    /// What the database reports; the device is then not there.
    pub async fn arrive(&self, me: &Me, device: Arc<dyn Device>) -> Result<DeviceId, AppError> {
        let (id, came) = self.0.devices.add(me, device);
        if came {
            self.tell_presence(me, true).await;
        }
        if let Err(error) = self.note_delivered(me).await {
            self.depart(me, id).await;
            return Err(error);
        }
        Ok(id)
    }

    /// A device is gone. Others are told if it was the last.
    pub async fn depart(&self, me: &Me, device: DeviceId) {
        if self.0.devices.remove(me.id(), device) {
            self.tell_presence(me, false).await;
        }
    }

    /// Somebody says whether they are at a device.
    pub(super) async fn set_present(&self, me: &Me, device: DeviceId, present: bool) {
        if let Some(is_online) = self.0.devices.set_present(me.id(), device, present) {
            self.tell_presence(me, is_online).await;
        }
    }

    /// # Errors
    /// 404 if one is not in the conversation.
    pub async fn require_member(&self, me: &Me, conversation_id: &str) -> Result<(), AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        self.0.store.read(move |tx| own(tx, &conversation_id, &id).map(drop)).await
    }

    /// How the data of an event that one causes in a conversation begins.
    pub(super) async fn place_of_event(&self, me: &Me, conversation_id: &str) -> Result<Value, AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        let found = self.0.store.read(move |tx| Ok(begin(&id, &own(tx, &conversation_id, &id)?.0)));
        found.await
    }

    /// Follows what is committed, by this process or another: who is in a conversation from now on hears it, and who
    /// is out does not. Called in the order of the log, before the event is published.
    pub fn observe(&self, event: &Event) {
        if !matches!(&*event.name, JOINED | LEFT) {
            return;
        }
        let Ok(listening) = serde_json::from_str::<Listening>(&event.data) else { return };
        let Ok(conversation) = topic(&listening.conversation_id) else { return };
        match listening.since.and_then(|since| since.parse::<Cursor>().ok()) {
            Some(since) => self.0.devices.join(&event.topic, &conversation, since),
            None => self.0.hub.revoke(event.topic.as_str(), Channel::Topic(conversation)),
        }
    }

    /// Tells somebody something outside of any conversation.
    ///
    /// # Errors
    /// 400 for the texts and the data, 404 if there is nobody, 429 for more than 60 in a minute.
    pub async fn notify(&self, me: &Me, notice: Notice) -> Result<(), AppError> {
        let title = checked_text("title", &notice.title, TITLE_BYTES_MAX, false)?;
        let kind = checked_text("type", &notice.kind, TITLE_BYTES_MAX, true)?;
        let body = checked_words("body", &notice.body, BODY_BYTES_MAX, true)?;
        let data_bytes = notice.data.to_string().len();
        if data_bytes > EVENT_DATA_BYTES_MAX {
            let message =
                format!("« data » est trop long : {data_bytes} octets, au plus {EVENT_DATA_BYTES_MAX}");
            return Err(invalid("data", message));
        }
        self.0.notices.take(me.id(), self.0.clock.steady()).map_err(too_many_notices)?;
        let to = self.know(&notice.to_user_id).await?;
        let from: Person = me.person.clone();
        self.0
            .store
            .write(move |tx| {
                let notification = json!({
                    "from_user": from, "type": kind, "title": title, "body": body, "data": notice.data,
                    "created_at": tx.now(),
                });
                let data = json!({ "by": from.id, "notification": notification });
                let told = topic_of(tx, &to)?;
                tx.emit(&told, "notification", data.to_string())?;
                Ok::<_, AppError>(())
            })
            .await
    }
}
