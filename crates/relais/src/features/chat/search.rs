//! Finding messages by their words.

use relais_store::{ReadTx, StoreError};

use super::messages::described;
use super::model::Message;
use super::people::Me;
use super::refusal::invalid;
use super::service::Chat;
use super::store;
use super::words::asked;
use crate::AppError;
use crate::said::said;

/// The longest question, in bytes and in words.
const QUERY_BYTES_MAX: usize = 500;
const WORDS_MAX: usize = 32;

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The latest first.
    pub messages: Vec<Message>,
    /// Where it ends, if there is more.
    pub cursor: Option<u64>,
    /// Whether all messages were looked through: after an upgrade the words of older ones are noted little by little,
    /// and those of the latest later if nothing can be written.
    pub complete: bool,
}

impl Chat {
    /// Messages in one's own conversations that have all the words of `query`, as beginnings of words and whatever
    /// their accents and capitals; the latest first. `before` goes on where an earlier answer ended.
    ///
    /// # Errors
    /// 400 if the question is empty or too long.
    pub async fn search_messages(
        &self,
        me: &Me,
        query: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Found, AppError> {
        let terms = asked(query);
        if query.trim().is_empty() || query.len() > QUERY_BYTES_MAX || terms.len() > WORDS_MAX {
            let message = said!(
                "« q » : des mots à chercher, {QUERY_BYTES_MAX} octets et {WORDS_MAX} mots au plus",
                "\"q\": words to look for, at most {QUERY_BYTES_MAX} bytes and {WORDS_MAX} words"
            );
            return Err(invalid("q", message));
        }
        // What was said before the question is found.
        let is_noted = self.note_words().await;
        if let Err(error) = &is_noted {
            tracing::warn!(%error, "the words of the latest messages could not be noted: they are not found yet");
        }
        let (id, before) = (me.person.id.clone(), before.unwrap_or(i64::MAX.unsigned_abs()));
        self.0
            .store
            .read(move |tx: &mut ReadTx<'_>| {
                let complete = is_noted.is_ok() && store::backfill::below(tx, store::backfill::WORDS)? == 0;
                if terms.is_empty() {
                    return Ok(Found { messages: Vec::new(), cursor: None, complete });
                }
                let mut keys = store::search::find(tx, &id, &terms, before, limit + 1)?;
                let more = keys.len() > limit;
                keys.truncate(limit);
                let cursor = keys.last().copied().filter(|_| more);
                let mut messages = Vec::with_capacity(keys.len());
                for key in keys {
                    let row = store::messages::find_by_key(tx, key)?;
                    messages.extend(described(tx, row.into_iter().collect())?);
                }
                Ok::<_, StoreError>(Found { messages, cursor, complete })
            })
            .await
            .map_err(AppError::from)
    }
}
