//! Which modules there are, whose they are, and what they identify themselves with.

use std::sync::Arc;

use relais_store::{Query, Store, StoreError, WriteTx};
use serde_json::json;

use super::catalogue::Catalogue;
use super::history;
use super::model::{AddedModule, Module, ModuleChanges, NewModule};
use super::refusal::{checked_name, claim_refused, claims_too_fast, invalid, module_exists, no_module};
use super::secrets::{Secret, claim_hash};
use super::store::{commands, modules as store, states};
use super::topics::{ADDED_TO_OWNER, CREDENTIAL_CHANGED, MODULE, module_topic};
use crate::AppError;
use crate::auth::{Principal, User, credentials_required, secret, unauthenticated, user_principal};
use crate::config::LiveConfig;
use crate::features::accounts::{Accounts, Actor, record_action};
use crate::features::publish::{Target, emit};
use crate::said::said;
use crate::token_bucket::{PER_MINUTE, TokenBuckets, per_minute};

/// Which modules somebody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// All: an administrator.
    All,
    /// Those of this principal.
    Own(String),
}

impl Visibility {
    /// What this caller sees.
    ///
    /// # Errors
    /// 401 without a credential, 403 for a key.
    pub fn of(principal: &Principal) -> Result<Self, AppError> {
        match principal {
            principal if principal.is_admin() => Ok(Self::All),
            Principal::User(user) => Ok(Self::Own(user.principal_id.to_string())),
            Principal::Anonymous => Err(credentials_required()),
            Principal::Service(_) => {
                let message = said!(
                    "Il faut un compte, ou une clé d'administration",
                    "This needs an account, or a key for administration"
                );
                Err(AppError::forbidden("forbidden", message))
            }
        }
    }

    /// Whether a module is among them.
    #[must_use]
    pub fn sees(&self, module: &Module) -> bool {
        match self {
            Self::All => true,
            Self::Own(owner) => module.owner.as_deref() == Some(owner),
        }
    }
}

/// What somebody says who claims a module.
#[derive(Clone, Debug, Default)]
pub struct NewClaim {
    /// `XXXX-XXXX`, in any spelling.
    pub code: String,
    /// The module that it is expected to be for.
    pub module_id: Option<String>,
    /// What they call it.
    pub name: Option<String>,
}

/// Which modules there are, whose they are, and what they identify themselves with. Cheap to clone.
#[derive(Clone)]
pub struct Modules(Arc<Inner>);

struct Inner {
    store: Store,
    accounts: Accounts,
    catalogue: Catalogue,
    /// How often each person may enter a claim code.
    claims: TokenBuckets<String>,
}

impl Modules {
    /// The modules in this store.
    #[must_use]
    pub fn new(store: Store, accounts: Accounts, config: &LiveConfig) -> Self {
        let claims = TokenBuckets::new(per_minute(PER_MINUTE));
        Self(Arc::new(Inner { catalogue: Catalogue::new(config), store, accounts, claims }))
    }

    /// Adds a module. Its credential, and its claim code if it has no owner, are told here and never again.
    ///
    /// # Errors
    /// 400 for an id, a name or a type that cannot be taken, 404 for an owner who does not exist, 409 if there is
    /// such a module.
    pub async fn add(&self, actor: &Actor, new: NewModule) -> Result<AddedModule, AppError> {
        let id = self.0.catalogue.checked_id(&new.id)?;
        let kind = self.0.catalogue.type_of(&id, new.kind.as_deref())?;
        let name = checked_name(new.name.as_deref().unwrap_or(&id))?;
        let owner = match new.owner.as_deref().map(str::trim).filter(|owner| !owner.is_empty()) {
            Some(owner) => Some(user_principal(&self.0.accounts.find_user(owner).await?.id)),
            None => None,
        };
        let is_given = new.password.is_some();
        let credential = Secret::credential_or(new.password)?;
        let claim = if owner.is_none() { Some(Secret::claim_code()?) } else { None };
        let (claim_code, claim_hash) = claim.map(|claim| (claim.text, claim.hash)).unzip();
        let (by, secret_hash) = (actor.clone(), credential.hash);
        let module = actor
            .write(&self.0.store, move |tx| {
                if store::find(tx, &id)?.is_some() {
                    return Err(module_exists(&id));
                }
                let now = tx.now();
                let module = Module {
                    id,
                    name,
                    kind,
                    owner,
                    created_at: now,
                    owned_at: now,
                    owned_seq: 0,
                    updated_at: now,
                };
                store::insert(tx, &module, &secret_hash, claim_hash.as_deref())?;
                record_action(tx, &by, "module_added", &format!("module:{}", module.id), "")?;
                let begin = announce(tx, "added", &module)?;
                store::set_owned_seq(tx, &module.id, begin)?;
                Ok(Module { owned_seq: begin, ..module })
            })
            .await?;
        Ok(AddedModule { module, credential: (!is_given).then_some(credential.text), claim_code })
    }

