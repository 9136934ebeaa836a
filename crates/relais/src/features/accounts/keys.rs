//! API keys: the credentials of scripts and connectors.

use std::sync::Arc;

use relais_protocol::time::Timestamp;

use super::audit::{Actor, record};
use super::model::KeyInfo;
use super::refusal::{bad_request, check_text, not_found};
use super::service::Accounts;
use super::store;
use crate::AppError;
use crate::auth::store::KeyRow;
use crate::auth::{Grants, NewKey, Scope, Service, rights, secret};
use crate::said::said;
use crate::text::is_visible;

/// Maximum number of scopes of one key.
const SCOPES_MAX: usize = 64;

impl Accounts {
    /// Creates a key; its secret is returned here and never again.
    ///
    /// # Errors
    /// 400 for an invalid name, scope or expiry.
    pub async fn create_key(
        &self,
        actor: &Actor,
        name: &str,
        scopes: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<(KeyInfo, String), AppError> {
        let now = self.auth.now();
        let name = checked_name(name)?;
        let scopes = checked_scopes(scopes)?;
        if expires_at.is_some_and(|end| end <= now) {
            let message =
                said!("La fin de validité est déjà passée", "The end of validity has already passed");
            return Err(bad_request("expires_at", message));
        }
        let key = NewKey::generate()?;
        let service = Service {
            principal_id: format!("key:{}", key.id).into(),
            id: key.id.clone(),
            name,
            grants: Grants::from_scopes(&scopes),
            scopes,
            expires_at,
        };
        let row = KeyRow {
            service: Arc::new(service),
            secret_hash: secret::digest(&key.secret),
            created_at: now,
            created_by: actor.name.clone(),
            last_used_at: None,
            revoked_at: None,
        };
        let info = KeyInfo::from(&row);
        let details = format!("name={} scopes={}", info.name, info.scopes.join(","));
        let entry = actor.did(now, "key_created", format!("key:{}", info.id), details);
        let auth = self.auth.clone();
        actor
            .write(self.auth.store(), move |tx| {
                store::insert_key(tx, &row)?;
                record(tx, &entry)?;
                // A request that already used this id may have cached its absence.
                tx.after_commit(move || auth.key_changed(&row.service.id));
                Ok(())
            })
            .await?;
        Ok((info, key.text()))
    }

    /// Keys after the id `after`.
    ///
    /// # Errors
    /// A database error.
    pub async fn list_keys(&self, after: String, limit: usize) -> Result<Vec<KeyInfo>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_keys(tx, &after, limit));
        Ok(found.await.map_err(AppError::from)?.iter().map(KeyInfo::from).collect())
    }

    /// Revokes a key with immediate effect.
    ///
    /// # Errors
    /// 404 if there is no such valid key.
    pub async fn revoke_key(&self, actor: &Actor, id: &str) -> Result<(), AppError> {
        let (id, by, auth) = (id.to_owned(), actor.clone(), self.auth.clone());
        actor
            .write(self.auth.store(), move |tx| {
                let now = tx.now();
                if !store::revoke_key(tx, &id, now)? {
                    return Err(not_found(said!(
                        "Clé inconnue ou déjà révoquée",
                        "Key unknown or already revoked"
                    )));
                }
                record(tx, &by.did(now, "key_revoked", format!("key:{id}"), String::new()))?;
                Ok(rights::emit(tx, &auth, format!("key:{id}"), None)?)
            })
            .await
    }
}

fn checked_name(text: &str) -> Result<String, AppError> {
    let name = text.trim();
    check_text(name)?;
    if !is_visible(name) {
        return Err(incomplete());
    }
    Ok(name.to_owned())
}

fn checked_scopes(texts: &[String]) -> Result<Vec<Scope>, AppError> {
    if texts.is_empty() || texts.len() > SCOPES_MAX {
        return Err(incomplete());
    }
    let scopes: Result<Vec<Scope>, _> = texts.iter().map(|text| text.parse::<Scope>()).collect();
    scopes.map_err(|error| bad_request("scope", said!("Droit invalide : {error}", "Invalid scope: {error}")))
}

fn incomplete() -> AppError {
    let message = said!(
        "Une clé a un nom et de 1 à {SCOPES_MAX} droits (scopes)",
        "A key has a name and 1 to {SCOPES_MAX} scopes"
    );
    bad_request("key", message)
}
