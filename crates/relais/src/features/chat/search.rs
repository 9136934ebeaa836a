//! Full-text search of messages.

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

/// The maximum length of a query, in bytes and in words.
const QUERY_BYTES_MAX: usize = 500;
const WORDS_MAX: usize = 32;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The latest first.
    pub messages: Vec<Message>,
    /// Where to continue, if there are more.
    pub cursor: Option<u64>,
    /// Whether all messages were searched: after an upgrade older ones are indexed gradually, and the latest ones are
    /// indexed later if nothing can be written.
    pub complete: bool,
}

impl Chat {
    /// Messages in the user's conversations that contain all words of `query`, as prefixes and ignoring accents and
    /// case; the latest first. `before` continues an earlier search.
    ///
    /// # Errors
    /// 400 if the query is empty or too long.
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
        // Includes all messages sent before the search.
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