    /// Modules that somebody sees, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn list(
        &self,
        visibility: &Visibility,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Module>, AppError> {
        let (visibility, after) = (visibility.clone(), after.to_owned());
        let found = self.0.store.read(move |tx| match &visibility {
            Visibility::All => store::list(tx, &after, limit),
            Visibility::Own(owner) => store::list_of(tx, owner, &after, limit),
        });
        found.await.map_err(|error: StoreError| error.into())
    }

    /// One module.
    ///
    /// # Errors
    /// 404 if there is none that this caller sees.
    pub async fn find(&self, visibility: &Visibility, id: &str) -> Result<Module, AppError> {
        let (visibility, id) = (visibility.clone(), id.to_owned());
        self.0
            .store
            .read(move |tx| {
                store::find(tx, &id)?.filter(|found| visibility.sees(found)).ok_or_else(no_module)
            })
            .await
    }

    /// Changes a module.
    ///
    /// # Errors
    /// 400 for a value that cannot be taken, 404.
    pub async fn change(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        id: &str,
        changes: ModuleChanges,
    ) -> Result<Module, AppError> {
        let name = changes.name.as_deref().map(checked_name).transpose()?;
        let kind =
            changes.kind.as_deref().map(|kind| self.0.catalogue.type_of(id, Some(kind))).transpose()?;
        let (visibility, by, id) = (visibility.clone(), actor.clone(), id.to_owned());
        actor
            .write(&self.0.store, move |tx| {
                let mut module = seen(tx, &visibility, &id)?;
                let before = (module.name.clone(), module.kind.clone());
                module.name = name.unwrap_or(module.name);
                module.kind = kind.unwrap_or(module.kind);
                if before != (module.name.clone(), module.kind.clone()) {
                    module.updated_at = tx.now();
                    store::update(tx, &module)?;
                    if visibility == Visibility::All && before.0 != module.name {
                        store::set_given_name(tx, &id, &module.name)?;
                    }
                    record_action(tx, &by, "module_changed", &format!("module:{id}"), "")?;
                    announce(tx, "updated", &module)?;
                }
                Ok(module)
            })
            .await
    }

    /// Gives a module back: it is nobody's then, and the code with which it was claimed claims it again. Says whether it
    /// was somebody's.
    ///
    /// # Errors
    /// 404.
    pub async fn give_back(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        id: &str,
    ) -> Result<bool, AppError> {
        let (visibility, by, id) = (visibility.clone(), actor.clone(), id.to_owned());
        actor
            .write(&self.0.store, move |tx| {
                let before = seen(tx, &visibility, &id)?;
                let Some(owner) = &before.owner else { return Ok(false) };
                let module = Module { owner: None, updated_at: tx.now(), ..before.clone() };
                store::update(tx, &module)?;
                store::set_given_back(tx, &id, owner)?;
                // What was to be done for somebody whose it is no more is not done.
                commands::delete(tx, &id)?;
                record_action(tx, &by, "module_given_back", &format!("module:{id}"), "")?;
                announce_to(tx, Target::Person(owner), "user:module:removed", "removed", &before)?;
                announce_change(tx, "updated", &module, false)?;
                announce_to(tx, Target::Administrators, "rt_module_updated", "updated", &module)?;
                Ok(true)
            })
            .await
    }

    /// Removes a module for good: its device is refused from then on.
    ///
    /// # Errors
    /// 404.
    pub async fn remove(&self, visibility: &Visibility, actor: &Actor, id: &str) -> Result<Module, AppError> {
        let (visibility, by, id) = (visibility.clone(), actor.clone(), id.to_owned());
        actor
            .write(&self.0.store, move |tx| {
                let module = seen(tx, &visibility, &id)?;
                store::delete(tx, &id)?;
                history::disown(tx, &id)?;
                record_action(tx, &by, "module_removed", &format!("module:{id}"), "")?;
                announce(tx, "removed", &module)?;
                Ok(module)
            })
            .await
    }

