//! Identity and access: authentication and authorisation.
//!
//! [`Auth::authenticate`] turns a credential into a [`Principal`], which carries its rights; [`Auth::allows`] is the
//! one rule that every command and every subscription checks, without I/O.

mod cache;
mod claims;
pub(crate) mod ending;
pub(crate) mod expiry;
pub mod http;
mod jwks;
mod key;
mod password;
mod policy;
mod principal;
pub(crate) mod rights;
mod scope;
pub(crate) mod secret;
pub(crate) mod store;
mod throttle;
mod token;
mod topics;

pub use cache::TTL_MS as CACHE_TTL_MS;
pub use ending::end_connections;
pub(crate) use key::NewKey;
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub use policy::{Action, Policy};
pub use principal::{Access, EXT, Grants, Principal, Service, USER, User, address, user_principal};
pub use rights::{Ended, FAMILY as RIGHTS, Permit};
pub use scope::{SCOPE_BYTES_MAX, Scope, ScopeError};
pub use topics::{KeyAccess, TopicFamily, Topics};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::AppError;
use crate::config::AuthConfig;
use crate::said::{Said, said};
use cache::RowCache;
use claims::{Claims, TokenError, with_topic};
use jsonwebtoken::Algorithm;
use jwks::Jwks;
use password::Passwords;
use relais_protocol::time::{SharedClock, Timestamp};
use relais_store::{Store, StoreError};
use store::{Account, KeyRow, SessionRow};
use throttle::Throttle;
use token::Tokens;

/// Minimum interval between updates of the last use of a session or key in the database.
const TOUCH_MS: i64 = 60_000;

/// Why identity and access cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The operating system gives no random bytes.
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
    /// The file with the secret that signs tokens cannot be used.
    #[error("{}: {}; check the file and its permissions, or set RELAIS_JWT_SECRET", .0.display(), .1)]
    SecretFile(PathBuf, String),
    /// The client that fetches an identity provider's keys cannot be made.
    #[error("no HTTP client for auth.jwks.url: {0}")]
    HttpClient(String),
}

impl From<AuthError> for AppError {
    fn from(error: AuthError) -> Self {
        Self::internal(error)
    }
}

/// What a caller presents.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token or an API key, from `Authorization`, `X-API-Key` or `?token=`.
    Bearer(String),
    /// The value of the session cookie.
    Session(String),
}

/// Identity and access. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    config: AuthConfig,
    policy: Policy,
    store: Store,
    clock: SharedClock,
    passwords: Passwords,
    tokens: Tokens,
    jwks: Option<Jwks>,
    throttle: Throttle,
    accounts: RowCache<Option<Arc<Account>>>,
    sessions: RowCache<Option<SessionRow>>,
    keys: RowCache<Option<Arc<KeyRow>>>,
}

