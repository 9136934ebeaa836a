//! Delivery and read receipts.

use relais_protocol::event::Topic;
use relais_store::{ReadTx, StoreError, WriteTx};
use serde_json::json;

use super::messages::{READERS_SHOWN, begin, own};
use super::model::Read;
use super::people::Me;
use super::refusal::no_message;
use super::service::{Chat, topic};
use super::store;
use crate::AppError;

/// Conversations whose messages are marked as delivered in one transaction; further ones follow in the next.
const DELIVERED_AT_ONCE: usize = 200;

impl Chat {
    /// Marks the messages of others up to `up_to`, or all, as read, and notifies the others. Returns how many there
    /// were.
    ///
    /// # Errors
    /// 404 if the user is not a member.
    pub async fn mark_read(
        &self,
        me: &Me,
        conversation_id: &str,
        up_to: Option<u64>,
    ) -> Result<u64, AppError> {
        let (id, conversation_id) = (me.person.id.clone(), conversation_id.to_owned());
        let (event_topic, own_topic) = (topic(&conversation_id)?, me.topic.clone());
        me.permit()
            .write(&self.0.store, move |tx| {
                let (conversation, place) = own(tx, &conversation_id, &id)?;
                let read_to = up_to.unwrap_or(conversation.messages).min(conversation.messages);
                if place.unread == 0 || read_to <= place.read_to {
                    return Ok(0);
                }
                let left = store::messages::count_of_others(tx, &conversation_id, &id, read_to)?;
                store::conversations::set_read(tx, &conversation_id, &id, read_to, left)?;
                store::messages::set_delivered(tx, &conversation_id, &id, 0, read_to)?;
                let count = place.unread.saturating_sub(left);
                if count > 0 {
                    let mut data = begin(&id, &conversation);
                    data["user_id"] = id.as_str().into();
                    data["read_at"] = json!(tx.now());
                    data["up_to"] = read_to.into();
                    data["count"] = count.into();
                    // A reader who is not among those listed in a message changes nothing for the others.
                    let shown = store::reads::others(tx, &conversation_id, &id, read_to, READERS_SHOWN + 1)?
                        <= READERS_SHOWN;
                    let topic = if shown { &event_topic } else { &own_topic };
                    tx.emit(topic, "messages_read", data.to_string())?;
                }
                Ok(count)
            })
            .await
    }

    /// The readers of a message other than its sender, in the order of their ids after `after`; and their total number.
    ///
    /// # Errors
    /// 404 if the message does not exist for the user.
    pub async fn reads(
        &self,
        me: &Me,
        message_id: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<Read>, u64), AppError> {
        let (id, message_id, after) = (me.person.id.clone(), message_id.to_owned(), after.to_owned());
        let found = self.0.store.read(move |tx: &mut ReadTx<'_>| {
            let row = store::messages::find(tx, &message_id)?.ok_or_else(no_message)?;
            own(tx, &row.conversation_id, &id).map_err(|_| no_message())?;
            let count = store::reads::count_readers(tx, &row.conversation_id, row.number, &row.sender.id)?;
            let part =
                store::reads::readers(tx, &row.conversation_id, row.number, &row.sender.id, &after, limit)?;
            Ok::<_, AppError>((part, count))
        });
        let (part, count) = found.await?;
        Ok((part.into_iter().map(|row| Read { user_id: row.user_id, read_at: row.read_at }).collect(), count))
    }

    /// A device of this user has connected: pending messages count as delivered, and their senders are notified.
    ///
    /// # Errors
    /// A database error.
    pub(super) async fn note_delivered(&self, me: &Me) -> Result<(), AppError> {
        loop {
            let reader = me.person.id.clone();
            let waiting =
                self.0.store.read(move |tx| store::messages::undelivered(tx, &reader, DELIVERED_AT_ONCE));
            let waiting: Vec<(String, u64)> =
                waiting.await.map_err(|error: StoreError| AppError::from(error))?;
            let last = waiting.len() < DELIVERED_AT_ONCE;
            if !waiting.is_empty() {
                self.set_delivered(me, waiting).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Marks the messages of others in these conversations, each up to a number, as delivered, and notifies the
    /// senders.
    async fn set_delivered(&self, me: &Me, waiting: Vec<(String, u64)>) -> Result<(), AppError> {
        let id = me.person.id.clone();
        let waiting =
            waiting.into_iter().map(|(conversation_id, up_to)| Ok((topic(&conversation_id)?, up_to)));
        let waiting = waiting.collect::<Result<Vec<_>, AppError>>()?;
        let permit = me.permit();
        permit
            .write(&self.0.store, move |tx| {
                for (conversation, up_to) in waiting {
                    deliver(tx, &id, &conversation, 0, up_to)?;
                }
                Ok(())
            })
            .await
    }
}

/// Messages of others in a range of numbers were delivered to a user: notifies their senders.
pub(super) fn deliver(
    tx: &mut WriteTx<'_>,
    id: &str,
    conversation: &Topic,
    after: u64,
    up_to: u64,
) -> Result<(), StoreError> {
    let conversation_id = conversation.key();
    if store::messages::set_delivered(tx, conversation_id, id, after, up_to)? > 0 {
        let data = json!({
            "by": id, "conversation_id": conversation_id, "user_id": id, "from": after + 1, "up_to": up_to,
            "delivered_at": tx.now(),
        });
        tx.emit(conversation, "messages_delivered", data.to_string())?;
    }
    Ok(())
}
