//! The SQL of the chat, one file per noun.

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
        version: 310,
        name: "chat: names of messages, invitations to groups",
        sql: include_str!("../schema_310.sql"),
    },
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relais_protocol::time::SystemClock;
    use relais_store::{DatabaseUrl, Param, Query as _, Store, StoreConfig, StoreError, params};

    use super::{messages, reads};

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
}
