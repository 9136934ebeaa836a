//! Finding messages by their words.

use relais_store::{ReadTx, StoreError};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::messages::described;
use super::model::Message;
use super::people::Me;
use super::refusal::invalid;
use super::service::Chat;
use super::store;
use crate::AppError;

/// The longest question, in bytes.
const QUERY_BYTES_MAX: usize = 500;

/// A text as it is compared: small letters without accents.
pub(super) fn fold(text: &str) -> String {
    text.nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect()
}

impl Chat {
    /// Messages in one's own conversations that have all the words of `query`, as beginnings of words and whatever
    /// their accents and capitals; the latest first. `before` goes on where an earlier answer ended; with the answer
    /// comes where it ends, if there is more.
    ///
    /// # Errors
    /// 400 if the question is empty or too long.
    pub async fn search_messages(
        &self,
        me: &Me,
        query: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Message>, Option<u64>), AppError> {
        let folded = fold(query.trim());
        if folded.is_empty() || query.len() > QUERY_BYTES_MAX {
            let message = format!("« q » : des mots à chercher, {QUERY_BYTES_MAX} octets au plus");
            return Err(invalid("q", message));
        }
        let (id, before) = (me.person.id.clone(), before.unwrap_or(i64::MAX.unsigned_abs()));
        self.0
            .store
            .read(move |tx: &mut ReadTx<'_>| {
                let mut rows = store::search::find(tx, &id, &folded, before, limit + 1)?;
                let more = rows.len() > limit;
                rows.truncate(limit);
                let end = rows.last().filter(|_| more).map(|row| row.key);
                let found = rows.into_iter().map(|row| described(tx, vec![row]));
                let found = found.collect::<Result<Vec<_>, StoreError>>()?;
                Ok((found.into_iter().flatten().collect(), end))
            })
            .await
    }
}
