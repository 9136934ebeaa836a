//! What the log tells of a message: never more than the message itself.
//!
//! The text of a message stands in the event that told it first, in that of its last edit, and in the views of a
//! conversation that whoever comes in gets. An edit brings the first up to date and empties the others, all in its own
//! transaction: its event comes after them and tells the text. So an edit costs the same however many there were, and
//! a deletion finds the text in two events. Whoever comes back hears what is left of the message. So it is with the word of
//! an invitation that is taken back or refused.

use relais_store::{StoreError, WriteTx};
use serde_json::{Value, json};

use super::messages::lines;
use super::model::Conversation;
use super::service::Chat;
use super::store;
use super::store::messages::MessageRow;

/// Rows that are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// Where events show a conversation, with its last message.
const SHOWN: [&str; 2] = ["conversation", "group"];

/// Brings the event that told a message first up to date, and empties the others that have its text: none is left but
/// the first.
pub(super) fn retell(tx: &mut WriteTx<'_>, row: &MessageRow) -> Result<(), StoreError> {
    if let Some(first) = store::told::first(tx, row.key)? {
        tx.amend(first, |data| retold(data, row))?;
    }
    let none = MessageRow {
        content: String::new(),
        mentions: String::new(),
        attachments: String::new(),
        ..row.clone()
    };
    for seq in store::told::later(tx, row.key)? {
        tx.amend(seq, |data| retold(data, &none))?;
    }
    store::told::forget(tx, row.key)
}

/// Settles an invitation to which nobody agreed: the word with it is gone, also from the events that told it. An event
/// has to follow in the same transaction, by which other servers learn of it.
pub(super) fn withdraw(tx: &mut WriteTx<'_>, id: &str, status: &str) -> Result<(), StoreError> {
    if let Some(first) = store::invitations::told(tx, id)? {
        for seq in [first, first + 1] {
            tx.amend(seq, |data| wordless(data, id))?;
        }
    }
    store::invitations::settle(tx, id, status, None)
}

/// The data of an event that told an invitation, without the word with it; none if there is none.
fn wordless(data: &str, invitation_id: &str) -> Option<String> {
    let mut data: Value = serde_json::from_str(data).ok()?;
    let invitation = data.get_mut("invitation").filter(|told| told["id"] == invitation_id)?;
    let message = invitation.get_mut("message").filter(|message| **message != "")?;
    *message = "".into();
    Some(data.to_string())
}

impl Chat {
    /// Forgets where events told texts that the log has no more; to be called once it was trimmed. Works in small steps
    /// between which other writes go on.
    ///
    /// # Errors
    /// What the database reports; the steps done so far stand.
    pub async fn forget_trimmed(&self) -> Result<(), StoreError> {
        let at_once = FORGOTTEN_AT_ONCE as u64;
        while self.0.store.write(|tx| store::told::forget_trimmed(tx, FORGOTTEN_AT_ONCE)).await? == at_once {}
        Ok(())
    }
}

/// Notes that the event `seq` shows a conversation, with its last message.
pub(super) fn note(tx: &mut WriteTx<'_>, seq: u64, shown: &Conversation) -> Result<(), StoreError> {
    match shown.last_message.as_ref().filter(|last| !last.content.is_empty()) {
        Some(last) => store::told::add(tx, &last.id, seq),
        None => Ok(()),
    }
}

/// The ids of the messages whose texts are in the data of an event: told, and shown as the last of a conversation.
pub(super) fn named(data: &Value) -> impl Iterator<Item = &str> {
    let shown = SHOWN.iter().map(move |shown| &data[*shown]["last_message"]["id"]);
    [&data["message"]["id"], &data["message_id"]].into_iter().chain(shown).filter_map(Value::as_str)
}

/// The data of an event with the message as it is now; none if it is so already.
pub(super) fn retold(data: &str, row: &MessageRow) -> Option<String> {
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

/// Puts what there is of a message now in the place of what there was.
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
