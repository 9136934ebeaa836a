//! Sending a message: once, whatever its sender repeats.

use std::collections::BTreeSet;

use relais_protocol::event::Position;
use relais_store::{StoreError, WriteTx};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::blocks::check_partner;
use super::messages::{begin, described, own, seen};
use super::model::Message;
use super::people::Me;
use super::refusal::{checked_words, invalid, no_message};
use super::service::{Chat, topic};
use super::store;
use super::store::messages::MessageRow;
use super::words::stored;
use crate::AppError;
use crate::aliases::Aliased;
use crate::id::new_id;
use crate::said::said;

/// The longest name that a client may give a message, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Attachments of one message at most, and the longest reference in bytes.
const ATTACHMENTS_MAX: usize = 20;
const REFERENCE_BYTES_MAX: usize = 200;
/// Bytes of the digest of what was asked for under a `client_id`.
const DIGEST_BYTES: usize = 16;
/// Members that one message may mention: those of the largest group.
const MENTIONS_MAX: usize = 1_000;
/// Ids of members that are looked at in one go.
const MEMBERS_AT_ONCE: usize = 100;

/// A message to be sent.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct NewMessage {
    /// The text.
    pub content: String,
    /// What the sender's program calls it: sending the same one again makes no second message, for ever. Also
    /// `clientId`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Members that it mentions, 1,000 at most; others are left out.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// References to uploads.
    #[serde(default)]
    pub attachments: Vec<String>,
}

impl Aliased for NewMessage {
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[("client_id", &["clientId"])];
}

/// A message that is stored.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// The place of its event in the conversation's topic; absent if it was there already.
    pub position: Option<Position>,
    /// Whether it had been sent before.
    pub duplicate: bool,
}

impl Chat {
    /// Stores a message, then tells the members.
    ///
    /// # Errors
    /// 400 for a text that is empty or too long and for too many mentions, 404 if the sender is not in the conversation, 409 if the client's
    /// name for it was used for another message.
    pub async fn send(&self, me: &Me, conversation_id: &str, new: NewMessage) -> Result<Sent, AppError> {
        let content = checked_words(
            "content",
            &new.content,
            self.0.config.message_bytes_max,
            !new.attachments.is_empty(),
        )?;
        check_names(&new)?;
        let (chat, me, conversation_id) = (self.clone(), me.clone(), conversation_id.to_owned());
        let event_topic = topic(&conversation_id)?;
        me.permit()
            .write(&self.0.store, move |tx| {
                let (conversation, place) = own(tx, &conversation_id, me.id())?;
                let (typing, typist, typed_in) = (chat.clone(), me.id().to_owned(), conversation_id.clone());
                tx.after_events(move || typing.end_typing(&typed_in, &typist));
                if let Some(client_id) = &new.client_id
                    && let Some(row) = store::messages::find_sent(tx, me.id(), client_id)?
                {
                    return sent_before(tx, row, &conversation_id, &content, &new);
                }
                check_partner(tx, &conversation_id, conversation.kind, me.id())?;
                let asked = Asked::of(&content, &new);
                let row = chat.new_row(tx, &me, &conversation_id, content, new)?;
                store::conversations::count_unread(tx, &conversation_id, me.id())?;
                if place.unread == 0 {
                    // What one has written oneself one has read.
                    store::conversations::move_read(tx, &conversation_id, me.id(), row.number)?;
                }
                let digest = row.client_id.as_ref().map(|_| asked.digest(&row.id));
                let message = seen(row.clone(), &[]);
                let mut data = begin(me.id(), &conversation);
                data["message"] = json!(message);
                let emitted = tx.emit(&event_topic, "new_message", data.to_string())?;
                store::messages::insert(tx, &row, digest.as_deref(), emitted.seq)?;
                store::search::index(tx, row.key, &stored(&row.content))?;
                Ok(Sent { message, position: Some(emitted.position), duplicate: false })
            })
            .await
    }

    fn new_row(
        &self,
        tx: &mut WriteTx<'_>,
        me: &Me,
        conversation_id: &str,
        content: String,
        new: NewMessage,
    ) -> Result<MessageRow, AppError> {
        let now = tx.now();
        let delivered_at = self.reaches_anybody(tx, conversation_id, me.id())?.then_some(now);
        Ok(MessageRow {
            key: store::messages::next_key(tx)?,
            id: new_id(now),
            conversation_id: conversation_id.to_owned(),
            number: store::conversations::count_message(tx, conversation_id, now)?,
            sender: me.person.clone(),
            client_id: new.client_id,
            content,
            mentions: mentioned(tx, conversation_id, &new.mentions)?,
            attachments: new.attachments.join("\n"),
            created_at: now,
            delivered_at,
            edited_at: None,
            deleted_at: None,
        })
    }

