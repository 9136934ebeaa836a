//! Grants: which sociétés a user can read or write.

use relais_store::WriteTx;

use super::audit::{Actor, record};
use super::model::Grant;
use super::refusal::{bad_request, not_found, user_unknown};
use super::service::Accounts;
use super::store;
use crate::AppError;
use crate::auth::store::{find_account, grants};
use crate::auth::{Scope, rights, user_principal};
use crate::said::said;
use crate::text::composed;

/// Maximum number of grants of one user.
const GRANTS_MAX: usize = 10_000;

impl Accounts {
    /// The grants of a user.
    ///
    /// # Errors
    /// 404 if the user does not exist.
    pub async fn list_grants(&self, user_id: &str) -> Result<Vec<Grant>, AppError> {
        let id = user_id.to_owned();
        self.auth
            .store()
            .read(move |tx| {
                find_account(tx, &id)?.ok_or_else(user_unknown)?;
                let found = grants(tx, &id)?;
                Ok(found
                    .into_iter()
                    .map(|(societe, writes)| Grant { societe, access: access(writes) })
                    .collect())
            })
            .await
    }

    /// Grants a user access to a société, or changes the grant.
    ///
    /// # Errors
    /// 400 for an invalid name or access, 404 if the user does not exist.
    pub async fn set_grant(&self, actor: &Actor, user_id: &str, grant: Grant) -> Result<(), AppError> {
        let writes = parsed_access(&grant.access)?;
        let societe = composed(&grant.societe).into_owned();
        if format!("relay:read:{societe}").parse::<Scope>().is_err() {
            let message =
                said!("Nom de société invalide : {societe}", "Invalid name of a société: {societe}");
            return Err(bad_request("societe", message));
        }
        let (id, by, auth) = (user_id.to_owned(), actor.clone(), self.auth.clone());
        actor
            .write(self.auth.store(), move |tx| {
                find_account(tx, &id)?.ok_or_else(user_unknown)?;
                if grants(tx, &id)?.len() >= GRANTS_MAX {
                    return Err(bad_request(
                        "societe",
                        said!(
                            "Au plus {GRANTS_MAX} sociétés par utilisateur",
                            "At most {GRANTS_MAX} sociétés per user"
                        ),
                    ));
                }
                delete_every_form(tx, &id, &societe)?;
                store::set_grant(tx, &id, &societe, writes)?;
                let details = format!("{} {societe}", access(writes));
                record(tx, &by.did(tx.now(), "grant_set", user_principal(&id), details))?;
                Ok(rights::emit(tx, &auth, user_principal(&id), None)?)
            })
            .await
    }

    /// Revokes a user's access to a société.
    ///
    /// # Errors
    /// 404 if there is no such grant.
    pub async fn remove_grant(&self, actor: &Actor, user_id: &str, societe: &str) -> Result<(), AppError> {
        let (id, societe, by) = (user_id.to_owned(), composed(societe).into_owned(), actor.clone());
        let auth = self.auth.clone();
        actor
            .write(self.auth.store(), move |tx| {
                if !delete_every_form(tx, &id, &societe)? {
                    return Err(not_found(said!(
                        "Cet utilisateur n'a pas d'accès à cette société",
                        "This user has no access to this société"
                    )));
                }
                record(tx, &by.did(tx.now(), "grant_removed", user_principal(&id), societe))?;
                Ok(rights::emit(tx, &auth, user_principal(&id), None)?)
            })
            .await
    }
}

/// Deletes the grants for `societe` in whatever Unicode form it was stored; returns whether there was one.
fn delete_every_form(tx: &mut WriteTx<'_>, id: &str, societe: &str) -> Result<bool, AppError> {
    let mut found = false;
    for (name, _) in grants(tx, id)?.iter().filter(|(name, _)| composed(name) == societe) {
        found |= store::delete_grant(tx, id, name)?;
    }
    Ok(found)
}

fn parsed_access(text: &str) -> Result<bool, AppError> {
    match text {
        "read" => Ok(false),
        "write" => Ok(true),
        other => {
            let message = said!(
                "Accès « {other} » inconnu : read ou write attendu",
                "Unknown access \"{other}\": read or write expected"
            );
            Err(bad_request("access", message))
        }
    }
}

fn access(writes: bool) -> String {
    if writes { "write" } else { "read" }.to_owned()
}