    /// Gives a module another credential, the one that is given or a new one, which is told here and never again; the one
    /// before counts no more.
    ///
    /// # Errors
    /// 400 for a credential that cannot be taken, 404.
    pub async fn rotate(
        &self,
        visibility: &Visibility,
        actor: &Actor,
        id: &str,
        given: Option<String>,
    ) -> Result<Option<String>, AppError> {
        let is_given = given.is_some();
        let credential = Secret::credential_or(given)?;
        let (visibility, by, id, hash) = (visibility.clone(), actor.clone(), id.to_owned(), credential.hash);
        actor
            .write(&self.0.store, move |tx| {
                seen(tx, &visibility, &id)?;
                store::set_secret(tx, &id, &hash)?;
                // Its connection ends, whichever process has it.
                if let Some(topic) = module_topic(MODULE, &id) {
                    tx.emit(&topic, CREDENTIAL_CHANGED, json!({ "moduleId": id }).to_string())?;
                }
                Ok::<_, AppError>(record_action(tx, &by, "module_rotated", &format!("module:{id}"), "")?)
            })
            .await?;
        Ok((!is_given).then_some(credential.text))
    }

    /// A new claim code; with it somebody else becomes the owner. One before it counts no more.
    ///
    /// # Errors
    /// 404.
    pub async fn offer(&self, visibility: &Visibility, actor: &Actor, id: &str) -> Result<String, AppError> {
        let code = Secret::claim_code()?;
        let (visibility, by, id, hash) = (visibility.clone(), actor.clone(), id.to_owned(), code.hash);
        actor
            .write(&self.0.store, move |tx| {
                seen(tx, &visibility, &id)?;
                store::set_claim(tx, &id, Some(&hash))?;
                Ok::<_, AppError>(record_action(tx, &by, "module_offered", &format!("module:{id}"), "")?)
            })
            .await?;
        Ok(code.text)
    }

    /// Makes a user the owner of the module that a claim code is for, and calls it `name` if that is given. The code
    /// counts once, and again when its owner gives the module back. For a new owner it begins empty.
    ///
    /// # Errors
    /// 400 for a name that cannot be taken, 404 for a code that is not known, or is for another module than `expected`;
    /// 429 for more than 60 in a minute.
    pub async fn claim(&self, user: &User, actor: &Actor, claim: NewClaim) -> Result<Module, AppError> {
        if claim.code.len() > 64 {
            let message = said!(
                "Un code de la forme XXXX-XXXX est attendu",
                "A code of the form XXXX-XXXX is expected"
            );
            return Err(invalid("code", message));
        }
        let name = claim.name.as_deref().map(checked_name).transpose()?;
        self.0.claims.take(&*user.principal_id, self.0.store.clock().steady()).map_err(claims_too_fast)?;
        let (hash, owner, by) = (claim_hash(&claim.code), user.principal_id.to_string(), actor.clone());
        let expected = claim.module_id;
        actor
            .write(&self.0.store, move |tx| {
                let found = store::find_claimable(tx, &hash)?;
                let found = found.filter(|module| expected.as_ref().is_none_or(|id| *id == module.id));
                let before = found.ok_or_else(claim_refused)?;
                let mut module = before.clone();
                let last_owner = store::last_owner(tx, &module.id)?;
                store::set_claimed(tx, &module.id, &hash)?;
                record_action(tx, &by, "module_claimed", &format!("module:{}", module.id), "")?;
                if before.owner.as_ref() == Some(&owner) {
                    module.name = name.unwrap_or(module.name);
                    return rename(tx, &before, module);
                }
                let returns = before.owner.is_none() && last_owner.as_ref() == Some(&owner);
                module.name = match name {
                    Some(name) => name,
                    None if returns => module.name,
                    // What the one before called it may say where they live.
                    None => store::given_name(tx, &module.id)?.unwrap_or_else(|| module.id.clone()),
                };
                hand_over(tx, &before, &mut module, owner, returns)?;
                Ok(module)
            })
            .await
    }

    /// How many users there are.
    pub(super) async fn count_users(&self) -> Result<u64, AppError> {
        self.0.accounts.count_users().await
    }