impl Auth {
    /// Sets up identity and access. Blocks for a moment on files.
    ///
    /// Without a configured secret one is generated in `<data_dir>/secrets/jwt`.
    ///
    /// # Errors
    /// [`AuthError`] if the secret cannot be read or made.
    pub fn open(
        config: &AuthConfig,
        store: Store,
        data_dir: &Path,
        policy: Policy,
        clock: SharedClock,
    ) -> Result<Self, AuthError> {
        let secret = match &config.jwt.secret {
            Some(secret) => secret.clone(),
            None => secret::load_or_create(&data_dir.join("secrets").join("jwt"))?,
        };
        let inner = Inner {
            policy,
            passwords: Passwords::new(),
            tokens: Tokens::new(&secret, config.jwt.clone()),
            jwks: Jwks::new(&config.jwks, config.jwt.leeway_s, clock.clone())?,
            throttle: Throttle::default(),
            accounts: RowCache::new(),
            sessions: RowCache::new(),
            keys: RowCache::new(),
            config: config.clone(),
            store,
            clock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The principal with this credential. Without one: the anonymous principal, which has the relay in open mode and
    /// nothing otherwise. A credential that is presented is always checked.
    ///
    /// # Errors
    /// 401 if the credential is not valid, or a database error.
    pub async fn authenticate(&self, credential: Option<Credential>) -> Result<Principal, AppError> {
        match credential {
            None => Ok(Principal::Anonymous),
            Some(Credential::Session(secret)) => self.session(&secret).await,
            Some(Credential::Bearer(text)) if text.starts_with(key::PREFIX) => self.key(&text).await,
            Some(Credential::Bearer(text)) => self.token(&text).await,
        }
    }

    /// Whether `principal` may do `action`. No I/O.
    #[must_use]
    pub fn allows(&self, principal: &Principal, action: Action<'_>) -> bool {
        self.inner.policy.allows(principal, action)
    }

    /// Refuses what `principal` may not do.
    ///
    /// # Errors
    /// 401 if the caller is anonymous, 403 otherwise.
    pub fn require(&self, principal: &Principal, action: Action<'_>) -> Result<(), AppError> {
        if self.allows(principal, action) {
            return Ok(());
        }
        if principal.is_anonymous() {
            return Err(credentials_required());
        }
        let message = match action {
            Action::RelayRead(societe) | Action::RelayWrite(societe) => {
                said!("Accès refusé à la société {societe}", "Access to the société {societe} refused")
            }
            Action::Administer => {
                said!("Accès réservé aux administrateurs", "Only administrators have access")
            }
            Action::Subscribe(channel) => {
                said!("Accès refusé au canal {channel}", "Access to the channel {channel} refused")
            }
            Action::Publish(topic) => {
                said!("Accès refusé au canal {topic}", "Access to the channel {topic} refused")
            }
            Action::RelayList => said!("Accès refusé", "Access refused"),
        };
        Err(AppError::forbidden("forbidden", message))
    }

    /// The sociétés whose files `principal` may read and whose events it may receive.
    #[must_use]
    pub fn readable_societes(&self, principal: &Principal) -> Access {
        self.inner.policy.readable(principal)
    }

    /// Whether everyone may use the relay.
    #[must_use]
    pub fn open_mode(&self) -> bool {
        self.inner.policy.open_mode
    }

    /// Which topics there are.
    #[must_use]
    pub fn topics(&self) -> &'static Topics {
        self.inner.policy.topics
    }

    async fn session(&self, secret: &str) -> Result<Principal, AppError> {
        let id = secret::digest(secret);
        let now = self.now();
        let session = self.session_row(&id).await?.ok_or_else(session_ended)?;
        let account = self.account(&session.user_id).await?.ok_or_else(session_ended)?;
        if !session.is_valid(&account, now) {
            return Err(session_ended());
        }
        let used = now.as_millis().saturating_sub(session.last_seen.as_millis()) >= TOUCH_MS;
        if used && let Err(error) = self.touch_session(id.clone(), session.created_at, now).await {
            tracing::warn!(%error, "the use of a session could not be noted");
        }
        Ok(Principal::User(Arc::new(account.principal(Some(session.expires_at), Some(id.into())))))
    }

    async fn session_row(&self, id: &str) -> Result<Option<SessionRow>, AppError> {
        let now = self.steady();
        if let Some(found) = self.inner.sessions.get(id, now) {
            return Ok(found);
        }
        let seen = self.inner.sessions.seen();
        let wanted = id.to_owned();
        let found = self.inner.store.read(move |tx| store::find_session(tx, &wanted)).await?;
        self.inner.sessions.keep(id, found.clone(), now, seen);
        Ok(found)
    }

    async fn touch_session(&self, id: String, created: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let expires = self.session_end(created, now);
        let wanted = id.clone();
        self.inner.store.write_rows(move |tx| store::touch_session(tx, &wanted, now, expires)).await?;
        self.inner.sessions.forget(&id);
        Ok(())
    }

    /// When a session ends that began at `created` and is used at `now`.
    pub(crate) fn session_end(&self, created: Timestamp, now: Timestamp) -> Timestamp {
        let plus = |from: Timestamp, seconds: u64| {
            from.plus_millis(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
        };
        plus(now, self.inner.config.session_idle_s).min(plus(created, self.inner.config.session_max_s))
    }

    async fn key(&self, text: &str) -> Result<Principal, AppError> {
        let (id, secret) = key::parse(text).ok_or_else(key_refused)?;
        let now = self.now();
        let row = self.key_row(id).await?;
        // Compared also when there is no such key, so that timing does not reveal which ids exist.
        let stored = row.as_ref().map_or("", |row| &row.secret_hash);
        let matches = secret::same(&secret::digest(secret), stored);
        let row = row.filter(|row| matches && row.is_valid(now)).ok_or_else(key_refused)?;
        let used_before = row.last_used_at.map_or(i64::MIN, Timestamp::as_millis);
        if now.as_millis().saturating_sub(used_before) >= TOUCH_MS {
            let wanted = row.service.id.clone();
            let noted = self.inner.store.write_rows(move |tx| store::touch_key(tx, &wanted, now)).await;
            if let Err(error) = noted {
                tracing::warn!(%error, "the use of a key could not be noted");
            }
            self.inner.keys.forget(id);
        }
        Ok(Principal::Service(row.service.clone()))
    }

    async fn key_row(&self, id: &str) -> Result<Option<Arc<KeyRow>>, AppError> {
        let now = self.steady();
        if let Some(found) = self.inner.keys.get(id, now) {
            return Ok(found);
        }
        let seen = self.inner.keys.seen();
        let wanted = id.to_owned();
        let found = self.inner.store.read(move |tx| store::find_key(tx, &wanted)).await?.map(Arc::new);
        self.inner.keys.keep(id, found.clone(), now, seen);
        Ok(found)
    }

    async fn token(&self, text: &str) -> Result<Principal, AppError> {
        self.token_bearer(text).await?.map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            match error {
                TokenError::UserId(id, _) => user_id_refused(&id),
                _ => token_refused(),
            }
        })
    }

