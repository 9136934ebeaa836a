//! Passwords: argon2id, computed on the blocking pool, a few at a time.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::AppError;
use crate::said::said;

/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// 19 MiB, two passes, one lane: the parameters that OWASP recommends for argon2id.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes computed at once, each taking [`MEMORY_KIB`] and a core.
const CONCURRENT_MAX: usize = 4;
/// Maximum number of callers computing or waiting; further ones are asked to retry.
const WAITING_MAX: usize = 64;

/// No password has this hash. Verifying against it takes as long as against a real one, so that timing does not reveal
/// whether an account exists.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$cmVsYWlzLW5vLWFjY291bnQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Computes and verifies password hashes.
#[derive(Clone)]
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            running: Arc::new(Semaphore::new(CONCURRENT_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// The PHC text that is stored in place of `password`.
    ///
    /// # Errors
    /// 400 if the password is too short or too long, 503 if too many callers wait.
    pub(crate) async fn hash(&self, password: String) -> Result<String, AppError> {
        check(&password)?;
        self.compute(move || argon2().hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?
            .map_err(AppError::internal)
    }

    /// Whether `password` has the hash `stored`; without one it is refused after the same time.
    ///
    /// # Errors
    /// 503 if too many callers wait.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, AppError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        self.compute(move || {
            let known = stored.is_some();
            let stored = stored.unwrap_or_else(|| NOBODY.to_owned());
            argon2().verify_password(password.as_bytes(), stored.as_str()).is_ok() && known
        })
        .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AppError> {
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = self.running.clone().acquire_owned().await.map_err(AppError::internal)?;
        let work = move || {
            let result = f();
            // The turn ends with the work, even if the caller is gone.
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(AppError::internal)
    }
}

/// Refuses a password that cannot be taken.
pub(crate) fn check(password: &str) -> Result<(), AppError> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(AppError::bad_request(
            "password_length",
            said!(
                "Le mot de passe doit avoir au moins {PASSWORD_CHARS_MIN} caractères et au plus \
                 {PASSWORD_BYTES_MAX} octets",
                "The password must have at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
            ),
        ));
    }
    Ok(())
}

fn busy() -> AppError {
    AppError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "sign_in_busy",
        said!(
            "Trop de connexions en cours. Réessayez dans un instant.",
            "Too many sign-ins under way. Try again in a moment."
        ),
    )
    .retry_after(1)
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_only() {
        let passwords = Passwords::new();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct horses".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[test]
    fn the_hash_that_nobody_has_costs_what_a_real_one_costs() {
        let hash = argon2::PasswordHash::new(NOBODY).unwrap();
        assert_eq!(
            Params::try_from(&hash).unwrap(),
            Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).unwrap()
        );
        assert!(hash.hash.is_some() && hash.salt.is_some());
    }

    #[tokio::test]
    async fn passwords_of_unreasonable_length_are_refused() {
        let passwords = Passwords::new();
        assert_eq!(passwords.hash("short".into()).await.unwrap_err().code(), "password_length");
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        assert_eq!(passwords.hash(long.clone()).await.unwrap_err().code(), "password_length");
        assert!(!passwords.verify(long, None).await.unwrap());
    }
}