    /// The digest of a module's credential.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn secret_hash(&self, id: &str) -> Result<Option<String>, StoreError> {
        let id = id.to_owned();
        self.0.store.read(move |tx| store::secret_hash(tx, &id)).await
    }

    /// The module that says it has this id and this credential.
    ///
    /// # Errors
    /// 401 if there is none; which of the two is wrong is not told.
    pub async fn identify(&self, id: &str, credential: &str) -> Result<Module, AppError> {
        let (wanted, digest) = (id.to_owned(), secret::digest(credential));
        let found = self.0.store.read(move |tx| {
            let known = store::secret_hash(tx, &wanted)?;
            let same = known.is_some_and(|known| secret::same(&known, &digest));
            if same { store::find(tx, &wanted) } else { Ok(None) }
        });
        let found: Result<Option<Module>, StoreError> = found.await;
        found?.ok_or_else(wrong_credential)
    }
}

/// Which of the two it is nobody learns.
pub(crate) fn wrong_credential() -> AppError {
    unauthenticated(said!(
        "Identifiant ou mot de passe de module incorrect",
        "Wrong id or password of the module"
    ))
}

pub(super) fn seen(tx: &mut impl Query, visibility: &Visibility, id: &str) -> Result<Module, AppError> {
    store::find(tx, id)?.filter(|module| visibility.sees(module)).ok_or_else(no_module)
}

/// Somebody claims what is theirs already.
fn rename(tx: &mut WriteTx<'_>, before: &Module, mut module: Module) -> Result<Module, AppError> {
    if module.name != before.name {
        module.updated_at = tx.now();
        store::update(tx, &module)?;
        announce(tx, "updated", &module)?;
    }
    Ok(module)
}

/// Makes `owner` the owner. They find the module empty, unless it `returns` to the last whose it was.
fn hand_over(
    tx: &mut WriteTx<'_>,
    before: &Module,
    module: &mut Module,
    owner: String,
    returns: bool,
) -> Result<(), StoreError> {
    (module.owner, module.updated_at) = (Some(owner), tx.now());
    // What others had it do is not the new owner's business, and not done to them.
    commands::delete(tx, &module.id)?;
    if !returns {
        module.owned_at = tx.now();
        states::empty(tx, &module.id)?;
        history::disown(tx, &module.id)?;
    }
    store::update(tx, module)?;
    if let Some(former) = &before.owner {
        announce_to(tx, Target::Person(former), "user:module:removed", "removed", before)?;
    }
    let begin = announce_change(tx, "updated", module, !returns)?;
    if !returns {
        module.owned_seq = begin;
        store::set_owned_seq(tx, &module.id, begin)?;
    }
    announce_to(tx, Target::Administrators, "rt_module_updated", "updated", module)?;
    let owner = module.owner.as_deref().unwrap_or_default();
    announce_to(tx, Target::Person(owner), ADDED_TO_OWNER, "added", module)
}

/// Tells the servers on this database, administrators and the owner; where in the log the servers are told.
fn announce(tx: &mut WriteTx<'_>, action: &str, module: &Module) -> Result<u64, StoreError> {
    let told = announce_change(tx, action, module, false)?;
    announce_to(tx, Target::Administrators, &format!("rt_module_{action}"), action, module)?;
    if let Some(owner) = &module.owner {
        announce_to(tx, Target::Person(owner), &format!("user:module:{action}"), action, module)?;
    }
    Ok(told)
}

/// In the module's own topic, which nobody else publishes: what the states in memory follow. The owner is whole, since
/// an id alone does not say what kind of account it is; `emptied` is whether what it said is gone. Its `seq` in the log;
/// 0 if the module's id names no topic.
fn announce_change(
    tx: &mut WriteTx<'_>,
    action: &str,
    module: &Module,
    emptied: bool,
) -> Result<u64, StoreError> {
    let Some(topic) = module_topic(MODULE, &module.id) else { return Ok(0) };
    let change =
        json!({ "moduleId": module.id, "module": module, "owner": module.owner, "emptied": emptied });
    Ok(tx.emit(&topic, &format!("module_{action}"), change.to_string())?.seq)
}

/// As pages know it: nested and flat.
fn announce_to(
    tx: &mut WriteTx<'_>,
    to: Target<'_>,
    name: &str,
    action: &str,
    module: &Module,
) -> Result<(), StoreError> {
    let mut fields = json!({ "action": action, "module": module, "timestamp": tx.now() });
    let nested = fields["module"].clone();
    for (flat, name) in [("moduleId", "module_id"), ("name", "name"), ("type", "type"), ("userId", "userId")]
    {
        fields[flat] = nested[name].clone();
    }
    emit(tx, to, name, &fields).map(drop)
}
