//! Listening to what one is in, and words outside of conversations.

use relais_protocol::event::{Channel, Cursor, EVENT_DATA_BYTES_MAX, Event};
use serde::Deserialize;
use serde_json::{Value, json};

use super::blocks::{Wish, check_welcome};
use super::messages::own;
use super::model::Person;
use super::people::{Me, topic_of};
use super::refusal::{checked_text, checked_words, invalid, too_many_notices};
use super::service::{Chat, topic};
use crate::AppError;
use crate::aliases::Aliased;

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
    /// # Errors
    /// 404 if one is not in the conversation.
    pub async fn require_member(&self, me: &Me, conversation_id: &str) -> Result<(), AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        self.0.store.read(move |tx| own(tx, &conversation_id, &id).map(drop)).await
    }

    /// Follows what is committed, by this process or another: who is in a conversation from now on hears it, and who
    /// is out does not. Called in the order of the log, before the event is published.
    pub fn observe(&self, event: &Event) {
        if !matches!(&*event.name, JOINED | LEFT) {
            return;
        }
        let Ok(listening) = serde_json::from_str::<Listening>(&event.data) else { return };
        let Ok(conversation) = topic(&listening.conversation_id) else { return };
        self.0.watches.changed([listening.conversation_id], event.topic.key());
        self.0.wake.notify_one();
        match listening.since.and_then(|since| since.parse::<Cursor>().ok()) {
            Some(since) => self.0.devices.join(&event.topic, &conversation, since),
            None => {
                self.end_typing(conversation.key(), event.topic.key());
                self.0.hub.revoke(event.topic.as_str(), Channel::Topic(conversation));
            }
        }
    }

    /// Tells somebody something outside of any conversation.
    ///
    /// # Errors
    /// 400 for the texts and the data, 404 if there is nobody, 403, 409 and 429 if they want to hear nothing of one, 429
    /// for more than 60 in a minute.
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
        me.permit()
            .write(&self.0.store, move |tx| {
                let notification = json!({
                    "from_user": from, "type": kind, "title": title, "body": body, "data": notice.data,
                    "created_at": tx.now(),
                });
                let data = json!({ "by": from.id, "notification": notification });
                check_welcome(tx, &from.id, &to, Wish::Notify)?;
                let told = topic_of(tx, &to)?;
                tx.emit(&told, "notification", data.to_string())?;
                Ok::<_, AppError>(())
            })
            .await
    }
}
