//! Commands to devices.

use relais_protocol::time::Timestamp;
use relais_store::{Query, Row, StoreError, WriteTx, params};
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
    tx.query(sql, params![module, before, limit], command)
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
    tx.query(sql, params![module, state.name(), before, limit], command)
}

/// Commands to which something may still happen, in the order in which they were given; without their parameters.
pub(crate) fn list_open(tx: &mut impl Query, limit: usize) -> Result<Vec<Command>, StoreError> {
    let sql = "SELECT id, module, command, '{}', state, delivery, created_at, expires_at, sent_at, attempts, \
               finished_at, result FROM module_commands WHERE finished_at IS NULL ORDER BY id LIMIT $1";
    tx.query(sql, params![limit], command)
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
    tx: &mut WriteTx<'_>,
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
