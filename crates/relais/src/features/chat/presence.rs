//! Subscribing to conversations as memberships change, and notifications outside of conversations.

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
use crate::said::said;

/// The maximum length of a notification's title, type and text, in bytes.
const TITLE_BYTES_MAX: usize = 200;
const BODY_BYTES_MAX: usize = 4_000;

/// The data of an event about a user's membership.
#[derive(Deserialize)]
struct Listening {
    conversation_id: String,
    since: Option<String>,
}

/// A notification to one person, outside of any conversation.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
pub struct Notice {
    /// The recipient, by id or e-mail address; also `toUserId`, `recipient_id`, `recipientId`, `user_id`, `userId`.
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

/// Aliases of the recipient field.
pub(super) const RECIPIENT_NAMES: &[&str] = &["toUserId", "recipient_id", "recipientId", "user_id", "userId"];

/// The event of a user joining a conversation.
pub const JOINED: &str = "conversation_joined";
/// The event of a user leaving a conversation.
pub const LEFT: &str = "conversation_left";

impl Chat {
    /// # Errors
    /// 404 if the user is not a member.
    pub async fn require_member(&self, me: &Me, conversation_id: &str) -> Result<(), AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        self.0.store.read(move |tx| own(tx, &conversation_id, &id).map(drop)).await
    }

    /// Applies what this process or another has committed: users who join a conversation are subscribed to it, and
    /// those who leave are unsubscribed. Called in log order, before the event is published.
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

    /// Sends a user a notification outside of any conversation.
    ///
    /// # Errors
    /// 400 for the texts and the data, 404 if the user does not exist, 403, 409 and 429 if they do not accept contact
    /// from the sender, 429 for more than 60 in a minute.
    pub async fn notify(&self, me: &Me, notice: Notice) -> Result<(), AppError> {
        let title = checked_text("title", &notice.title, TITLE_BYTES_MAX, false)?;
        let kind = checked_text("type", &notice.kind, TITLE_BYTES_MAX, true)?;
        let body = checked_words("body", &notice.body, BODY_BYTES_MAX, true)?;
        let data_bytes = notice.data.to_string().len();
        if data_bytes > EVENT_DATA_BYTES_MAX {
            let message = said!(
                "« data » est trop long : {data_bytes} octets, au plus {EVENT_DATA_BYTES_MAX}",
                "\"data\" is too long: {data_bytes} bytes, at most {EVENT_DATA_BYTES_MAX}"
            );
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
