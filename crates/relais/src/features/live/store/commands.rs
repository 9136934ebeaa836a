//! Commands to devices.

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, Row, RowTx, StoreError, WriteTx, params};
use serde_json::Value;

use super::super::command::{Command, CommandState, Delivery};

/// The columns of [`command`], in its order.
macro_rules! columns {
    () => {
        "SELECT id, module, command, params, state, delivery, created_at, expires_at, sent_at, attempts, finished_at, \
         result FROM module_commands "
    };
}

fn command(row: &Row<'_>) -> Result<Command, StoreError> {
    let unknown = |what: &str| StoreError::Value(format!("{what} is not known here"));
    let (state, delivery) = (row.str(4)?, row.str(5)?);
    Ok(Command {
        id: row.text(0)?,
        module: row.text(1)?,
        command: row.text(2)?,
        params: serde_json::from_str(row.str(3)?).unwrap_or_default(),
        state: CommandState::named(state).ok_or_else(|| unknown(state))?,
        delivery: Delivery::named(delivery).ok_or_else(|| unknown(delivery))?,
        created_at: row.timestamp(6)?,
        expires_at: row.timestamp(7)?,
        sent_at: row.opt_timestamp(8)?,
        attempts: u32::try_from(row.u64(9)?).unwrap_or(u32::MAX),
        finished_at: row.opt_timestamp(10)?,
        result: row.opt_str(11)?.map(|json| serde_json::from_str(json).unwrap_or(Value::Null)),
    })
}

/// The commands that a query finds. A row that cannot be understood is left out and named: it never stops the others.
fn readable(
    tx: &mut impl Query,
    sql: &'static str,
    params: &[Param<'_>],
) -> Result<Vec<Command>, StoreError> {
    let found = tx.query(sql, params, |row| match command(row) {
        Err(StoreError::Value(fault)) => {
            metrics::counter!("relais_live_unreadable_commands_total").increment(1);
            let id = row.text(0).unwrap_or_default();
            tracing::warn!(command = id, "a command of a module cannot be read and is left out: {fault}");
            Ok(None)
        }
        found => found.map(Some),
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// The commands whose rows cannot be understood, at most `limit` of them, each with what is wrong with it.
pub(crate) fn unreadable(tx: &mut impl Query, limit: usize) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT id, state, delivery FROM module_commands \
               WHERE state NOT IN ('queued', 'sent', 'in_progress', 'acknowledged', 'failed', 'expired') \
               OR delivery NOT IN ('at_most_once', 'at_least_once') ORDER BY id LIMIT $1";
    tx.query(sql, params![limit], |row| {
        Ok(format!("command {}: state {:?}, delivery {:?}", row.str(0)?, row.str(1)?, row.str(2)?))
    })
}

/// The command with this id.
pub(crate) fn find(tx: &mut impl Query, id: &str) -> Result<Option<Command>, StoreError> {
    tx.query_opt(concat!(columns!(), "WHERE id = $1"), params![id], command)
}

/// What this principal called so before.
pub(crate) fn find_by_client(
    tx: &mut impl Query,
    principal: &str,
    client_id: &str,
) -> Result<Option<Command>, StoreError> {
    let sql = concat!(columns!(), "WHERE principal = $1 AND client_id = $2");
    tx.query_opt(sql, params![principal, client_id], command)
}

/// Commands to a module before `before`, the newest first.
pub(crate) fn list(
    tx: &mut impl Query,
    module: &str,
    before: &str,
    limit: usize,
) -> Result<Vec<Command>, StoreError> {
    let sql = concat!(columns!(), "WHERE module = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
    readable(tx, sql, params![module, before, limit])
}

/// As [`list`], those in one state.
pub(crate) fn list_in(
    tx: &mut impl Query,
    module: &str,
    state: CommandState,
    before: &str,
    limit: usize,
) -> Result<Vec<Command>, StoreError> {
    let sql = concat!(columns!(), "WHERE module = $1 AND state = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
    readable(tx, sql, params![module, state.name(), before, limit])
}

/// Commands to which something may still happen, in the order in which they were given; without their parameters.
pub(crate) fn list_open(tx: &mut impl Query, limit: usize) -> Result<Vec<Command>, StoreError> {
    let sql = "SELECT id, module, command, '{}', state, delivery, created_at, expires_at, sent_at, attempts, \
               finished_at, result FROM module_commands WHERE finished_at IS NULL ORDER BY id LIMIT $1";
    readable(tx, sql, params![limit])
}

/// How many commands to a module are open.
pub(crate) fn count_open(tx: &mut impl Query, module: &str) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM module_commands WHERE module = $1 AND finished_at IS NULL";
    tx.query_one(sql, params![module], |row| row.u64(0))
}

/// Adds a command.
pub(crate) fn insert(
    tx: &mut WriteTx<'_>,
    principal: &str,
    client_id: Option<&str>,
    command: &Command,
) -> Result<(), StoreError> {
    let given = json(&command.params);
    tx.execute(
        "INSERT INTO module_commands (id, module, principal, client_id, command, params, state, delivery, \
         created_at, expires_at, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)",
        params![
            &command.id,
            &command.module,
            principal,
            client_id,
            &command.command,
            &given,
            command.state.name(),
            command.delivery.name(),
            command.created_at,
            command.expires_at
        ],
    )?;
    Ok(())
}

/// Writes what may change of a command.
pub(crate) fn update(tx: &mut WriteTx<'_>, command: &Command) -> Result<(), StoreError> {
    let result = command.result.as_ref().map(json);
    tx.execute(
        "UPDATE module_commands SET state = $1, sent_at = $2, attempts = $3, finished_at = $4, result = $5 \
         WHERE id = $6",
        params![
            command.state.name(),
            command.sent_at,
            command.attempts,
            command.finished_at,
            result.as_deref(),
            &command.id
        ],
    )?;
    Ok(())
}

/// Forgets the commands to a module.
pub(crate) fn delete(tx: &mut WriteTx<'_>, module: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM module_commands WHERE module = $1", params![module])?;
    Ok(())
}

/// Forgets at most `limit` commands that were finished before `before`; says how many.
pub(crate) fn delete_finished(
    tx: &mut RowTx<'_, '_>,
    before: Timestamp,
    limit: usize,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM module_commands WHERE id IN (SELECT id FROM module_commands \
               WHERE finished_at IS NOT NULL AND finished_at < $1 ORDER BY finished_at LIMIT $2)";
    tx.execute(sql, params![before, limit])
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}
