//! Modules, with the digests of what they identify themselves with.

use relais_store::{Query, Row, StoreError, WriteTx, params};

use super::super::model::Module;
use super::{commands, states};

/// The columns of [`module`], in its order.
macro_rules! columns {
    () => {
        "SELECT id, name, type, owner, created_at, owned_at, owned_seq, updated_at FROM modules "
    };
}

/// The first columns of a row as a module.
pub(super) fn module(row: &Row<'_>) -> Result<Module, StoreError> {
    Ok(Module {
        id: row.text(0)?,
        name: row.text(1)?,
        kind: row.text(2)?,
        owner: row.opt_text(3)?,
        created_at: row.timestamp(4)?,
        owned_at: row.timestamp(5)?,
        owned_seq: row.u64(6)?,
        updated_at: row.timestamp(7)?,
    })
}

/// Neither database has texts with U+0000, which callers may well send.
fn may_be_stored(id: &str) -> bool {
    !id.contains('\0')
}

/// The module with this id.
pub(crate) fn find(tx: &mut impl Query, id: &str) -> Result<Option<Module>, StoreError> {
    if !may_be_stored(id) {
        return Ok(None);
    }
    tx.query_opt(concat!(columns!(), "WHERE id = $1"), params![id], module)
}

/// Modules of everybody in the order of their ids, after `after`.
pub(crate) fn list(tx: &mut impl Query, after: &str, limit: usize) -> Result<Vec<Module>, StoreError> {
    tx.query(concat!(columns!(), "WHERE id > $1 ORDER BY id LIMIT $2"), params![after, limit], module)
}

/// As [`list`], of one owner.
pub(crate) fn list_of(
    tx: &mut impl Query,
    owner: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Module>, StoreError> {
    let sql = concat!(columns!(), "WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3");
    tx.query(sql, params![owner, after, limit], module)
}

/// The digest of a module's credential.
pub(crate) fn secret_hash(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    if !may_be_stored(id) {
        return Ok(None);
    }
    tx.query_opt("SELECT secret_hash FROM modules WHERE id = $1", params![id], |row| row.text(0))
}

/// The module that this claim code is for.
pub(crate) fn find_claimable(tx: &mut impl Query, claim_hash: &str) -> Result<Option<Module>, StoreError> {
    tx.query_opt(concat!(columns!(), "WHERE claim_hash = $1"), params![claim_hash], module)
}

/// Adds a module. What it is called then is its name until its owner gives it another.
pub(crate) fn insert(
    tx: &mut WriteTx<'_>,
    module: &Module,
    secret_hash: &str,
    claim_hash: Option<&str>,
) -> Result<(), StoreError> {
    // Of a module that had this id before.
    states::delete(tx, &module.id)?;
    commands::delete(tx, &module.id)?;
    tx.execute(
        "INSERT INTO modules (id, name, given_name, type, owner, secret_hash, claim_hash, created_at, owned_at, \
         updated_at) VALUES ($1, $2, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            &module.id,
            &module.name,
            &module.kind,
            module.owner.as_deref(),
            secret_hash,
            claim_hash,
            module.created_at,
            module.owned_at,
            module.updated_at
        ],
    )?;
    Ok(())
}

/// Writes what may change of a module.
pub(crate) fn update(tx: &mut WriteTx<'_>, module: &Module) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE modules SET name = $1, type = $2, owner = $3, owned_at = $4, updated_at = $5 WHERE id = $6",
        params![
            &module.name,
            &module.kind,
            module.owner.as_deref(),
            module.owned_at,
            module.updated_at,
            &module.id
        ],
    )?;
    Ok(())
}

/// A module is its owner's from this event on.
pub(crate) fn set_owned_seq(tx: &mut WriteTx<'_>, id: &str, seq: u64) -> Result<(), StoreError> {
    tx.execute("UPDATE modules SET owned_seq = $1 WHERE id = $2", params![seq, id])?;
    Ok(())
}

/// What those who administer call a module.
pub(crate) fn given_name(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT given_name FROM modules WHERE id = $1";
    Ok(tx.query_opt(sql, params![id], |row| row.opt_text(0))?.flatten())
}

/// Those who administer call it so.
pub(crate) fn set_given_name(tx: &mut WriteTx<'_>, id: &str, name: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE modules SET given_name = $1 WHERE id = $2", params![name, id])?;
    Ok(())
}

/// Another credential.
pub(crate) fn set_secret(tx: &mut WriteTx<'_>, id: &str, secret_hash: &str) -> Result<(), StoreError> {
    tx.execute("UPDATE modules SET secret_hash = $1 WHERE id = $2", params![secret_hash, id])?;
    Ok(())
}

/// Another claim code, or none any more.
pub(crate) fn set_claim(tx: &mut WriteTx<'_>, id: &str, claim_hash: Option<&str>) -> Result<(), StoreError> {
    tx.execute("UPDATE modules SET claim_hash = $1 WHERE id = $2", params![claim_hash, id])?;
    Ok(())
}

/// Whose a module was that was given back.
pub(crate) fn last_owner(tx: &mut impl Query, id: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT last_owner FROM modules WHERE id = $1";
    Ok(tx.query_opt(sql, params![id], |row| row.opt_text(0))?.flatten())
}

/// A module was claimed: its code counts no more, unless its owner gives it back.
pub(crate) fn set_claimed(tx: &mut WriteTx<'_>, id: &str, claim_hash: &str) -> Result<(), StoreError> {
    let sql = "UPDATE modules SET claim_hash = NULL, claimed_with = $1, last_owner = NULL WHERE id = $2";
    tx.execute(sql, params![claim_hash, id])?;
    Ok(())
}

/// A module was given back by its owner: the code with which they claimed it counts again.
pub(crate) fn set_given_back(tx: &mut WriteTx<'_>, id: &str, owner: &str) -> Result<(), StoreError> {
    let sql =
        "UPDATE modules SET claim_hash = COALESCE(claimed_with, claim_hash), last_owner = $1 WHERE id = $2";
    tx.execute(sql, params![owner, id])?;
    Ok(())
}

/// Removes a module; says whether there was one.
pub(crate) fn delete(tx: &mut WriteTx<'_>, id: &str) -> Result<bool, StoreError> {
    states::delete(tx, id)?;
    commands::delete(tx, id)?;
    Ok(tx.execute("DELETE FROM modules WHERE id = $1", params![id])? > 0)
}