    async fn token_bearer(&self, text: &str) -> Result<Result<Principal, TokenError>, AppError> {
        let signature = match token::signature(text) {
            Ok(signature) => signature,
            Err(error) => return Ok(Err(error)),
        };
        match (signature.algorithm, &self.inner.jwks) {
            (Algorithm::HS256, _) => match self.inner.tokens.verify(text, self.now()) {
                Ok(claims) => self.shared_secret_bearer(&claims).await,
                Err(error) => Ok(Err(error)),
            },
            (Algorithm::RS256 | Algorithm::ES256, Some(jwks)) => {
                let user = match jwks.verify(text, &signature).await {
                    Ok(claims) => claims.user(&self.inner.config.claims, EXT).and_then(with_topic),
                    Err(error) => Err(error),
                };
                Ok(user.map(|user| Principal::User(Arc::new(user))))
            }
            _ => Ok(Err(TokenError::Algorithm)),
        }
    }

    /// Somebody in our table has the rights that the table says; anybody else those that the token says. An existing
    /// backend may know people by their addresses.
    async fn shared_secret_bearer(&self, claims: &Claims) -> Result<Result<Principal, TokenError>, AppError> {
        let id = match claims.user_id(&self.inner.config.claims) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        let address = address(&id);
        let account = match &address {
            Some(address) => self.account_with(address).await?,
            None => self.account(&id).await?,
        };
        let Some(account) = account else {
            let user = claims.user(&self.inner.config.claims, USER).map(|user| match address {
                Some(address) => user.with_id(USER, address),
                None => user,
            });
            return Ok(user.and_then(with_topic).map(|user| Principal::User(Arc::new(user))));
        };
        if account.disabled || !claims.is_of_generation(&account, self.inner.config.jwt.leeway_s) {
            return Ok(Err(TokenError::Expired));
        }
        Ok(Ok(Principal::User(Arc::new(account.principal(claims.expires_at(), None)))))
    }

    /// The account with this address. Which one that is is read each time: it may be another's a moment later.
    async fn account_with(&self, address: &str) -> Result<Option<Arc<Account>>, AppError> {
        let wanted = address.to_owned();
        let found = self.inner.store.read(move |tx| store::find_sign_in(tx, &wanted)).await?;
        match found {
            Some((id, _)) => self.account(&id).await,
            None => Ok(None),
        }
    }

    async fn account(&self, id: &str) -> Result<Option<Arc<Account>>, AppError> {
        let now = self.steady();
        if let Some(found) = self.inner.accounts.get(id, now) {
            return Ok(found);
        }
        let seen = self.inner.accounts.seen();
        let wanted = id.to_owned();
        let found = self.inner.store.read(move |tx| store::find_account(tx, &wanted)).await?.map(Arc::new);
        self.inner.accounts.keep(id, found.clone(), now, seen);
        Ok(found)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// For waits and expiries.
    pub(crate) fn steady(&self) -> Timestamp {
        self.inner.clock.steady()
    }

    pub(crate) fn config(&self) -> &AuthConfig {
        &self.inner.config
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.inner.passwords
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.inner.tokens
    }

    pub(crate) fn throttle(&self) -> &Throttle {
        &self.inner.throttle
    }

    /// The rights of a user changed: their cached rows are no longer valid.
    pub(crate) fn user_changed(&self, id: &str) {
        self.inner.accounts.forget(id);
    }

    /// A session began or ended.
    pub(crate) fn session_changed(&self, id: &str) {
        self.inner.sessions.forget(id);
    }

    /// A key was made or revoked.
    pub(crate) fn key_changed(&self, id: &str) {
        self.inner.keys.forget(id);
    }
}

/// The token is valid, but its id cannot be used here.
fn user_id_refused(id: &str) -> AppError {
    let text = said!(
        "L'identifiant d'utilisateur {id:?} du token ne peut pas servir : ni « * », ni blanc autre que l'espace, ni \
         caractère de contrôle ; donnez-en un autre à cette personne",
        "The user id {id:?} of the token cannot be used: neither \"*\", nor white space other than spaces, nor a control \
         character; give this person another one"
    );
    unauthenticated(text)
}

pub(crate) fn unauthenticated(message: Said) -> AppError {
    AppError::unauthorized("unauthenticated", message)
}

/// The caller is anonymous.
pub(crate) fn credentials_required() -> AppError {
    unauthenticated(said!("Authentification requise", "Authentication required"))
}

pub(crate) fn token_refused() -> AppError {
    unauthenticated(said!("Token invalide ou expiré", "Invalid or expired token"))
}

fn key_refused() -> AppError {
    unauthenticated(said!("Clé d'API invalide, expirée ou révoquée", "Invalid, expired or revoked API key"))
}

fn session_ended() -> AppError {
    unauthenticated(said!("Session expirée, reconnectez-vous", "The session has expired: sign in again"))
}
