//! What may be done with users and keys. Every change is recorded in its own transaction.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use relais_protocol::time::Timestamp;
use relais_store::{StoreError, WriteTx};

use super::model::{AuditEntry, Grant, KeyInfo, NewUser, UserChanges, UserInfo};
use super::store;
use crate::AppError;
use crate::auth::secret;
use crate::auth::store::{Account, KeyRow, delete_sessions_of, find_account, grants};
use crate::auth::{Auth, Grants, NewKey, Principal, Scope, Service};

/// The longest name, address or telephone number, in bytes.
const TEXT_BYTES_MAX: usize = 254;
/// Scopes of one key at most.
const SCOPES_MAX: usize = 64;
/// Grants of one user at most.
const GRANTS_MAX: usize = 10_000;
/// Milliseconds that the record is kept.
const AUDIT_KEPT_MS: i64 = 365 * 86_400_000;

/// Who makes a change, and from where, for the record.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `user:<id>`, `key:<id>`, `cli:<login>`, ….
    pub name: String,
    /// The network address.
    pub address: Option<IpAddr>,
}

impl Actor {
    /// A caller of the server.
    #[must_use]
    pub fn caller(principal: &Principal, address: Option<IpAddr>) -> Self {
        Self { name: principal.id().to_string(), address }
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

/// Ids of one millisecond sort in the order in which they were made.
static ORDER: std::sync::Mutex<uuid::ContextV7> = std::sync::Mutex::new(uuid::ContextV7::new());

/// A UUIDv7 of this moment.
fn new_id(now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_secs()).unwrap_or(0);
    let nanos = u32::try_from(now.as_millis().rem_euclid(1000) * 1_000_000).unwrap_or(0);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, seconds, nanos)).to_string()
}

/// Records who did what and lets go what is old.
pub(super) fn record(tx: &mut WriteTx<'_>, entry: &AuditEntry) -> Result<(), StoreError> {
    store::insert_audit(tx, entry)?;
    store::trim_audit(tx, entry.at.plus_millis(-AUDIT_KEPT_MS))?;
    Ok(())
}

/// Users, grants, keys and the record. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(super) auth: Auth,
}

