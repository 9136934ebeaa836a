//! Rights end everywhere at once.
//!
//! A revocation is published in the log, in its own transaction ([`emit`]). Every server on the database receives it
//! in the order of the log ([`Auth::observe`]): it drops its cached rows, closes the live connections
//! before any later event reaches them, and wakes requests that wait for an event. Work in progress checks again:
//! [`Auth::renewed`] before an answer, [`Permit`] in the transaction that stores.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use relais_protocol::event::{Event, Topic};
use relais_protocol::time::Timestamp;
use relais_store::{Query, Store, StoreError, WriteTx};
use serde::{Deserialize, Serialize};

use super::principal::USER;
use super::store::{self, Account, KeyRow, SessionRow};
use super::topics::TopicFamily;
use super::{Action, Auth, Principal, User, key_refused, session_ended, token_refused};
use crate::AppError;
use crate::said::said;

/// Where servers publish whose rights changed: one topic, which no client may subscribe to.
pub const FAMILY: TopicFamily = TopicFamily::named("rights");

static TOPIC: LazyLock<Topic> = LazyLock::new(|| Topic::new(FAMILY.name).expect("it is a name"));

/// What ended, so that its live connections are closed, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whose rights changed: `user:<id>` or `key:<id>`.
    pub principal: Arc<str>,
    /// The digest of the one session that ended; none if all the principal's rights changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
}

/// Notifies every server on this database that the rights of a principal changed, or that one session of it ended. This
/// one drops them from its cache before its caller is answered, even while events wait for room in the hub.
///
/// # Errors
/// What the database reports.
pub(crate) fn emit(
    tx: &mut WriteTx<'_>,
    auth: &Auth,
    principal: String,
    session: Option<&str>,
) -> Result<(), StoreError> {
    let ended = Ended { principal: principal.into(), session: session.map(Into::into) };
    let data = serde_json::to_string(&ended).map_err(|error| StoreError::Value(error.to_string()))?;
    let auth = auth.clone();
    tx.after_commit(move || auth.forget(&ended));
    tx.emit(&TOPIC, "rights_changed", data).map(drop)
}

impl Auth {
    /// Applies an event of the log. If rights ended with it, they are dropped from the cache, and what is to be closed
    /// is returned.
    #[must_use]
    pub fn observe(&self, event: &Event) -> Option<Ended> {
        if event.topic != *TOPIC {
            return None;
        }
        let ended: Ended = serde_json::from_str(&event.data)
            .inspect_err(
                |error| tracing::error!(%error, seq = event.seq, "a change of rights is not understood"),
            )
            .ok()?;
        self.forget(&ended);
        Some(ended)
    }

    /// Drops the cached rows of these rights.
    fn forget(&self, ended: &Ended) {
        match (&ended.session, ended.principal.split_once(':')) {
            (Some(session), _) => self.session_changed(session),
            (None, Some((USER, id))) => self.user_changed(id),
            (None, Some(("key", id))) => self.key_changed(id),
            (None, _) => {}
        }
    }

    /// The same caller with its current rights: checked again before an answer that took long.
    ///
    /// # Errors
    /// 401 if the credential is no longer valid, or a database error.
    pub async fn renewed(&self, principal: &Principal) -> Result<Principal, AppError> {
        self.renewed_at(principal, self.now()).await
    }

    /// As [`Auth::renewed`], with what has not ended at `now`.
    async fn renewed_at(&self, principal: &Principal, now: Timestamp) -> Result<Principal, AppError> {
        match principal {
            Principal::Anonymous => Ok(Principal::Anonymous),
            Principal::Service(service) => self.valid_key(self.key_row(&service.id).await?.as_deref(), now),
            Principal::User(user) => {
                let session = match &user.session {
                    Some(id) => self.session_row(id).await?,
                    None => None,
                };
                let account = match user.generation {
                    Some(_) => self.account(&user.id).await?,
                    None => None,
                };
                self.valid_user(user, account.as_deref(), session.as_ref(), now)
            }
        }
    }

