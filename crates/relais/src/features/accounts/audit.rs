//! The audit log.

use std::net::IpAddr;

use relais_protocol::time::Timestamp;
use relais_store::{Store, StoreError, WriteTx};

use super::model::AuditEntry;
use super::service::Accounts;
use super::store;
use crate::AppError;
use crate::auth::{Auth, Permit, Principal};
use crate::id::new_id;

/// Retention of the audit log, in milliseconds.
const AUDIT_KEPT_MS: i64 = 365 * 86_400_000;

/// Who makes a change, and from where, for the audit log.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `user:<id>`, `key:<id>`, `cli:<login>`, ….
    pub name: String,
    /// The network address.
    pub address: Option<IpAddr>,
    /// The rights by which they act, if these can end; the server itself and the command line have all rights.
    permit: Option<Permit>,
}

impl Actor {
    /// A caller of the server.
    #[must_use]
    pub fn caller(auth: &Auth, principal: &Principal, address: Option<IpAddr>) -> Self {
        let permit = Permit::new(auth.clone(), principal.clone());
        Self { name: principal.id().to_string(), address, permit: Some(permit) }
    }

    /// An actor that needs no rights: the configuration, the command line, a user who is just signing in.
    #[must_use]
    pub fn named(name: impl Into<String>, address: Option<IpAddr>) -> Self {
        Self { name: name.into(), address, permit: None }
    }

    /// Whoever is at this terminal.
    #[must_use]
    pub fn at_terminal() -> Self {
        let login =
            std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".into());
        let plain: String = login.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::named(format!("cli:{plain}"), None)
    }

    /// Runs `f` in a transaction that asks first whether the rights still stand by which it was allowed: they may have
    /// ended since, however short that was.
    ///
    /// # Errors
    /// 401 or 403 if not, and the errors of `f`.
    pub async fn write<T: Send + 'static>(
        &self,
        store: &Store,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        match &self.permit {
            Some(permit) => permit.write(store, f).await,
            None => store.write(f).await,
        }
    }

    pub(super) fn did(&self, now: Timestamp, action: &str, target: String, details: String) -> AuditEntry {
        AuditEntry {
            id: new_id(now),
            at: now,
            actor: self.name.clone(),
            action: action.to_owned(),
            target,
            address: self.address.map(|address| address.to_string()),
            details,
        }
    }
}

impl Accounts {
    /// The audit log, newest first, before the entry `before`; an empty text starts at the newest.
    ///
    /// # Errors
    /// A database error.
    pub async fn list_audit(&self, before: String, limit: usize) -> Result<Vec<AuditEntry>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_audit(tx, &before, limit));
        found.await.map_err(|error: StoreError| error.into())
    }
}

/// Records an action in another feature, in the transaction of that action.
///
/// # Errors
/// A database error.
pub fn record_action(
    tx: &mut WriteTx<'_>,
    actor: &Actor,
    action: &str,
    target: &str,
    details: &str,
) -> Result<(), StoreError> {
    let entry = actor.did(tx.now(), action, target.to_owned(), details.to_owned());
    record(tx, &entry)
}

/// Records an action and trims old entries.
pub(super) fn record(tx: &mut WriteTx<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    store::insert_audit(tx, entry)?;
    let kept_since = tx.retention_now().plus_millis(-AUDIT_KEPT_MS);
    store::trim_audit(tx, kept_since)?;
    Ok(())
}
