//! Signing in and out.

use std::net::IpAddr;

use relais_store::{StoreError, WriteTx};

use super::audit::{Actor, record};
use super::events::{UserEvent, announce};
use super::model::UserInfo;
use super::refusal::user_unknown;
use super::service::Accounts;
use crate::AppError;
use crate::auth::store::{SessionRow, delete_session, find_account, find_sign_in, insert_session};
use crate::auth::{Auth, rights, secret, user_principal};
use crate::said::said;

/// The maximum length of an address that is looked up, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// A user who has just signed in.
pub struct SignedIn {
    /// The user.
    pub user: UserInfo,
    /// For programs: a token.
    pub token: String,
    /// For browsers: the value of the session cookie.
    pub session: String,
}

impl Accounts {
    /// Signs a user in: creates a session, replacing `replaces` if the browser had one, and a token.
    ///
    /// # Errors
    /// 401 for a wrong address or password and for a disabled user, indistinguishably; 429 after too many attempts.
    pub async fn sign_in(
        &self,
        email: &str,
        password: String,
        address: Option<IpAddr>,
        replaces: Option<&str>,
    ) -> Result<SignedIn, AppError> {
        let email = email.trim().to_lowercase();
        if email.len() > EMAIL_BYTES_MAX {
            return Err(refused());
        }
        self.auth.throttle().attempt(&email, address, self.auth.steady()).map_err(slow_down)?;
        let wanted = email.clone();
        let found = self.auth.store().read(move |tx| find_sign_in(tx, &wanted)).await?;
        let (id, hash) = found.unzip();
        let right = self.auth.passwords().verify(password, hash.clone()).await?;
        let signed_in = match (id, hash) {
            (Some(id), Some(hash)) if right => {
                self.start_session(&email, id, hash, address, replaces).await?
            }
            _ => None,
        };
        match signed_in {
            Some(signed_in) => {
                self.auth.throttle().succeeded(&email, address);
                Ok(signed_in)
            }
            None => {
                self.record_failure(email, address).await?;
                Err(refused())
            }
        }
    }

    /// `None` if the user was disabled, or the password changed, while it was being verified.
    async fn start_session(
        &self,
        email: &str,
        id: String,
        hash: String,
        address: Option<IpAddr>,
        replaces: Option<&str>,
    ) -> Result<Option<SignedIn>, AppError> {
        let session = secret::random_hex::<32>()?;
        let session_id = secret::digest(&session);
        let replaced = replaces.map(secret::digest);
        let actor = Actor::named(user_principal(&id), address);
        let (auth, email) = (self.auth.clone(), email.to_owned());
        let started = self.auth.store().write(move |tx| {
            let now = tx.now();
            if find_sign_in(tx, &email)?.is_none_or(|(_, current)| current != hash) {
                return Ok::<_, AppError>(None);
            }
            let Some(account) = find_account(tx, &id)?.filter(|account| !account.disabled) else {
                return Ok(None);
            };
            let expires_at = auth.session_end(now, now);
            let (user_id, generation) = (id.clone(), account.generation);
            let row = SessionRow { user_id, created_at: now, last_seen: now, expires_at, generation };
            insert_session(tx, &session_id, &row)?;
            if let Some(replaced) = replaced {
                end_session(tx, &auth, &replaced)?;
            }
            record(tx, &actor.did(now, "sign_in", user_principal(&id), String::new()))?;
            let user = UserInfo::from(&account);
            announce(tx, UserEvent::SignedIn, &user)?;
            // A request that already used this session may have cached its absence.
            tx.after_commit(move || auth.session_changed(&session_id));
            Ok(Some((user, generation)))
        });
        let Some((user, generation)) = started.await? else { return Ok(None) };
        let token = self.auth.tokens().issue(&user.id, &user.email, generation, self.auth.now(), None)?;
        Ok(Some(SignedIn { user, token, session }))
    }

    async fn record_failure(&self, email: String, address: Option<IpAddr>) -> Result<(), AppError> {
        let actor = Actor::named("anonymous", address);
        let target: String = email.chars().filter(|c| !c.is_control()).collect();
        let entry = actor.did(self.auth.now(), "sign_in_failed", target, String::new());
        self.auth.store().write(move |tx| record(tx, &entry)).await.map_err(AppError::from)
    }

    /// Ends a session and its live connections, and no others. Ending an unknown session is not an error.
    ///
    /// # Errors
    /// A database error.
    pub async fn sign_out(&self, session: &str, address: Option<IpAddr>) -> Result<(), AppError> {
        let (id, auth) = (secret::digest(session), self.auth.clone());
        self.auth
            .store()
            .write(move |tx| {
                let Some(user_id) = end_session(tx, &auth, &id)? else { return Ok(()) };
                if let Some(account) = find_account(tx, &user_id)? {
                    announce(tx, UserEvent::SignedOut, &UserInfo::from(&account))?;
                }
                let actor = Actor::named(user_principal(&user_id), address);
                record(tx, &actor.did(tx.now(), "sign_out", actor.name.clone(), String::new()))?;
                Ok(())
            })
            .await
    }

    /// Issues a token for the user with this id or address, valid for `ttl_s` seconds or as configured.
    ///
    /// # Errors
    /// 404 if the user does not exist, 409 if the user is disabled.
    pub async fn issue_token(
        &self,
        actor: &Actor,
        id_or_email: &str,
        ttl_s: Option<u64>,
    ) -> Result<String, AppError> {
        let user = self.find_user(id_or_email).await?;
        if user.disabled {
            let text = said!("Cet utilisateur est désactivé", "This user is disabled");
            return Err(AppError::conflict("disabled", text));
        }
        let (now, id) = (self.auth.now(), user.id.clone());
        let account = self.auth.store().read(move |tx| find_account(tx, &id)).await?;
        let generation = account.ok_or_else(user_unknown)?.generation;
        let token = self.auth.tokens().issue(&user.id, &user.email, generation, now, ttl_s)?;
        let entry = actor.did(now, "token_issued", user_principal(&user.id), String::new());
        actor.write(self.auth.store(), move |tx| Ok(record(tx, &entry)?)).await?;
        Ok(token)
    }
}

/// Ends a session, if it exists, and returns its user. Its live connections are closed on every server.
fn end_session(tx: &mut WriteTx<'_>, auth: &Auth, id: &str) -> Result<Option<String>, StoreError> {
    let user_id = delete_session(tx, id)?;
    if let Some(user_id) = &user_id {
        rights::emit(tx, auth, user_principal(user_id), Some(id))?;
    }
    Ok(user_id)
}

fn refused() -> AppError {
    let text = said!("Email ou mot de passe incorrect", "Wrong email address or password");
    AppError::unauthorized("invalid_credentials", text)
}

fn slow_down(seconds: u64) -> AppError {
    AppError::too_many_requests(
        "too_many_attempts",
        said!(
            "Trop de tentatives de connexion. Réessayez dans {seconds} s.",
            "Too many attempts to sign in. Try again in {seconds} s."
        ),
    )
    .retry_after(seconds)
}