    /// Whether a principal still has the rights with which it was authenticated: they may have changed while its
    /// connection was made, when nobody could find that yet to end it. What time ends is that of `now`, when it was made.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn is_current(&self, principal: &Principal, now: Timestamp) -> Result<bool, AppError> {
        match self.renewed_at(principal, now).await {
            Ok(now) => Ok(now.has_rights_of(principal)),
            Err(error) if error.is_unauthorized() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As [`Auth::renewed`], as a transaction sees it.
    fn renewed_in(&self, tx: &mut impl Query, principal: &Principal) -> Result<Principal, AppError> {
        match principal {
            Principal::Anonymous => Ok(Principal::Anonymous),
            Principal::Service(service) => {
                self.valid_key(store::find_key(tx, &service.id)?.as_ref(), self.now())
            }
            Principal::User(user) => {
                let session = match &user.session {
                    Some(id) => store::find_session(tx, id)?,
                    None => None,
                };
                let account = match user.generation {
                    Some(_) => store::find_account(tx, &user.id)?,
                    None => None,
                };
                self.valid_user(user, account.as_ref(), session.as_ref(), self.now())
            }
        }
    }

    fn valid_key(&self, row: Option<&KeyRow>, now: Timestamp) -> Result<Principal, AppError> {
        let row = row.filter(|row| row.is_valid(now)).ok_or_else(key_refused)?;
        Ok(Principal::Service(Arc::clone(&row.service)))
    }

    fn valid_user(
        &self,
        user: &Arc<User>,
        account: Option<&Account>,
        session: Option<&SessionRow>,
        now: Timestamp,
    ) -> Result<Principal, AppError> {
        if user.session.is_none() && self.has_expired(user.expires_at, now) {
            return Err(token_refused());
        }
        // A user without an account here has the rights in the token, as long as it is valid.
        let Some(generation) = user.generation else { return Ok(Principal::User(Arc::clone(user))) };
        let account = account.filter(|account| !account.disabled && account.generation == generation);
        let Some(account) = account else { return Err(token_refused()) };
        let expires_at = match (&user.session, session) {
            (None, _) => user.expires_at,
            (Some(_), Some(row)) if row.is_valid(account, now) => Some(row.expires_at),
            (Some(_), _) => return Err(session_ended()),
        };
        Ok(Principal::User(Arc::new(account.principal(expires_at, user.session.clone()))))
    }

    fn has_expired(&self, expires_at: Option<Timestamp>, now: Timestamp) -> bool {
        let leeway_ms = i64::try_from(self.config().jwt.leeway_s * 1000).unwrap_or(i64::MAX);
        expires_at.is_some_and(|end| end.plus_millis(leeway_ms) <= now)
    }
}

/// The refusal when the caller's rights have changed since the operation began.
pub(super) fn rights_changed() -> AppError {
    let text = said!(
        "Vos droits ont changé pendant la demande : rien n'a été modifié, recommencez",
        "Your rights changed during the request: nothing was changed, try again"
    );
    AppError::forbidden("rights_changed", text)
}

/// The author of a change, to be checked again in its transaction.
#[derive(Clone)]
pub struct Permit {
    auth: Auth,
    principal: Principal,
}

impl Permit {
    /// For a caller.
    #[must_use]
    pub fn new(auth: Auth, principal: Principal) -> Self {
        Self { auth, principal }
    }

    /// For the user of a live connection. That ends by itself when their credential expires, unless they show another
    /// one, so that the expiry of the first does not count here.
    #[must_use]
    pub fn lasting(auth: Auth, user: &Arc<User>) -> Self {
        let user = User { expires_at: None, ..User::clone(user) };
        Self { auth, principal: Principal::User(Arc::new(user)) }
    }

    /// The principal.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Refuses what the caller may not do any more. To be the first that a transaction does: what is committed before
    /// it counts, on whichever server.
    ///
    /// # Errors
    /// 401 if the credential counts no more, 403 if it does not allow this any more, or what the database reports.
    pub fn check(&self, tx: &mut impl Query, action: Action<'_>) -> Result<(), AppError> {
        let now = self.auth.renewed_in(tx, &self.principal)?;
        self.auth.require(&now, action)
    }

    /// As [`Permit::check`], for an operation that was allowed by the caller's initial rights.
    ///
    /// # Errors
    /// 401 if the credential is no longer valid, 403 if the rights have changed, or a database error.
    pub fn stands(&self, tx: &mut impl Query) -> Result<(), AppError> {
        let now = self.auth.renewed_in(tx, &self.principal)?;
        if now.has_rights_of(&self.principal) { Ok(()) } else { Err(rights_changed()) }
    }

    /// As [`Permit::stands`], for several: their rows are read at once.
    ///
    /// # Errors
    /// A database error; the outcome for each is in its own result.
    pub fn stand_each(
        tx: &mut impl Query,
        permits: &[Self],
    ) -> Result<Vec<Result<(), AppError>>, StoreError> {
        let users = || permits.iter().filter_map(|permit| permit.principal.user());
        let with_account: BTreeSet<&str> =
            users().filter(|user| user.generation.is_some()).map(|user| &*user.id).collect();
        let with_session: BTreeSet<&str> = users().filter_map(|user| user.session.as_deref()).collect();
        let accounts = store::find_accounts(tx, &with_account)?;
        let sessions = store::find_sessions(tx, &with_session)?;
        let mut each = Vec::with_capacity(permits.len());
        for permit in permits {
            let (auth, now) = (&permit.auth, permit.auth.now());
            let renewed = match &permit.principal {
                Principal::Anonymous => Ok(Principal::Anonymous),
                Principal::Service(service) => {
                    auth.valid_key(store::find_key(tx, &service.id)?.as_ref(), now)
                }
                Principal::User(user) => {
                    let account = user.generation.and_then(|_| accounts.get(&*user.id));
                    let session = user.session.as_deref().and_then(|id| sessions.get(id));
                    auth.valid_user(user, account, session, now)
                }
            };
            each.push(renewed.and_then(|now| {
                if now.has_rights_of(&permit.principal) { Ok(()) } else { Err(rights_changed()) }
            }));
        }
        Ok(each)
    }

    /// Runs `f` in a transaction that first checks whether the caller's rights are unchanged.
    ///
    /// # Errors
    /// As [`Permit::stands`], and what `f` returns.
    pub async fn write<T: Send + 'static>(
        &self,
        store: &Store,
        f: impl FnOnce(&mut WriteTx<'_>) -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        let permit = self.clone();
        store
            .write(move |tx| {
                permit.stands(tx)?;
                f(tx)
            })
            .await
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.principal.id().fmt(f)
    }
}
