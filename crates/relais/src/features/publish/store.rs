//! Idempotency keys, so that a repeated call publishes nothing twice.

use relais_protocol::time::Timestamp;
use relais_store::{Migration, Query, StoreError, WriteTx, params};

/// The table of this feature.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 400,
    name: "publishing",
    sql: "CREATE TABLE published (
              principal TEXT NOT NULL,
              idempotency_key TEXT NOT NULL,
              digest TEXT NOT NULL,
              reply TEXT NOT NULL,
              at BIGINT NOT NULL,
              PRIMARY KEY (principal, idempotency_key)
          ) {clustered};
          CREATE INDEX published_at ON published (at);",
}];

/// The earlier call with this key: its digest, and the reply.
pub(super) fn find(
    tx: &mut impl Query,
    principal: &str,
    key: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT digest, reply FROM published WHERE principal = $1 AND idempotency_key = $2";
    tx.query_opt(sql, params![principal, key], |row| Ok((row.text(0)?, row.text(1)?)))
}

/// Stores a reply, and deletes those older than `before`.
pub(super) fn insert(
    tx: &mut WriteTx<'_>,
    principal: &str,
    key: &str,
    digest: &str,
    reply: &str,
    before: Timestamp,
) -> Result<(), StoreError> {
    let now = tx.now();
    tx.execute("DELETE FROM published WHERE at < $1", params![before])?;
    tx.execute(
        "INSERT INTO published (principal, idempotency_key, digest, reply, at) VALUES ($1, $2, $3, $4, $5)",
        params![principal, key, digest, reply, now],
    )?;
    Ok(())
}
