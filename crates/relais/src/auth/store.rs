//! The rows that prove who somebody is: accounts, sessions and keys, as authentication reads them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use relais_protocol::time::Timestamp;
use relais_store::{Param, Query, Row, RowTx, StoreError, WriteTx, params};

use super::principal::{Grants, Service, User, user_principal};
use super::scope::Scope;

/// One of our users, with their grants.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) firstname: String,
    pub(crate) lastname: String,
    pub(crate) phone: String,
    pub(crate) admin: bool,
    pub(crate) staff: bool,
    pub(crate) disabled: bool,
    pub(crate) created_at: Timestamp,
    /// Tokens from before do not count that say no generation, as those of an existing backend: the password was
    /// changed or the user disabled then.
    pub(crate) valid_from: Timestamp,
    /// Which generation of sessions and tokens counts. A number and not a time, so that nothing of the moment of a
    /// change lives on.
    pub(crate) generation: u64,
    pub(crate) grants: Grants,
}

impl Account {
    /// The account as a caller, who came with a session or with a token.
    pub(crate) fn principal(&self, expires_at: Option<Timestamp>, session: Option<Arc<str>>) -> User {
        let name = format!("{} {}", self.firstname, self.lastname);
        let display_name = if name.trim().is_empty() { self.email.clone() } else { name.trim().to_owned() };
        User {
            principal_id: user_principal(&self.id).into(),
            id: self.id.clone(),
            email: self.email.clone(),
            display_name,
            admin: self.admin,
            staff: self.staff,
            grants: self.grants.clone(),
            expires_at,
            generation: Some(self.generation),
            session,
        }
    }
}

/// The columns of [`account`], in its order.
macro_rules! account_columns {
    () => {
        "id, email, firstname, lastname, phone, admin, staff, disabled, created_at, valid_from, \
         generation"
    };
}
pub(crate) use account_columns;

/// An account without its grants.
pub(crate) fn account(row: &Row<'_>) -> Result<Account, StoreError> {
    Ok(Account {
        id: row.text(0)?,
        email: row.text(1)?,
        firstname: row.text(2)?,
        lastname: row.text(3)?,
        phone: row.text(4)?,
        admin: row.bool(5)?,
        staff: row.bool(6)?,
        disabled: row.bool(7)?,
        created_at: row.timestamp(8)?,
        valid_from: row.timestamp(9)?,
        generation: row.u64(10)?,
        grants: Grants::none(),
    })
}

const FIND_ACCOUNT: &str = concat!("SELECT ", account_columns!(), " FROM users WHERE id = $1");
const FIND_GRANTS: &str =
    "SELECT societe, writes FROM grants WHERE user_id = $1 ORDER BY societe LIMIT 10000";

/// As [`FIND_ACCOUNT`], a row for each grant, or one without.
const FIND_WITH_GRANTS: &str = concat!(
    "SELECT u.*, g.societe, g.writes FROM (SELECT ",
    account_columns!(),
    " FROM users WHERE id = $1) AS u LEFT JOIN grants g ON g.user_id = u.id ORDER BY g.societe LIMIT 10000"
);

/// Each société and whether it may be written.
type GrantPairs = Vec<(String, bool)>;

/// The users with these ids.
pub(crate) fn find_accounts(
    tx: &mut impl Query,
    ids: &BTreeSet<&str>,
) -> Result<HashMap<String, Account>, StoreError> {
    let asked: Vec<[Param<'_>; 1]> = ids.iter().map(|id| [Param::from(*id)]).collect();
    let mut found: Vec<Option<(Account, GrantPairs)>> = asked.iter().map(|_| None).collect();
    tx.visit_each(FIND_WITH_GRANTS, &asked, &mut |number, row| {
        let Some(found) = found.get_mut(number) else { return Ok(()) };
        if found.is_none() {
            *found = Some((account(row)?, Vec::new()));
        }
        if let (Some((_, pairs)), Some(societe)) = (found, row.opt_text(11)?) {
            pairs.push((societe, row.bool(12)?));
        }
        Ok(())
    })?;
    let with_grants = found.into_iter().flatten().map(|(mut found, pairs)| {
        found.grants = Grants::from_pairs(pairs.iter().map(|(name, writes)| (&**name, *writes)));
        (found.id.clone(), found)
    });
    Ok(with_grants.collect())
}

/// The user with this id.
pub(crate) fn find_account(tx: &mut impl Query, id: &str) -> Result<Option<Account>, StoreError> {
    let Some(mut found) = tx.query_opt(FIND_ACCOUNT, params![id], account)? else { return Ok(None) };
    let pairs = grants(tx, id)?;
    found.grants = Grants::from_pairs(pairs.iter().map(|(name, writes)| (&**name, *writes)));
    Ok(Some(found))
}

/// The grants of a user: each société and whether it may be written.
pub(crate) fn grants(tx: &mut impl Query, id: &str) -> Result<GrantPairs, StoreError> {
    tx.query(FIND_GRANTS, params![id], |row| Ok((row.text(0)?, row.bool(1)?)))
}

/// The id and the password hash of whoever signs in with this address.
pub(crate) fn find_sign_in(tx: &mut impl Query, email: &str) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT id, password_hash FROM users WHERE email = $1";
    tx.query_opt(sql, params![email], |row| Ok((row.text(0)?, row.text(1)?)))
}

