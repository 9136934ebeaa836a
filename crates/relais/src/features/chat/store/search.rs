//! Words of messages: FTS5 in SQLite, an index of words in PostgreSQL. Both store and search the words produced by
//! [`words`](super::super::words) unchanged.

use std::collections::BTreeSet;

use relais_store::{Backend, Param, Query, RowTx, StoreError, WriteTx, params};

use super::super::words::Term;
use super::backfill;

fn insert(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "INSERT INTO chat_words (rowid, words) VALUES ($1, $2)",
        Backend::Postgres => {
            "INSERT INTO chat_words (key, words) VALUES ($1, array_to_tsvector(string_to_array($2::text, ' ')))"
        }
    }
}

fn joined(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Indexes the words of several messages.
pub(crate) fn index_each(tx: &mut RowTx<'_, '_>, all: &[(u64, BTreeSet<String>)]) -> Result<(), StoreError> {
    let rows: Vec<(u64, String)> =
        all.iter().filter(|(_, words)| !words.is_empty()).map(|(key, words)| (*key, joined(words))).collect();
    let rows: Vec<[Param<'_>; 2]> = rows.iter().map(|(key, words)| [(*key).into(), words.into()]).collect();
    tx.execute_each(insert(tx.backend()), &rows).map(drop)
}

/// Removes the words of a message from the index, unless they are still to be indexed: then they will be those of its
/// text by then. Returns whether they were indexed.
pub(crate) fn forget(tx: &mut WriteTx<'_>, key: u64) -> Result<bool, StoreError> {
    if key < backfill::below(tx, backfill::WORDS)? {
        return Ok(false);
    }
    if key >= backfill::below(tx, backfill::FRESH)? && key >= backfill::hold_fresh(tx)? {
        return Ok(false);
    }
    let sql = match tx.backend() {
        Backend::Sqlite => "DELETE FROM chat_words WHERE rowid = $1",
        Backend::Postgres => "DELETE FROM chat_words WHERE key = $1",
    };
    tx.execute(sql, params![key])?;
    Ok(true)
}

/// FTS5 returns its rows in descending order by itself, so that the limit ends the search.
pub(super) const FIND_SQLITE: &str = "SELECT chat_words.rowid FROM chat_words \
     CROSS JOIN chat_messages m ON m.key = chat_words.rowid \
     CROSS JOIN chat_members b ON b.conversation_id = m.conversation_id AND b.user_id = $1 \
     WHERE chat_words MATCH $2 AND chat_words.rowid < $3 ORDER BY chat_words.rowid DESC LIMIT $4";

/// The words are looked up on their own first, then the messages: with the limit known, PostgreSQL would rather scan
/// all messages from the latest on.
pub(super) const FIND_POSTGRES: &str = "WITH found AS MATERIALIZED (\
         SELECT key FROM chat_words WHERE words @@ ($2::text)::tsquery AND key < $3), \
     mine AS MATERIALIZED (\
         SELECT f.key FROM found f JOIN chat_messages m ON m.key = f.key \
         JOIN chat_members b ON b.conversation_id = m.conversation_id AND b.user_id = $1) \
     SELECT key FROM mine ORDER BY key DESC LIMIT $4";

/// The keys of the messages of this person's conversations that have all the words, the latest first; before a key.
pub(crate) fn find(
    tx: &mut impl Query,
    user_id: &str,
    terms: &[Term],
    before: u64,
    limit: usize,
) -> Result<Vec<u64>, StoreError> {
    let (sql, question) = match tx.backend() {
        Backend::Sqlite => (FIND_SQLITE, question(terms, "\"", "*", " ")),
        Backend::Postgres => (FIND_POSTGRES, question(terms, "'", ":*", " & ")),
    };
    tx.query(sql, params![user_id, &question, before, limit], |row| row.u64(0))
}

/// Words consist of letters, digits and marks only: nothing in them needs to be escaped.
pub(super) fn question(terms: &[Term], quote: &str, prefix: &str, joint: &str) -> String {
    let term =
        |term: &Term| format!("{quote}{}{quote}{}", term.text, if term.is_prefix { prefix } else { "" });
    terms.iter().map(term).collect::<Vec<_>>().join(joint)
}
