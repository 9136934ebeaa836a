//! The SQL of users, grants, keys and the audit log.

use relais_protocol::time::Timestamp;
use relais_store::{Migration, Query, StoreError, WriteTx, params};

use super::model::AuditEntry;
use crate::auth::store::{Account, KeyRow, account, account_columns, key, key_columns};

/// The tables of this feature.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 100, name: "accounts", sql: include_str!("schema.sql") },
    Migration { version: 101, name: "generations", sql: include_str!("schema_101.sql") },
];

/// Whether there are any users.
pub(super) fn has_users(tx: &mut impl Query) -> Result<bool, StoreError> {
    Ok(tx.query_opt("SELECT id FROM users LIMIT 1", params![], |row| row.text(0))?.is_some())
}

/// The id of the user with this address.
pub(super) fn find_id(tx: &mut impl Query, email: &str) -> Result<Option<String>, StoreError> {
    tx.query_opt("SELECT id FROM users WHERE email = $1", params![email], |row| row.text(0))
}

/// Users ordered by id, after `after`; without their grants.
pub(super) fn list_users(tx: &mut impl Query, after: &str, limit: usize) -> Result<Vec<Account>, StoreError> {
    let sql = concat!("SELECT ", account_columns!(), " FROM users WHERE id > $1 ORDER BY id LIMIT $2");
    tx.query(sql, params![after, limit], account)
}

/// Number of users who can sign in.
pub(super) fn count_users(tx: &mut impl Query) -> Result<u64, StoreError> {
    let counted =
        tx.query_opt("SELECT COUNT(*) FROM users WHERE disabled = 0", params![], |row| row.u64(0))?;
    Ok(counted.unwrap_or_default())
}

/// Whether there are administrators who can sign in, other than `id`.
pub(super) fn has_other_admin(tx: &mut impl Query, id: &str) -> Result<bool, StoreError> {
    let sql = "SELECT id FROM users WHERE admin = 1 AND disabled = 0 AND id <> $1 LIMIT 1";
    Ok(tx.query_opt(sql, params![id], |row| row.text(0))?.is_some())
}

/// Adds a user.
pub(super) fn insert_user(
    tx: &mut WriteTx<'_>,
    user: &Account,
    password_hash: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (id, email, password_hash, firstname, lastname, phone, admin, staff, disabled, \
         created_at, valid_from, generation) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            &user.id,
            &user.email,
            password_hash,
            &user.firstname,
            &user.lastname,
            &user.phone,
            user.admin,
            user.staff,
            user.disabled,
            user.created_at,
            user.valid_from,
            user.generation
        ],
    )?;
    Ok(())
}

/// Writes the mutable fields of a user.
pub(super) fn update_user(tx: &mut WriteTx<'_>, user: &Account) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET email = $1, firstname = $2, lastname = $3, phone = $4, admin = $5, staff = $6, \
         disabled = $7, valid_from = $8, generation = $9 WHERE id = $10",
        params![
            &user.email,
            &user.firstname,
            &user.lastname,
            &user.phone,
            user.admin,
            user.staff,
            user.disabled,
            user.valid_from,
            user.generation,
            &user.id
        ],
    )?;
    Ok(())
}

/// Sets the password hash.
pub(super) fn set_password(tx: &mut WriteTx<'_>, id: &str, password_hash: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE users SET password_hash = $1 WHERE id = $2", params![password_hash, id])?;
    Ok(())
}

/// Grants a user access to a société, or changes the grant.
pub(super) fn set_grant(
    tx: &mut WriteTx<'_>,
    user_id: &str,
    societe: &str,
    writes: bool,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO grants (user_id, societe, writes) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, societe) DO UPDATE SET writes = excluded.writes",
        params![user_id, societe, writes],
    )?;
    Ok(())
}

/// Revokes a user's access to a société; returns whether there was any.
pub(super) fn delete_grant(tx: &mut WriteTx<'_>, user_id: &str, societe: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM grants WHERE user_id = $1 AND societe = $2";
    Ok(tx.execute(sql, params![user_id, societe])? > 0)
}

/// Adds a key.
pub(super) fn insert_key(tx: &mut WriteTx<'_>, row: &KeyRow) -> Result<(), StoreError> {
    let scopes: Vec<String> = row.service.scopes.iter().map(ToString::to_string).collect();
    tx.execute(
        "INSERT INTO api_keys (id, name, scopes, secret_hash, created_at, created_by, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            &row.service.id,
            &row.service.name,
            &scopes.join("\n"),
            &row.secret_hash,
            row.created_at,
            &row.created_by,
            row.service.expires_at
        ],
    )?;
    Ok(())
}

/// Keys ordered by id, after `after`.
pub(super) fn list_keys(tx: &mut impl Query, after: &str, limit: usize) -> Result<Vec<KeyRow>, StoreError> {
    let sql = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2");
    tx.query(sql, params![after, limit], key)
}

/// Revokes a key; returns whether there was a valid one.
pub(super) fn revoke_key(tx: &mut WriteTx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    Ok(tx.execute(sql, params![now, id])? > 0)
}

/// Adds an entry to the audit log.
pub(super) fn insert_audit(tx: &mut WriteTx<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO audit (id, at, actor, action, target, address, details) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            &entry.id,
            entry.at,
            &entry.actor,
            &entry.action,
            &entry.target,
            entry.address.as_deref(),
            &entry.details
        ],
    )?;
    Ok(())
}

/// Deletes entries older than `before`, a batch at a time.
pub(super) fn trim_audit(tx: &mut WriteTx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT 100)";
    tx.execute(sql, params![before])
}

/// The audit log, newest first, before the entry `before`; an empty text starts at the newest.
pub(super) fn list_audit(
    tx: &mut impl Query,
    before: &str,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    let sql = "SELECT id, at, actor, action, target, address, details FROM audit \
               WHERE $1 = '' OR id < $1 ORDER BY id DESC LIMIT $2";
    tx.query(sql, params![before, limit], |row| {
        Ok(AuditEntry {
            id: row.text(0)?,
            at: row.timestamp(1)?,
            actor: row.text(2)?,
            action: row.text(3)?,
            target: row.text(4)?,
            address: row.opt_text(5)?,
            details: row.text(6)?,
        })
    })
}
