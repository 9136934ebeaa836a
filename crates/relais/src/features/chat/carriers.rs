//! The texts of messages in the log: never more than the message itself contains.
//!
//! The text of a message appears in the event that first published it, in that of its last edit, and in the views of a
//! conversation sent to new members. An edit updates the first and blanks the others, all in its own transaction: its
//! event follows them and carries the text. So an edit costs the same however many there were, and a deletion finds the
//! text in two events. A client that recovers receives what is left of the message. The same holds for the message of
//! an invitation that is withdrawn or rejected.

use relais_store::{StoreError, WriteTx};
use serde_json::{Value, json};

use super::messages::lines;
use super::model::Conversation;
use super::service::Chat;
use super::store;
use super::store::messages::MessageRow;

/// Rows deleted in one transaction.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// The fields of events that contain a conversation with its last message.
const SHOWN: [&str; 2] = ["conversation", "group"];

/// Updates the event that first published a message, and blanks the others that contain its text: only the first is
/// left.
pub(super) fn refresh_carriers(tx: &mut WriteTx<'_>, row: &MessageRow) -> Result<(), StoreError> {
    if let Some(first) = store::carriers::first(tx, row.key)? {
        tx.amend(first, |data| refreshed(data, row))?;
    }
    let none = MessageRow {
        content: String::new(),
        mentions: String::new(),
        attachments: String::new(),
        ..row.clone()
    };
    for seq in store::carriers::later(tx, row.key)? {
        tx.amend(seq, |data| refreshed(data, &none))?;
    }
    store::carriers::forget(tx, row.key)
}

/// Settles an invitation that was not accepted: its message is deleted, also from its events. Another event must follow
/// in the same transaction, to notify other servers.
pub(super) fn withdraw(tx: &mut WriteTx<'_>, id: &str, status: &str) -> Result<(), StoreError> {
    if let Some(first) = store::invitations::carrier(tx, id)? {
        for seq in [first, first + 1] {
            tx.amend(seq, |data| wordless(data, id))?;
        }
    }
    store::invitations::settle(tx, id, status, None)
}

/// The data of an invitation's event without its message; `None` if it has none.
fn wordless(data: &str, invitation_id: &str) -> Option<String> {
    let mut data: Value = serde_json::from_str(data).ok()?;
    let invitation = data.get_mut("invitation").filter(|told| told["id"] == invitation_id)?;
    let message = invitation.get_mut("message").filter(|message| **message != "")?;
    *message = "".into();
    Some(data.to_string())
}

impl Chat {
    /// Deletes the references to events that were trimmed from the log; to be called after trimming. Works in small
    /// steps, between which other writes can proceed.
    ///
    /// # Errors
    /// A database error; completed steps are kept.
    pub async fn forget_trimmed(&self) -> Result<(), StoreError> {
        let at_once = FORGOTTEN_AT_ONCE as u64;
        while self.0.store.write(|tx| store::carriers::forget_trimmed(tx, FORGOTTEN_AT_ONCE)).await?
            == at_once
        {}
        Ok(())
    }
}

/// Records that the event `seq` contains a conversation with its last message.
pub(super) fn note(tx: &mut WriteTx<'_>, seq: u64, shown: &Conversation) -> Result<(), StoreError> {
    match shown.last_message.as_ref().filter(|last| !last.content.is_empty()) {
        Some(last) => store::carriers::add(tx, &last.id, seq),
        None => Ok(()),
    }
}

/// The ids of the messages whose texts an event's data contains: published, or as the last message of a conversation.
pub(super) fn named(data: &Value) -> impl Iterator<Item = &str> {
    let shown = SHOWN.iter().map(move |shown| &data[*shown]["last_message"]["id"]);
    [&data["message"]["id"], &data["message_id"]].into_iter().chain(shown).filter_map(Value::as_str)
}

/// The data of an event with the current content of the message; `None` if it is current already.
pub(super) fn refreshed(data: &str, row: &MessageRow) -> Option<String> {
    let before: Value = serde_json::from_str(data).ok()?;
    let mut after = before.clone();
    if after["message"]["id"] == row.id.as_str() {
        show(&mut after["message"], row);
    } else if after["message_id"] == row.id.as_str() && !after["content"].is_null() {
        show(&mut after, row);
    }
    for shown in SHOWN {
        if after[shown]["last_message"]["id"] == row.id.as_str() {
            after[shown]["last_message"]["content"] = row.content.as_str().into();
        }
    }
    (after != before).then(|| after.to_string())
}

/// Replaces the content of a message with the current one.
fn show(message: &mut Value, row: &MessageRow) {
    message["content"] = row.content.as_str().into();
    for (name, texts) in [("mentions", &row.mentions), ("attachments", &row.attachments)] {
        if message.get(name).is_some() {
            message[name] = json!(lines(texts));
        }
    }
    for (name, at) in [("edited_at", row.edited_at), ("deleted_at", row.deleted_at)] {
        if let Some(at) = at {
            message[name] = json!(at);
        }
    }
}
