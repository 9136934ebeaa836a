//! Words of messages: FTS5 in SQLite, text search in PostgreSQL. Both get words that are folded already.

use relais_store::{Backend, Query, StoreError, WriteTx, params};

use super::messages::{MessageRow, columns, message};

/// Words of a search at most; what is beyond is left out.
const WORDS_MAX: usize = 10;

/// Notes the words of a message.
pub(crate) fn index(tx: &mut WriteTx<'_>, key: u64, folded: &str) -> Result<(), StoreError> {
    let sql = match tx.backend() {
        Backend::Sqlite => "INSERT INTO chat_search (rowid, words) VALUES ($1, $2)",
        Backend::Postgres => "INSERT INTO chat_search (key, words) VALUES ($1, to_tsvector('simple', $2))",
    };
    tx.execute(sql, params![key, folded])?;
    Ok(())
}

/// Forgets the words of a message.
pub(crate) fn forget(tx: &mut WriteTx<'_>, key: u64) -> Result<(), StoreError> {
    let sql = match tx.backend() {
        Backend::Sqlite => "DELETE FROM chat_search WHERE rowid = $1",
        Backend::Postgres => "DELETE FROM chat_search WHERE key = $1",
    };
    tx.execute(sql, params![key])?;
    Ok(())
}

/// Messages of this person's conversations that have all the words, as beginnings, the latest first; before a
/// key.
pub(crate) fn find(
    tx: &mut impl Query,
    user_id: &str,
    folded: &str,
    before: u64,
    limit: usize,
) -> Result<Vec<MessageRow>, StoreError> {
    let words: Vec<&str> = folded
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .collect();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let (sql, joint, end) = match tx.backend() {
        Backend::Sqlite => (
            concat!(
                columns!(),
                "JOIN chat_search s ON s.rowid = m.key \
                 JOIN chat_members b ON b.conversation_id = m.conversation_id AND b.user_id = $1 \
                 WHERE s.words MATCH $2 AND m.key < $3 ORDER BY m.key DESC LIMIT $4"
            ),
            " ",
            "*",
        ),
        Backend::Postgres => (
            concat!(
                columns!(),
                "JOIN chat_search s ON s.key = m.key \
                 JOIN chat_members b ON b.conversation_id = m.conversation_id AND b.user_id = $1 \
                 WHERE s.words @@ to_tsquery('simple', $2) AND m.key < $3 ORDER BY m.key DESC LIMIT $4"
            ),
            " & ",
            ":*",
        ),
    };
    let quote = if end == "*" { "\"" } else { "'" };
    let terms: Vec<String> = words.iter().map(|word| format!("{quote}{word}{quote}{end}")).collect();
    tx.query(sql, params![user_id, &terms.join(joint), before, limit], message)
}
