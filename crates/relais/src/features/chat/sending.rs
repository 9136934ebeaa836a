//! Sending a message: exactly once, however often the client repeats it.

use std::collections::BTreeSet;

use relais_protocol::event::Position;
use relais_store::{StoreError, WriteTx};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::messages::described;
use super::model::Message;
use super::people::Me;
use super::posting::Posted;
use super::refusal::{checked_words, invalid, no_message};
use super::service::{Chat, topic};
use super::store;
use super::store::messages::MessageRow;
use crate::AppError;
use crate::aliases::Aliased;
use crate::said::said;

/// The maximum length of a `client_id`, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 100;
/// Maximum number of attachments of one message, and maximum length of a reference in bytes.
const ATTACHMENTS_MAX: usize = 20;
const REFERENCE_BYTES_MAX: usize = 200;
/// Bytes of the digest of a request with a `client_id`.
const DIGEST_BYTES: usize = 16;
/// Members that one message may mention: as many as the largest group has.
const MENTIONS_MAX: usize = 1_000;

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

/// A stored message.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// The position of its event in the conversation's topic; absent if it existed already.
    pub position: Option<Position>,
    /// Whether it was a duplicate.
    pub duplicate: bool,
}

impl Chat {
    /// Stores a message, then publishes it to the members.
    ///
    /// # Errors
    /// 400 for a text that is empty or too long and for too many mentions, 404 if the sender is not a member, 409 if
    /// the `client_id` was used for another message.
    pub async fn send(&self, me: &Me, conversation_id: &str, new: NewMessage) -> Result<Sent, AppError> {
        let content = checked_words(
            "content",
            &new.content,
            self.0.config.message_bytes_max,
            !new.attachments.is_empty(),
        )?;
        check_names(&new)?;
        let topic = topic(conversation_id)?;
        let conversation_id = conversation_id.to_owned();
        let posted = Posted { chat: self.clone(), me: me.clone(), conversation_id, topic, content, new };
        let sent = self.0.posts.write(posted).await;
        if matches!(&sent, Ok(sent) if !sent.duplicate) {
            self.0.unindexed.notify_one();
        }
        sent
    }
}

/// The content of a request with a `client_id`, to recognise its repetition.
pub(super) struct Asked(Sha256);

impl Asked {
    pub(super) fn of(content: &str, new: &NewMessage) -> Self {
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

    /// The digest as stored with the message, whose id salts it.
    pub(super) fn digest(self, message_id: &str) -> String {
        hex::encode(&self.0.chain_update(message_id).finalize()[..DIGEST_BYTES])
    }
}

/// The existing message with this `client_id`, if it is the one being sent again.
pub(super) fn sent_before(
    tx: &mut WriteTx<'_>,
    row: MessageRow,
    posted: &Posted,
) -> Result<Result<Sent, AppError>, StoreError> {
    let is_same = match store::messages::client_digest(tx, row.key)? {
        Some(digest) => digest == Asked::of(&posted.content, &posted.new).digest(&row.id),
        // Nothing is left to compare with a message that was edited or deleted.
        None => row.edited_at.is_some() || row.deleted_at.is_some() || row.content == posted.content,
    };
    if row.conversation_id != posted.conversation_id || !is_same {
        return Ok(Err(name_in_use(&row.id)));
    }
    let message = described(tx, vec![row])?.pop().ok_or_else(no_message);
    Ok(message.map(|message| Sent { message, position: None, duplicate: true }))
}

pub(super) fn name_in_use(message_id: &str) -> AppError {
    let message = said!(
        "« client_id » a déjà servi pour un autre message : un nouveau message en prend un nouveau",
        "\"client_id\" was already used for another message: a new message needs a new one"
    );
    AppError::conflict("client_id_in_use", message).with("message_id", message_id)
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

/// The mentioned users who are members, one per line.
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
