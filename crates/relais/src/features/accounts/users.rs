//! Users: creating, finding and changing them.

use relais_protocol::time::Timestamp;
use relais_store::{StoreError, WriteTx};

use super::audit::{Actor, record};
use super::events::{UserEvent, announce};
use super::model::{NewUser, UserChanges, UserInfo};
use super::refusal::{TEXT_BYTES_MAX, bad_request, check_text, user_unknown};
use super::service::Accounts;
use super::store;
use crate::AppError;
use crate::auth::store::{Account, delete_sessions_of, find_account};
use crate::auth::{Grants, rights, user_principal};
use crate::id::new_id;
use crate::said::said;
use crate::text::{direction_control, direction_refused};

/// The error code for an address that another user has.
const EMAIL_IN_USE: &str = "email_in_use";

impl Accounts {
    /// Creates the first administrator from the configuration, if there are no users yet. Returns whether it did.
    ///
    /// # Errors
    /// 400 if the address or the password is invalid, or a database error.
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
        let actor = Actor::named("configuration", None);
        match self.create_user(&actor, user).await {
            Ok(_) => Ok(true),
            // Another node was faster.
            Err(error) if error.code() == EMAIL_IN_USE => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a user.
    ///
    /// # Errors
    /// 400 for an invalid address or password, 409 if the address is in use.
    pub async fn create_user(&self, actor: &Actor, mut new: NewUser) -> Result<UserInfo, AppError> {
        let email = checked_email(&new.email)?;
        for text in [&new.firstname, &new.lastname, &new.phone] {
            check_text(text)?;
        }
        let hash = self.auth.passwords().hash(std::mem::take(&mut new.password)).await?;
        let now = self.auth.now();
        let user = account(new, email, now);
        let details = format!("email={} admin={} staff={}", user.email, user.admin, user.staff);
        let entry = actor.did(now, "user_created", user_principal(&user.id), details);
        let auth = self.auth.clone();
        actor
            .write(self.auth.store(), move |tx| {
                if store::find_id(tx, &user.email)?.is_some() {
                    return Err(email_in_use());
                }
                store::insert_user(tx, &user, &hash)?;
                record(tx, &entry)?;
                let info = UserInfo::from(&user);
                announce(tx, UserEvent::Added, &info)?;
                // A request that already used this id may have cached its absence.
                tx.after_commit(move || auth.user_changed(&user.id));
                Ok(info)
            })
            .await
    }

    /// Users in order of creation, after the id `after`.
    ///
    /// # Errors
    /// A database error.
    pub async fn list_users(&self, after: String, limit: usize) -> Result<Vec<UserInfo>, AppError> {
        let found = self.auth.store().read(move |tx| store::list_users(tx, &after, limit));
        Ok(found.await.map_err(AppError::from)?.iter().map(UserInfo::from).collect())
    }

    /// The number of users who can sign in.
    ///
    /// # Errors
    /// A database error.
    pub async fn count_users(&self) -> Result<u64, AppError> {
        let counted = self.auth.store().read(|tx| store::count_users(tx));
        counted.await.map_err(|error: StoreError| error.into())
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

    /// Changes a user. Changing the password or disabling the user ends sessions and tokens.
    ///
    /// # Errors
    /// 400 for invalid values, 404, 409 if the address is in use or no administrator would be left.
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
        let (id, by, auth) = (id.to_owned(), actor.clone(), self.auth.clone());
        actor
            .write(self.auth.store(), move |tx| {
                let (user, details) = change(tx, &id, &changes, hash.as_deref())?;
                let entry = by.did(tx.now(), "user_changed", user_principal(&id), details);
                record(tx, &entry)?;
                let user = UserInfo::from(&user);
                announce(tx, UserEvent::Changed, &user)?;
                rights::emit(tx, &auth, user_principal(&id), None)?;
                Ok(user)
            })
            .await
    }
}

/// The account of a new user.
fn account(new: NewUser, email: String, now: Timestamp) -> Account {
    Account {
        id: new_id(now),
        email,
        firstname: new.firstname,
        lastname: new.lastname,
        phone: new.phone,
        admin: new.admin,
        staff: new.staff,
        disabled: false,
        created_at: now,
        // Tokens issued within the second of creation are valid.
        valid_from: Timestamp::from_millis(now.as_secs() * 1000 - 1),
        generation: 1,
        grants: Grants::none(),
    }
}

/// Stores the changes of the user with this id. Returns a description for the audit log.
fn change(
    tx: &mut WriteTx<'_>,
    id: &str,
    changes: &UserChanges,
    hash: Option<&str>,
) -> Result<(Account, String), AppError> {
    let mut user = find_account(tx, id)?.ok_or_else(user_unknown)?;
    let administered = user.admin && !user.disabled;
    let details = apply(&mut user, changes, hash.is_some());
    if administered && (!user.admin || user.disabled) && !store::has_other_admin(tx, id)? {
        return Err(last_admin());
    }
    if store::find_id(tx, &user.email)?.is_some_and(|other| other != id) {
        return Err(email_in_use());
    }
    if let Some(hash) = hash {
        store::set_password(tx, id, hash)?;
    }
    if hash.is_some() || changes.disabled == Some(true) {
        // Invalidates all earlier sessions and tokens.
        user.generation += 1;
        user.valid_from = tx.now();
        delete_sessions_of(tx, id)?;
    }
    store::update_user(tx, &user)?;
    Ok((user, details))
}

/// Applies the changes to the account in memory and returns a description for the audit log.
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

/// The address in its stored form.
fn checked_email(text: &str) -> Result<String, AppError> {
    let email = text.trim().to_lowercase();
    let parts = email.split_once('@');
    if let Some(c) = direction_control(&email) {
        return Err(bad_request("email", direction_refused("email", c)));
    }
    let plain = !email.chars().any(|c| c.is_whitespace() || c.is_control());
    let whole = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if whole && plain && email.len() <= TEXT_BYTES_MAX {
        Ok(email)
    } else {
        Err(bad_request("email", said!("Adresse e-mail invalide", "Invalid email address")))
    }
}

fn email_in_use() -> AppError {
    let message = said!("Cette adresse e-mail est déjà utilisée", "This email address is already in use");
    AppError::conflict(EMAIL_IN_USE, message)
}

fn last_admin() -> AppError {
    let message = said!(
        "C'est le dernier administrateur : donnez d'abord ce rôle à quelqu'un d'autre",
        "This is the last administrator: give this role to somebody else first"
    );
    AppError::conflict("last_admin", message)
}