impl Accounts {
    /// The accounts of this server.
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }

    /// Makes the first administrator that the configuration names, if there is no user yet. Says whether it
    /// did.
    ///
    /// # Errors
    /// 400 if the address or the password cannot be taken, or what the database reports.
    pub async fn ensure_first_admin(&self) -> Result<bool, AppError> {
        let config = self.auth.config();
        let (Some(email), Some(password)) = (config.admin_email.clone(), config.admin_password.clone())
        else {
            return Ok(false);
        };
        if self.auth.store().read(|tx| store::has_users(tx)).await? {
            return Ok(false);
        }
        let user = NewUser { email, password, admin: true, ..NewUser::default() };
        let actor = Actor { name: "configuration".into(), address: None };
        match self.create_user(&actor, user).await {
            Ok(_) => Ok(true),
            // Another node was faster.
            Err(error) if error.status() == StatusCode::CONFLICT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a user.
    ///
    /// # Errors
    /// 400 for an address or a password that cannot be taken, 409 if the address is in use.
    pub async fn create_user(&self, actor: &Actor, new: NewUser) -> Result<UserInfo, AppError> {
        let email = checked_email(&new.email)?;
        for text in [&new.firstname, &new.lastname, &new.phone] {
            check_text(text)?;
        }
        let hash = self.auth.passwords().hash(new.password).await?;
        let now = self.auth.now();
        let user = Account {
            id: new_id(now),
            email,
            firstname: new.firstname,
            lastname: new.lastname,
            phone: new.phone,
            admin: new.admin,
            staff: new.staff,
            disabled: false,
            created_at: now,
            // Tokens carry whole seconds.
            valid_from: Timestamp::from_millis(now.as_secs() * 1000),
            grants: Grants::none(),
        };
        let info = UserInfo::from(&user);
        let details = format!("email={} admin={} staff={}", user.email, user.admin, user.staff);
        let entry = actor.did(now, "user_created", format!("user:{}", user.id), details);
        let auth = self.auth.clone();
        self.auth
            .store()
            .write(move |tx| {
                if store::find_id(tx, &user.email)?.is_some() {
                    return Err(email_in_use());
                }
                store::insert_user(tx, &user, &hash)?;
                record(tx, &entry)?;
                tx.after_commit(move || auth.user_changed(&user.id));
                Ok(())
            })
            .await?;
        Ok(info)
    }

    /// Users in order of their making, after the id `after`.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn list_users(&self, after: String, limit: usize) -> Result<Vec<UserInfo>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_users(tx, &after, limit));
        Ok(found.await.map_err(AppError::from)?.iter().map(UserInfo::from).collect())
    }

    /// The user with this id or address.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn find_user(&self, id_or_email: &str) -> Result<UserInfo, AppError> {
        let wanted = id_or_email.trim().to_owned();
        self.auth
            .store()
            .read(move |tx| {
                let by_email = store::find_id(tx, &wanted.to_lowercase())?;
                let found = find_account(tx, by_email.as_deref().unwrap_or(&wanted))?;
                found.as_ref().map(UserInfo::from).ok_or_else(user_unknown)
            })
            .await
    }

    /// Changes a user. A change of the password, and disabling, end sessions and tokens.
    ///
    /// # Errors
    /// 400 for values that cannot be taken, 404, 409 if the address is in use or nobody could administer any
    /// more.
    pub async fn update_user(
        &self,
        actor: &Actor,
        id: &str,
        mut changes: UserChanges,
    ) -> Result<UserInfo, AppError> {
        if let Some(email) = &mut changes.email {
            *email = checked_email(email)?;
        }
        for text in [&changes.firstname, &changes.lastname, &changes.phone].into_iter().flatten() {
            check_text(text)?;
        }
        let hash = match changes.password.take() {
            Some(password) => Some(self.auth.passwords().hash(password).await?),
            None => None,
        };
        let (id, actor, auth) = (id.to_owned(), actor.clone(), self.auth.clone());
        self.auth
            .store()
            .write(move |tx| {
                let mut user = find_account(tx, &id)?.ok_or_else(user_unknown)?;
                let details = apply(&mut user, &changes, hash.is_some());
                if (!user.admin || user.disabled) && was_admin(tx, &id)? && !store::has_other_admin(tx, &id)?
                {
                    return Err(last_admin());
                }
                if store::find_id(tx, &user.email)?.is_some_and(|other| other != id) {
                    return Err(email_in_use());
                }
                if let Some(hash) = hash {
                    store::set_password(tx, &id, &hash)?;
                    user.valid_from = tx.now();
                }
                if changes.disabled == Some(true) {
                    user.valid_from = tx.now();
                }
                if user.valid_from == tx.now() {
                    delete_sessions_of(tx, &id)?;
                }
                store::update_user(tx, &user)?;
                let entry = actor.did(tx.now(), "user_changed", format!("user:{id}"), details);
                record(tx, &entry)?;
                tx.after_commit(move || auth.user_changed(&id));
                Ok(UserInfo::from(&user))
            })
            .await
    }

    /// The grants of a user.
    ///
    /// # Errors
    /// 404 if there is no such user.
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

    /// Gives a user access to a société, or changes it.
    ///
    /// # Errors
    /// 400 for a name or an access that is none, 404 if there is no such user.
    pub async fn set_grant(&self, actor: &Actor, user_id: &str, grant: Grant) -> Result<(), AppError> {
        let writes = match grant.access.as_str() {
            "read" => false,
            "write" => true,
            other => {
                return Err(bad_request(
                    "access",
                    format!("Accès « {other} » inconnu : read ou write attendu"),
                ));
            }
        };
        let societe = grant.societe;
        if format!("relay:read:{societe}").parse::<Scope>().is_err() {
            return Err(bad_request("societe", format!("Nom de société invalide : {societe}")));
        }
        let (id, actor, auth) = (user_id.to_owned(), actor.clone(), self.auth.clone());
        self.auth
            .store()
            .write(move |tx| {
                find_account(tx, &id)?.ok_or_else(user_unknown)?;
                if grants(tx, &id)?.len() >= GRANTS_MAX {
                    return Err(bad_request(
                        "societe",
                        format!("Au plus {GRANTS_MAX} sociétés par utilisateur"),
                    ));
                }
                store::set_grant(tx, &id, &societe, writes)?;
                let details = format!("{} {societe}", access(writes));
                record(tx, &actor.did(tx.now(), "grant_set", format!("user:{id}"), details))?;
                tx.after_commit(move || auth.user_changed(&id));
                Ok(())
            })
            .await
    }

    /// Takes a user's access to a société away.
    ///
    /// # Errors
    /// 404 if there was none.
    pub async fn remove_grant(&self, actor: &Actor, user_id: &str, societe: &str) -> Result<(), AppError> {
        let (id, societe, actor) = (user_id.to_owned(), societe.to_owned(), actor.clone());
        let auth = self.auth.clone();
        self.auth
            .store()
            .write(move |tx| {
                if !store::delete_grant(tx, &id, &societe)? {
                    return Err(not_found("Cet utilisateur n'a pas d'accès à cette société"));
                }
                record(tx, &actor.did(tx.now(), "grant_removed", format!("user:{id}"), societe))?;
                tx.after_commit(move || auth.user_changed(&id));
                Ok(())
            })
            .await
    }

    /// Makes a key; its text is given here and never again.
    ///
    /// # Errors
    /// 400 for a name, scopes or an end that cannot be taken.
    pub async fn create_key(
        &self,
        actor: &Actor,
        name: &str,
        scopes: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<(KeyInfo, String), AppError> {
        let now = self.auth.now();
        let name = name.trim();
        check_text(name)?;
        if name.is_empty() || scopes.is_empty() || scopes.len() > SCOPES_MAX {
            let message = format!("Une clé a un nom et de 1 à {SCOPES_MAX} droits (scopes)");
            return Err(bad_request("key", message));
        }
        if expires_at.is_some_and(|end| end <= now) {
            return Err(bad_request("expires_at", "La fin de validité est déjà passée".into()));
        }
        let parsed: Result<Vec<Scope>, _> = scopes.iter().map(|text| text.parse::<Scope>()).collect();
        let scopes = parsed.map_err(|error| bad_request("scope", format!("Droit invalide : {error}")))?;
        let key = NewKey::generate()?;
        let service = Service {
            principal_id: format!("key:{}", key.id).into(),
            id: key.id.clone(),
            name: name.to_owned(),
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
        self.auth
            .store()
            .write(move |tx| {
                store::insert_key(tx, &row)?;
                record(tx, &entry)?;
                tx.after_commit(move || auth.key_changed(&row.service.id));
                Ok::<_, AppError>(())
            })
            .await?;
        Ok((info, key.text()))
    }

    /// Keys after the id `after`.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn list_keys(&self, after: String, limit: usize) -> Result<Vec<KeyInfo>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_keys(tx, &after, limit));
        Ok(found.await.map_err(AppError::from)?.iter().map(KeyInfo::from).collect())
    }

    /// Revokes a key, at once.
    ///
    /// # Errors
    /// 404 if there is no such key that counts.
    pub async fn revoke_key(&self, actor: &Actor, id: &str) -> Result<(), AppError> {
        let (id, actor, auth) = (id.to_owned(), actor.clone(), self.auth.clone());
        self.auth
            .store()
            .write(move |tx| {
                let now = tx.now();
                if !store::revoke_key(tx, &id, now)? {
                    return Err(not_found("Clé inconnue ou déjà révoquée"));
                }
                record(tx, &actor.did(now, "key_revoked", format!("key:{id}"), String::new()))?;
                tx.after_commit(move || auth.key_changed(&id));
                Ok(())
            })
            .await
    }

    /// The record, newest first, before the entry `before`; an empty text is the newest.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn list_audit(&self, before: String, limit: usize) -> Result<Vec<AuditEntry>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_audit(tx, &before, limit));
        found.await.map_err(|error: StoreError| error.into())
    }
}

