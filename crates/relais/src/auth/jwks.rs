//! The keys that an identity provider publishes (JWKS, RFC 7517), fetched when needed and kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use relais_protocol::time::{SharedClock, Timestamp};

use super::AuthError;
use super::claims::{Claims, Expected, TokenError};
use super::token::{self, Signature};
use crate::config::{JwksConfig, masked};

/// Maximum size of a key set, in bytes.
const BYTES_MAX: usize = 256 * 1024;
/// Maximum number of keys taken from a set.
const KEYS_MAX: usize = 64;
/// How long a fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long keys stay valid when the provider cannot be reached.
const STALE_MAX_MS: i64 = 24 * 3_600_000;

/// Verifies tokens of one identity provider.
pub(crate) struct Jwks {
    url: String,
    config: JwksConfig,
    leeway_s: u64,
    client: reqwest::Client,
    clock: SharedClock,
    state: Mutex<State>,
    /// Held while fetching, so that many callers with an unknown key cause one fetch.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<HashMap<String, Key>>,
    /// Both in steady time.
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
}

/// A key and the one algorithm it may be used with: the token does not choose it.
struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Jwks {
    /// Fetches nothing yet; nothing if no provider is configured.
    pub(crate) fn new(
        config: &JwksConfig,
        leeway_s: u64,
        clock: SharedClock,
    ) -> Result<Option<Self>, AuthError> {
        let Some(url) = config.url.clone() else { return Ok(None) };
        let client = crate::outbound::client_for(&url)
            .timeout(FETCH_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| AuthError::HttpClient(e.to_string()))?;
        let state = Mutex::default();
        let fetching = tokio::sync::Mutex::default();
        Ok(Some(Self { url, config: config.clone(), leeway_s, client, clock, state, fetching }))
    }

    /// Verifies a token of the provider.
    pub(crate) async fn verify(&self, text: &str, signature: &Signature) -> Result<Claims, TokenError> {
        let key_id = signature.key_id.as_deref().ok_or(TokenError::UnknownKey)?;
        let keys = self.keys_with(key_id).await?;
        let key = keys.get(key_id).ok_or(TokenError::UnknownKey)?;
        if key.algorithm != signature.algorithm {
            return Err(TokenError::Algorithm);
        }
        let claims = token::verify(text, &key.key, key.algorithm)?;
        claims.check(Expected {
            now: self.clock.now(),
            leeway_s: self.leeway_s,
            issuer: self.config.issuer.as_deref(),
            audience: self.config.audience.as_deref(),
        })?;
        Ok(claims)
    }

    /// The keys, fetched anew if they are old or do not have `key_id`.
    async fn keys_with(&self, key_id: &str) -> Result<Arc<HashMap<String, Key>>, TokenError> {
        if let Some(keys) = self.current(key_id) {
            return Ok(keys);
        }
        let _turn = self.fetching.lock().await;
        if let Some(keys) = self.current(key_id) {
            return Ok(keys);
        }
        if self.may_fetch() {
            match self.fetch().await {
                Ok(keys) => {
                    let mut state = self.state.lock();
                    state.keys = Arc::new(keys);
                    state.fetched_at = Some(self.clock.steady());
                }
                Err(error) => {
                    tracing::warn!(url = %masked(&self.url), %error, "fetching the identity provider's keys failed");
                }
            }
        }
        let state = self.state.lock();
        match state.fetched_at {
            Some(at) if age_ms(at, self.clock.steady()) <= STALE_MAX_MS => Ok(state.keys.clone()),
            _ => Err(TokenError::Keys("no fetch has succeeded of late; is auth.jwks.url right?".into())),
        }
    }

    fn current(&self, key_id: &str) -> Option<Arc<HashMap<String, Key>>> {
        let state = self.state.lock();
        let max_age_ms = i64::try_from(self.config.max_age_s).unwrap_or(i64::MAX).saturating_mul(1000);
        let fresh = age_ms(state.fetched_at?, self.clock.steady()) < max_age_ms;
        (fresh && state.keys.contains_key(key_id)).then(|| state.keys.clone())
    }

    fn may_fetch(&self) -> bool {
        let mut state = self.state.lock();
        let now = self.clock.steady();
        let pause_ms = i64::try_from(self.config.min_interval_s).unwrap_or(i64::MAX).saturating_mul(1000);
        let may = state.tried_at.is_none_or(|at| age_ms(at, now) >= pause_ms);
        if may {
            state.tried_at = Some(now);
        }
        may
    }

    async fn fetch(&self) -> Result<HashMap<String, Key>, TokenError> {
        let failed = |e: reqwest::Error| TokenError::Keys(e.without_url().to_string());
        let mut response = self.client.get(&self.url).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(TokenError::Keys(format!("the answer has status {}", response.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > BYTES_MAX {
                return Err(TokenError::Keys(format!("the answer has more than {BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        let set: JwkSet = serde_json::from_slice(&body).map_err(|e| TokenError::Keys(e.to_string()))?;
        Ok(set.keys.iter().take(KEYS_MAX).filter_map(usable).collect())
    }
}

fn age_ms(at: Timestamp, now: Timestamp) -> i64 {
    now.as_millis().saturating_sub(at.as_millis())
}

/// A key for signatures with RS256 or ES256, by its id. Others, symmetric ones above all, are left out.
fn usable(jwk: &Jwk) -> Option<(String, Key)> {
    if matches!(&jwk.common.public_key_use, Some(purpose) if *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::RSA(_), None | Some(KeyAlgorithm::RS256)) => Algorithm::RS256,
        (AlgorithmParameters::EllipticCurve(curve), None | Some(KeyAlgorithm::ES256))
            if curve.curve == EllipticCurve::P256 =>
        {
            Algorithm::ES256
        }
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some((jwk.common.key_id.clone()?, Key { algorithm, key }))
}