    /// Whether a device of another member is connected.
    fn reaches_anybody(
        &self,
        tx: &mut WriteTx<'_>,
        conversation_id: &str,
        me: &str,
    ) -> Result<bool, StoreError> {
        let mut after = String::new();
        loop {
            let some = store::conversations::member_ids(tx, conversation_id, &after, MEMBERS_AT_ONCE)?;
            if self.0.devices.any_connected(some.iter().map(String::as_str).filter(|id| *id != me)) {
                return Ok(true);
            }
            match some.last() {
                Some(last) if some.len() == MEMBERS_AT_ONCE => after.clone_from(last),
                _ => return Ok(false),
            }
        }
    }
}

/// What was asked for under a `client_id`.
struct Asked(Sha256);

impl Asked {
    fn of(content: &str, new: &NewMessage) -> Self {
        let mut digest = Sha256::new();
        for part in [&[content.to_owned()], &*new.mentions, &*new.attachments] {
            digest.update(part.len().to_le_bytes());
            for text in part {
                digest.update(text.len().to_le_bytes());
                digest.update(text);
            }
        }
        Self(digest)
    }

    /// As it is stored with the message, whose id makes equal texts differ.
    fn digest(self, message_id: &str) -> String {
        hex::encode(&self.0.chain_update(message_id).finalize()[..DIGEST_BYTES])
    }
}

/// The message that the sender's program calls so, if it is the one that it sends again.
fn sent_before(
    tx: &mut WriteTx<'_>,
    row: MessageRow,
    conversation_id: &str,
    content: &str,
    new: &NewMessage,
) -> Result<Sent, AppError> {
    let is_same = match store::messages::client_digest(tx, row.key)? {
        Some(digest) => digest == Asked::of(content, new).digest(&row.id),
        // Of a message that is gone nothing tells what it was.
        None => row.edited_at.is_some() || row.deleted_at.is_some() || row.content == content,
    };
    if row.conversation_id != conversation_id || !is_same {
        let message = said!(
            "« client_id » a déjà servi pour un autre message : un nouveau message en prend un nouveau",
            "\"client_id\" was already used for another message: a new message needs a new one"
        );
        return Err(AppError::conflict("client_id_in_use", message).with("message_id", row.id));
    }
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message)?;
    Ok(Sent { message, position: None, duplicate: true })
}

fn check_names(new: &NewMessage) -> Result<(), AppError> {
    if let Some(client_id) = &new.client_id
        && (client_id.is_empty()
            || client_id.len() > CLIENT_ID_BYTES_MAX
            || client_id.chars().any(char::is_control))
    {
        let message = said!(
            "« client_id » : de 1 à {CLIENT_ID_BYTES_MAX} octets, sans caractère de contrôle",
            "\"client_id\": 1 to {CLIENT_ID_BYTES_MAX} bytes, without control characters"
        );
        return Err(invalid("client_id", message));
    }
    let wrong = |text: &String| {
        text.is_empty() || text.len() > REFERENCE_BYTES_MAX || text.chars().any(char::is_control)
    };
    if new.attachments.len() > ATTACHMENTS_MAX || new.attachments.iter().any(wrong) {
        let message = said!(
            "« attachments » : au plus {ATTACHMENTS_MAX} références de {REFERENCE_BYTES_MAX} octets",
            "\"attachments\": at most {ATTACHMENTS_MAX} references of {REFERENCE_BYTES_MAX} bytes"
        );
        return Err(invalid("attachments", message));
    }
    check_mentions(&new.mentions)
}

pub(super) fn check_mentions(mentions: &[String]) -> Result<(), AppError> {
    if mentions.len() > MENTIONS_MAX {
        let message = said!(
            "« mentions » : {} personnes, au plus {MENTIONS_MAX} : un groupe n'en a pas davantage",
            "\"mentions\": {} people, at most {MENTIONS_MAX}: a group does not have more",
            mentions.len()
        );
        return Err(invalid("mentions", message));
    }
    Ok(())
}

/// Those of the mentioned who are members, one per line.
pub(super) fn mentioned(
    tx: &mut WriteTx<'_>,
    conversation_id: &str,
    mentions: &[String],
) -> Result<String, StoreError> {
    let wanted: BTreeSet<&str> = mentions.iter().map(String::as_str).collect();
    let wanted: Vec<&str> = wanted.into_iter().collect();
    let members = store::conversations::members_among(tx, conversation_id, &wanted)?;
    let mentioned: Vec<&str> = wanted.into_iter().filter(|id| members.contains(*id)).collect();
    Ok(mentioned.join("\n"))
}