/// Changes the account in memory and says what changes, for the record.
fn apply(user: &mut Account, changes: &UserChanges, password: bool) -> String {
    let mut said = Vec::new();
    let mut texts = [
        ("email", &mut user.email, &changes.email),
        ("firstname", &mut user.firstname, &changes.firstname),
        ("lastname", &mut user.lastname, &changes.lastname),
        ("phone", &mut user.phone, &changes.phone),
    ];
    for (name, old, new) in &mut texts {
        if let Some(new) = new {
            (**old).clone_from(new);
            said.push(format!("{name}={new}"));
        }
    }
    let mut flags = [
        ("admin", &mut user.admin, changes.admin),
        ("staff", &mut user.staff, changes.staff),
        ("disabled", &mut user.disabled, changes.disabled),
    ];
    for (name, old, new) in &mut flags {
        if let Some(new) = new {
            **old = *new;
            said.push(format!("{name}={new}"));
        }
    }
    if password {
        said.push("password".into());
    }
    said.join(" ")
}

fn was_admin(tx: &mut WriteTx<'_>, id: &str) -> Result<bool, StoreError> {
    Ok(find_account(tx, id)?.is_some_and(|user| user.admin && !user.disabled))
}

fn access(writes: bool) -> String {
    if writes { "write" } else { "read" }.to_owned()
}

fn check_text(text: &str) -> Result<(), AppError> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let message =
            format!("Texte trop long (plus de {TEXT_BYTES_MAX} octets) ou avec un caractère de contrôle");
        return Err(bad_request("text", message));
    }
    Ok(())
}

/// The address as it is stored.
fn checked_email(text: &str) -> Result<String, AppError> {
    let email = text.trim().to_lowercase();
    let parts = email.split_once('@');
    let plain = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    let whole = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if whole && plain && email.len() <= TEXT_BYTES_MAX {
        Ok(email)
    } else {
        Err(bad_request("email", "Adresse e-mail invalide".into()))
    }
}

fn bad_request(field: &str, message: String) -> AppError {
    AppError::new(StatusCode::BAD_REQUEST, "invalid_value", message).with("field", field)
}

fn not_found(message: &str) -> AppError {
    AppError::new(StatusCode::NOT_FOUND, "not_found", message)
}

fn user_unknown() -> AppError {
    not_found("Utilisateur inconnu")
}

fn email_in_use() -> AppError {
    AppError::new(StatusCode::CONFLICT, "email_in_use", "Cette adresse e-mail est déjà utilisée")
}

fn last_admin() -> AppError {
    let message = "C'est le dernier administrateur : donnez d'abord ce rôle à quelqu'un d'autre";
    AppError::new(StatusCode::CONFLICT, "last_admin", message)
}
