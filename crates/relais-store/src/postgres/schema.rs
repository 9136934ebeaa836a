//! The schema on PostgreSQL, which one server at a time changes.

use relais_protocol::time::Timestamp;

use super::session::Session;
use crate::connection::Connection as _;
use crate::error::StoreError;
use crate::migration::{self, Migration};
use crate::params;
use crate::tx::Backend;

/// Names the lock under which one server at a time changes the schema.
const LOCK: &str = "SELECT pg_advisory_lock(90595563497843)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(90595563497843)";

/// Applies the steps of `plan` that are missing.
pub(super) fn migrate(session: &mut Session, plan: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    session.batch(LOCK)?;
    let result = migrate_locked(session, plan, now);
    session.batch(UNLOCK)?;
    result
}

fn migrate_locked(session: &mut Session, plan: &[Migration], now: Timestamp) -> Result<(), StoreError> {
    session.batch(migration::TABLE)?;
    let mut applied = Vec::new();
    session.visit("SELECT version, name FROM migrations ORDER BY version", params![], &mut |row| {
        applied.push((row.i64(0)?, row.text(1)?));
        Ok(())
    })?;
    for step in migration::pending(plan, &applied)? {
        in_transaction(session, |session| apply(session, &step, now))
            .map_err(|e| StoreError::Schema(format!("step {} ({}) failed: {e}", step.version, step.name)))?;
    }
    compare_by_bytes(session, plan)
}

fn apply(session: &mut Session, step: &Migration, now: Timestamp) -> Result<(), StoreError> {
    session.batch(&step.statements(Backend::Postgres))?;
    let note = "INSERT INTO migrations (version, name, applied_at) VALUES ($1, $2, $3)";
    session.execute(note, params![step.version, step.name, now]).map(drop)
}

fn in_transaction(
    session: &mut Session,
    f: impl FnOnce(&mut Session) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    session.batch("BEGIN")?;
    match f(session) {
        Ok(()) => session.batch("COMMIT"),
        Err(error) => {
            session.batch("ROLLBACK")?;
            Err(error)
        }
    }
}

/// Texts are compared by their bytes also in tables that an earlier version made, in which the language of the database
/// decided: an order that the other database does not know. Rebuilds indexes, once.
fn compare_by_bytes(session: &mut Session, plan: &[Migration]) -> Result<(), StoreError> {
    const OTHERS: &str = "SELECT format('ALTER TABLE %s %s', c.oid::regclass, \
             string_agg(format('ALTER COLUMN %I TYPE text COLLATE \"C\"', a.attname), ', ')) \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace \
             AND c.relname::text = ANY(string_to_array($1, ' ')) \
             AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype \
             AND a.attcollation <> \
                 (SELECT oid FROM pg_collation WHERE collname = 'C' AND collnamespace = 'pg_catalog'::regnamespace) \
         GROUP BY c.oid";
    let tables: Vec<&str> = plan.iter().flat_map(Migration::tables).collect();
    let mut changes = Vec::new();
    session.visit(OTHERS, params![&tables.join(" ")], &mut |row| {
        changes.push(row.text(0)?);
        Ok(())
    })?;
    if changes.is_empty() {
        return Ok(());
    }
    let changed = in_transaction(session, |session| {
        session.batch("SET LOCAL statement_timeout = 0")?;
        changes.iter().try_for_each(|change| session.batch(change))
    });
    changed
        .map_err(|e| StoreError::Schema(format!("texts could not be made to compare by their bytes: {e}")))?;
    tracing::info!(tables = changes.len(), "texts in the database are compared by their bytes from now on");
    Ok(())
}
