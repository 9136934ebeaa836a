//! Tokens signed with a shared secret (HS256): issuing ours, verifying ours and those of an existing backend.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use relais_protocol::time::Timestamp;
use serde_json::{Value, json};

use super::claims::{Claims, Expected, TokenError};
use crate::AppError;
use crate::config::JwtConfig;

/// The claim with the generation of the account that a token of ours belongs to.
pub(crate) const GENERATION: &str = "relais_generation";
/// The longest token that is looked at, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// The shared secret and what goes with it.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    config: JwtConfig,
}

/// What the header of a token says about its signature.
pub(crate) struct Signature {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
}

/// Reads the header. Unknown algorithms, `none` among them, are refused, and so are extensions that a verifier
/// must understand (`crit`, RFC 7515 section 4.1.11).
pub(crate) fn signature(token: &str) -> Result<Signature, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Signature(format!("more than {TOKEN_BYTES_MAX} bytes")));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|e| TokenError::Signature(e.to_string()))?;
    match header.crit {
        None => Ok(Signature { algorithm: header.alg, key_id: header.kid }),
        Some(_) => Err(TokenError::Algorithm),
    }
}

/// Verifies the signature with this key and this one algorithm; the claims are still to be checked, since the
/// time comes from our clock.
pub(crate) fn verify(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<Claims, TokenError> {
    let mut signature_only = Validation::new(algorithm);
    signature_only.required_spec_claims.clear();
    signature_only.validate_exp = false;
    signature_only.validate_nbf = false;
    signature_only.validate_aud = false;
    let found = jsonwebtoken::decode::<Value>(token, key, &signature_only)
        .map_err(|e| TokenError::Signature(e.to_string()))?;
    if found.claims.is_object() { Ok(Claims(found.claims)) } else { Err(TokenError::Claim("exp")) }
}

impl Tokens {
    pub(crate) fn new(secret: &str, config: JwtConfig) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret.as_bytes()),
            decoding: DecodingKey::from_secret(secret.as_bytes()),
            config,
        }
    }

    /// A token for one of our users, valid for `ttl_s` seconds or as long as the configuration says.
    pub(crate) fn issue(
        &self,
        user_id: &str,
        email: &str,
        generation: u64,
        now: Timestamp,
        ttl_s: Option<u64>,
    ) -> Result<String, AppError> {
        let seconds = now.as_secs();
        let ttl = i64::try_from(ttl_s.unwrap_or(self.config.ttl_s)).unwrap_or(i64::MAX);
        let mut claims = json!({
            "user_id": user_id, "email": email,
            "exp": seconds.saturating_add(ttl), "iat": seconds, "nbf": seconds, GENERATION: generation,
        });
        if let Some(issuer) = &self.config.issuer {
            claims["iss"] = issuer.as_str().into();
        }
        if let Some(audience) = &self.config.audience {
            claims["aud"] = audience.as_str().into();
        }
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(AppError::internal)
    }

    pub(crate) fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = verify(token, &self.decoding, Algorithm::HS256)?;
        claims.check(Expected {
            now,
            leeway_s: self.config.leeway_s,
            issuer: self.config.issuer.as_deref(),
            audience: self.config.audience.as_deref(),
        })?;
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(secret, JwtConfig::default())
    }

    #[test]
    fn a_token_has_the_claims_that_clients_know() {
        let tokens = tokens("0123456789abcdef0123456789abcdef");
        let token = tokens.issue("7", "a@b.fr", 3, NOW, None).unwrap();
        let Claims(claims) = tokens.verify(&token, NOW).unwrap();
        let seconds = NOW.as_secs();
        assert_eq!(
            claims,
            json!({"user_id": "7", "email": "a@b.fr", "exp": seconds + 86_400, "iat": seconds, "nbf": seconds,
                "relais_generation": 3})
        );
        assert_eq!(tokens.verify(&token, NOW.plus_millis(86_431_000)).unwrap_err(), TokenError::Expired);
    }

    #[test]
    fn a_token_that_was_changed_or_signed_by_others_is_refused() {
        let ours = tokens("0123456789abcdef0123456789abcdef");
        let theirs = tokens("another-secret-another-secret-32").issue("7", "a@b.fr", 1, NOW, None).unwrap();
        assert!(matches!(ours.verify(&theirs, NOW), Err(TokenError::Signature(_))));
        let token = ours.issue("7", "a@b.fr", 1, NOW, None).unwrap();
        let [header, _, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"user_id":"1","exp":99999999999}"#);
        assert!(ours.verify(&format!("{header}.{claims}.{signature}"), NOW).is_err());
    }

    #[test]
    fn a_token_without_a_signature_is_refused_however_it_is_spelt() {
        let ours = tokens("0123456789abcdef0123456789abcdef");
        let claims = URL_SAFE_NO_PAD.encode(r#"{"user_id":"1","exp":99999999999}"#);
        for algorithm in ["none", "None", "NONE", "nOnE", ""] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#));
            for token in [format!("{header}.{claims}."), format!("{header}.{claims}")] {
                assert!(signature(&token).is_err(), "{token}");
                assert!(ours.verify(&token, NOW).is_err(), "{token}");
            }
        }
    }

    #[test]
    fn an_extension_that_must_be_understood_is_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#);
        assert!(signature(&format!("{header}.e30.x")).is_err());
    }
}
