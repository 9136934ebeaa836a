//! The SQL of the chat, one file per noun.

pub(super) mod backfill;
pub(super) mod blocks;
pub(super) mod carriers;
pub(super) mod conversations;
pub(super) mod invitations;
pub(super) mod messages;
pub(super) mod people;
pub(super) mod reads;
pub(super) mod search;

use relais_store::Migration;

/// The tables of this feature.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 300, name: "chat", sql: include_str!("../schema.sql") },
    Migration {
        version: 301,
        name: "chat: deliveries and read marks",
        sql: include_str!("../schema_301.sql"),
    },
    Migration {
        version: 302,
        name: "chat: words, and where texts were told",
        sql: include_str!("../schema_302.sql"),
    },
    Migration {
        version: 310,
        name: "chat: names of messages, invitations to groups",
        sql: include_str!("../schema_310.sql"),
    },
    Migration {
        version: 320,
        name: "chat: members counted, blocked people",
        sql: include_str!("../schema_320.sql"),
    },
    Migration {
        version: 330,
        name: "chat: where texts were told, in the order of the log",
        sql: include_str!("../schema_330.sql"),
    },
    Migration {
        version: 340,
        name: "chat: where invitations were told",
        sql: include_str!("../schema_340.sql"),
    },
    Migration {
        version: 350,
        name: "chat: words are noted after the message",
        sql: include_str!("../schema_350.sql"),
    },
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relais_protocol::time::SystemClock;
    use relais_store::{Backend, DatabaseUrl, Param, Query as _, Store, StoreConfig, StoreError, params};
    use relais_testkit::TestDb;

    use super::{messages, reads, search};

    /// How SQLite finds the rows of the chat's tables.
    async fn searches(store: &Store, sql: &str, values: Vec<Param<'static>>) -> Vec<String> {
        let explained: &'static str = format!("EXPLAIN QUERY PLAN {sql}").leak();
        let steps = store.read(move |tx| tx.query(explained, &values, |row| row.text(3))).await;
        let steps: Result<Vec<String>, StoreError> = steps;
        let mut searches = steps.unwrap();
        searches.retain(|step| ["SEARCH", "SCAN chat"].iter().any(|start| step.starts_with(start)));
        searches.sort();
        searches.dedup();
        searches
    }

    #[tokio::test]
    async fn what_is_read_and_delivered_is_found_without_a_walk_through_the_conversation() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(DatabaseUrl::sqlite(folder.path().join("relais.db")));
        let store = Store::open(&config, &crate::features::migrations(), Arc::new(SystemClock)).unwrap();
        assert_eq!(
            searches(&store, reads::OF_PART, params!["c", 1, 2].to_vec()).await,
            [
                "SEARCH b USING PRIMARY KEY (conversation_id=? AND user_id=? AND up_to>?)",
                "SEARCH chat_reads USING INDEX chat_reads_number (conversation_id=? AND up_to>? AND up_to<?)",
                "SEARCH n USING PRIMARY KEY (conversation_id=? AND user_id>?)",
            ]
        );
        assert_eq!(
            searches(&store, messages::SET_DELIVERED, params![1, "c", 0, 2, "u"].to_vec()).await,
            [
                "SEARCH chat_messages USING INDEX chat_messages_undelivered (conversation_id=? AND delivered_at=? AND number>? AND number<?)"
            ]
        );
        assert_eq!(
            searches(&store, messages::UNDELIVERED, params!["u", 10].to_vec()).await,
            [
                "SEARCH b USING INDEX chat_members_user (user_id=?)",
                "SEARCH m USING COVERING INDEX chat_messages_undelivered (conversation_id=? AND delivered_at=? AND number>?)",
            ]
        );
        store.shutdown().await;
    }

    /// Messages and their words: enough that no database reads them all for a word that few have.
    async fn many_words(store: &Store) {
        let rows = "WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n WHERE number < 20000) ";
        let written = store.write(move |tx| {
            let words = match tx.backend() {
                Backend::Sqlite => {
                    "INSERT INTO chat_words (rowid, words) SELECT number, 'beton fa' || number FROM n"
                }
                Backend::Postgres => {
                    "INSERT INTO chat_words (key, words) SELECT number, \
                     array_to_tsvector(ARRAY['beton', 'fa' || number]) FROM n"
                }
            };
            let messages = "INSERT INTO chat_messages (key, id, conversation_id, number, sender_id, content, mentions, \
                            attachments, created_at) \
                            SELECT number, 'm' || number, 'c', number, 'u', '', '', '', 0 FROM n";
            for sql in [words, messages] {
                let (insert, select) = sql.split_once("SELECT").expect("a statement");
                let whole: &'static str = format!("{insert}{rows}SELECT{select}").leak();
                tx.execute(whole, params![])?;
            }
            Ok::<_, StoreError>(())
        });
        written.await.unwrap();
    }

    #[tokio::test]
    async fn sqlite_looks_the_words_of_a_search_up_the_latest_first() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(DatabaseUrl::sqlite(folder.path().join("relais.db")));
        let store = Store::open(&config, &crate::features::migrations(), Arc::new(SystemClock)).unwrap();
        many_words(&store).await;
        let explained: &'static str = format!("EXPLAIN QUERY PLAN {}", search::FIND_SQLITE).leak();
        let steps = store
            .read(move |tx| tx.query(explained, params!["u", "\"fa42\"*", 1_000_000, 20], |row| row.text(3)));
        let steps: Result<Vec<String>, StoreError> = steps.await;
        let steps = steps.unwrap();
        assert!(
            steps[0].starts_with("SCAN chat_words VIRTUAL TABLE INDEX") && steps[0].contains('M'),
            "{steps:?}"
        );
        assert!(steps[1].starts_with("SEARCH m USING INTEGER PRIMARY KEY"), "{steps:?}");
        assert_eq!(steps.len(), 3, "and sorts nothing: {steps:?}");
        store.shutdown().await;
    }

    #[test]
    fn postgres_looks_the_words_of_a_search_up() {
        let db = TestDb::postgres();
        let config = StoreConfig::new(db.url());
        let store = Store::open(&config, &crate::features::migrations(), Arc::new(SystemClock)).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(plans_of_postgres(&store));
    }

    async fn plans_of_postgres(store: &Store) {
        many_words(store).await;
        let analyzed: Result<u64, StoreError> =
            store.write(|tx| tx.execute("ANALYZE chat_words, chat_messages", params![])).await;
        analyzed.unwrap();
        let explained: &'static str = format!("EXPLAIN {}", search::FIND_POSTGRES).leak();
        for question in ["'fa42':*", "'parpaing':*", "'fa42' & 'beton':*"] {
            let steps = store.read(move |tx| {
                tx.query(explained, params!["u", question, 1_000_000, 20], |row| row.text(0))
            });
            let steps: Result<Vec<String>, StoreError> = steps.await;
            let steps = steps.unwrap().join("\n");
            assert!(steps.contains("Bitmap Index Scan on chat_words_words"), "{question}: {steps}");
            assert!(!steps.contains("Seq Scan on chat_words"), "{steps}");
        }
        store.shutdown().await;
    }
}