/// A session of the web, found by the digest of its secret.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    pub(crate) user_id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) last_seen: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// The generation of its user that it belongs to.
    pub(crate) generation: u64,
}

impl SessionRow {
    /// Whether it counts at `now` for this account.
    pub(crate) fn is_valid(&self, account: &Account, now: Timestamp) -> bool {
        self.expires_at > now
            && self.user_id == account.id
            && self.generation == account.generation
            && !account.disabled
    }
}

const FIND_SESSION: &str =
    "SELECT user_id, created_at, last_seen, expires_at, generation FROM sessions WHERE id = $1";

fn session(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        user_id: row.text(0)?,
        created_at: row.timestamp(1)?,
        last_seen: row.timestamp(2)?,
        expires_at: row.timestamp(3)?,
        generation: row.u64(4)?,
    })
}

/// The session with this digest.
pub(crate) fn find_session(tx: &mut impl Query, id: &str) -> Result<Option<SessionRow>, StoreError> {
    tx.query_opt(FIND_SESSION, params![id], session)
}

/// The sessions with these digests.
pub(crate) fn find_sessions(
    tx: &mut impl Query,
    ids: &BTreeSet<&str>,
) -> Result<HashMap<String, SessionRow>, StoreError> {
    let asked: Vec<[Param<'_>; 1]> = ids.iter().map(|id| [Param::from(*id)]).collect();
    let found = tx.query_opt_each(FIND_SESSION, &asked, session)?;
    Ok(ids.iter().zip(found).filter_map(|(id, row)| Some(((*id).to_owned(), row?))).collect())
}

/// Keeps a new session, and lets go those that have ended.
pub(crate) fn insert_session(tx: &mut WriteTx<'_>, id: &str, row: &SessionRow) -> Result<(), StoreError> {
    let now = tx.retention_now();
    tx.execute("DELETE FROM sessions WHERE expires_at <= $1", params![now])?;
    tx.execute(
        "INSERT INTO sessions (id, user_id, created_at, last_seen, expires_at, generation) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![id, &row.user_id, row.created_at, row.last_seen, row.expires_at, row.generation],
    )?;
    Ok(())
}

/// Notes that a session was used.
pub(crate) fn touch_session(
    tx: &mut RowTx<'_, '_>,
    id: &str,
    now: Timestamp,
    expires_at: Timestamp,
) -> Result<u64, StoreError> {
    let sql = "UPDATE sessions SET last_seen = $1, expires_at = $2 WHERE id = $3";
    tx.execute(sql, params![now, expires_at, id])
}

/// Ends a session and returns whose it was; none if it is not there.
pub(crate) fn delete_session(tx: &mut WriteTx<'_>, id: &str) -> Result<Option<String>, StoreError> {
    let found = find_session(tx, id)?;
    tx.execute("DELETE FROM sessions WHERE id = $1", params![id])?;
    Ok(found.map(|session| session.user_id))
}

/// Ends every session of a user.
pub(crate) fn delete_sessions_of(tx: &mut WriteTx<'_>, user_id: &str) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM sessions WHERE user_id = $1", params![user_id])
}

/// An API key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) service: Arc<Service>,
    pub(crate) secret_hash: String,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
}

impl KeyRow {
    /// Whether the key counts at `now`.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.service.expires_at.is_none_or(|end| end > now)
    }
}

/// The columns of [`key`], in its order.
macro_rules! key_columns {
    () => {
        "id, name, scopes, secret_hash, created_at, created_by, expires_at, last_used_at, revoked_at"
    };
}
pub(crate) use key_columns;

/// A key from its row. Scopes that this program does not know are left out: they allow nothing.
pub(crate) fn key(row: &Row<'_>) -> Result<KeyRow, StoreError> {
    let id = row.text(0)?;
    let scopes: Vec<Scope> = row.str(2)?.lines().filter_map(|text| text.parse().ok()).collect();
    let service = Service {
        principal_id: Arc::from(format!("key:{id}")),
        id,
        name: row.text(1)?,
        grants: Grants::from_scopes(&scopes),
        scopes,
        expires_at: row.opt_timestamp(6)?,
    };
    Ok(KeyRow {
        service: Arc::new(service),
        secret_hash: row.text(3)?,
        created_at: row.timestamp(4)?,
        created_by: row.text(5)?,
        last_used_at: row.opt_timestamp(7)?,
        revoked_at: row.opt_timestamp(8)?,
    })
}

/// The key with this id.
pub(crate) fn find_key(tx: &mut impl Query, id: &str) -> Result<Option<KeyRow>, StoreError> {
    tx.query_opt(concat!("SELECT ", key_columns!(), " FROM api_keys WHERE id = $1"), params![id], key)
}

/// Notes that a key was used.
pub(crate) fn touch_key(tx: &mut RowTx<'_, '_>, id: &str, now: Timestamp) -> Result<u64, StoreError> {
    tx.execute("UPDATE api_keys SET last_used_at = $1 WHERE id = $2", params![now, id])
}
