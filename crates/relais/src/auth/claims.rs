//! The claims of a verified token: whether it is valid now and here, and its bearer.

use std::sync::Arc;

use relais_protocol::event::{NameError, Topic};
use relais_protocol::time::Timestamp;
use serde_json::Value;

use super::principal::{Grants, User};
use super::store::Account;
use super::token::GENERATION;
use crate::config::{ClaimedAccess, ClaimsConfig};
use crate::text::{is_visible, without_direction_controls};

/// Sociétés taken from one token at most.
const SOCIETES_MAX: usize = 10_000;

/// Why a token is not valid. Logged; the caller only learns that it is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("not a token, or not signed by a known key: {0}")]
    Signature(String),
    #[error("signed with an algorithm that is not accepted")]
    Algorithm,
    #[error("signed with a key that the identity provider does not publish")]
    UnknownKey,
    #[error("the claim {0:?} is missing or has the wrong type")]
    Claim(&'static str),
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
    #[error("issued by somebody else")]
    Issuer,
    #[error("meant for somebody else")]
    Audience,
    #[error("the user id {0:?} cannot be used: {1}")]
    UserId(String, NameError),
    #[error("the identity provider's keys cannot be fetched: {0}")]
    Keys(String),
}

/// The expected claims of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) now: Timestamp,
    pub(crate) leeway_s: u64,
    pub(crate) issuer: Option<&'a str>,
    pub(crate) audience: Option<&'a str>,
}

/// The claims of a token whose signature was verified.
#[derive(Clone, Debug)]
pub(crate) struct Claims(pub(crate) Value);

impl Claims {
    /// Whether the token is valid now and here. A token without an expiry is refused.
    pub(crate) fn check(&self, expected: Expected<'_>) -> Result<(), TokenError> {
        let now = expected.now.as_secs();
        let leeway = i64::try_from(expected.leeway_s).unwrap_or(i64::MAX);
        if self.seconds("exp")?.ok_or(TokenError::Claim("exp"))?.saturating_add(leeway) <= now {
            return Err(TokenError::Expired);
        }
        if self.seconds("nbf")?.is_some_and(|nbf| nbf.saturating_sub(leeway) > now) {
            return Err(TokenError::NotYetValid);
        }
        if self.seconds("iat")?.is_some_and(|iat| iat.saturating_sub(leeway) > now) {
            return Err(TokenError::NotYetValid);
        }
        if expected.issuer.is_some_and(|issuer| self.0["iss"].as_str() != Some(issuer)) {
            return Err(TokenError::Issuer);
        }
        match expected.audience {
            Some(audience) if !self.is_for(audience) => Err(TokenError::Audience),
            _ => Ok(()),
        }
    }

    fn is_for(&self, audience: &str) -> bool {
        match &self.0["aud"] {
            Value::Array(several) => several.iter().any(|one| one.as_str() == Some(audience)),
            one => one.as_str() == Some(audience),
        }
    }

    /// A time in seconds. Some backends write a fraction, so that is accepted too.
    pub(crate) fn seconds(&self, claim: &'static str) -> Result<Option<i64>, TokenError> {
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(None),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a fraction of a second does not matter here"
            )]
            Some(Value::Number(n)) => match n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(TokenError::Claim(claim)),
            },
            Some(_) => Err(TokenError::Claim(claim)),
        }
    }

    /// The first of `paths` that the token has. A name that contains dots is tried as a whole first.
    fn find(&self, paths: &[String]) -> Option<&Value> {
        let lookup = |path: &String| match self.0.get(path) {
            Some(found) => Some(found),
            None => path.split('.').try_fold(&self.0, |node, key| node.get(key)),
        };
        paths.iter().filter_map(lookup).find(|found| !found.is_null())
    }

    /// The id of the bearer; numbers become texts.
    pub(crate) fn user_id(&self, config: &ClaimsConfig) -> Result<String, TokenError> {
        match self.find(&config.user_id) {
            Some(Value::String(id))
                if !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control) =>
            {
                Ok(id.clone())
            }
            Some(Value::Number(id)) if !id.is_f64() => Ok(id.to_string()),
            _ => Err(TokenError::Claim("user_id")),
        }
    }

    /// The bearer as described by the token. `family` keeps users of different sources apart.
    pub(crate) fn user(&self, config: &ClaimsConfig, family: &str) -> Result<User, TokenError> {
        let id = self.user_id(config)?;
        let text = |paths: &[String]| self.find(paths).and_then(Value::as_str).unwrap_or_default().to_owned();
        let roles = self.find(&config.roles).map(texts).unwrap_or_default();
        let has = |role: &str| !role.is_empty() && roles.iter().any(|own| own == role);
        let email = text(&config.email);
        // A user is not refused because of how their name was written.
        let name = Some(without_direction_controls(&text(&config.name))).filter(|name| is_visible(name));
        Ok(User {
            principal_id: Arc::from(format!("{family}:{id}")),
            display_name: name.unwrap_or_else(|| email.clone()),
            admin: self.find(&config.admin) == Some(&Value::Bool(true)) || has(&config.admin_role),
            staff: has(&config.staff_role),
            grants: self.grants(config),
            expires_at: self.expires_at(),
            generation: None,
            session: None,
            email,
            id,
        })
    }

    fn grants(&self, config: &ClaimsConfig) -> Grants {
        let names = self.find(&config.societes).map(texts).unwrap_or_default();
        let writes = config.societes_access == ClaimedAccess::Write;
        // Groups of Keycloak begin with a slash.
        let names = names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
        Grants::from_pairs(names.filter(|name| !name.is_empty()).map(|name| (name, writes)))
    }

    /// Whether the token belongs to the generation of an account that counts. A token that says none, as those of an
    /// existing backend, has only its time, in whole seconds, by a clock that may be `leeway_s` ahead: only one that was
    /// issued after a change whatever that clock says counts. Before the first change there was no other generation.
    pub(crate) fn is_of_generation(&self, account: &Account, leeway_s: u64) -> bool {
        match self.0.get(GENERATION) {
            Some(generation) => generation.as_u64() == Some(account.generation),
            None => {
                let issued = self.seconds("iat").ok().flatten().unwrap_or(0);
                let ahead = if account.generation > 1 { leeway_s } else { 0 };
                let surely = issued.saturating_sub(i64::try_from(ahead).unwrap_or(i64::MAX));
                surely.saturating_mul(1000) > account.valid_from.as_millis()
            }
        }
    }

    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        let seconds = self.seconds("exp").ok().flatten()?;
        Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
    }
}

/// Refuses a user without a valid topic of their own: they could not be notified.
pub(crate) fn with_topic(user: User) -> Result<User, TokenError> {
    match Topic::new(&user.principal_id) {
        Ok(_) => Ok(user),
        Err(error) => Err(TokenError::UserId(user.id, error)),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => {
            text.split(',').map(|part| part.trim().to_owned()).take(SOCIETES_MAX).collect()
        }
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).map(str::to_owned).take(SOCIETES_MAX).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::principal::Access;
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn expected() -> Expected<'static> {
        Expected { now: NOW, leeway_s: 30, issuer: None, audience: None }
    }

    #[test]
    fn a_token_counts_between_its_beginning_and_its_end() {
        let now = NOW.as_secs();
        let cases = [
            (json!({"exp": now + 1, "nbf": now, "iat": now}), Ok(())),
            (json!({"exp": now as f64 + 0.5}), Ok(())),
            (json!({"exp": now - 29}), Ok(())),
            (json!({"exp": now - 30}), Err(TokenError::Expired)),
            (json!({"exp": now + 99, "nbf": now + 30}), Ok(())),
            (json!({"exp": now + 99, "nbf": now + 31}), Err(TokenError::NotYetValid)),
            (json!({"exp": now + 99, "iat": now + 31}), Err(TokenError::NotYetValid)),
            (json!({}), Err(TokenError::Claim("exp"))),
            (json!({"exp": "tomorrow"}), Err(TokenError::Claim("exp"))),
        ];
        for (claims, outcome) in cases {
            assert_eq!(Claims(claims.clone()).check(expected()), outcome, "{claims}");
        }
    }

    #[test]
    fn a_token_counts_where_it_was_meant_to() {
        let exp = NOW.as_secs() + 60;
        let here = Expected { issuer: Some("https://id"), audience: Some("relais"), ..expected() };
        let cases = [
            (json!({"exp": exp, "iss": "https://id", "aud": "relais"}), Ok(())),
            (json!({"exp": exp, "iss": "https://id", "aud": ["other", "relais"]}), Ok(())),
            (json!({"exp": exp, "iss": "https://other", "aud": "relais"}), Err(TokenError::Issuer)),
            (json!({"exp": exp, "aud": "relais"}), Err(TokenError::Issuer)),
            (json!({"exp": exp, "iss": "https://id", "aud": "other"}), Err(TokenError::Audience)),
            (json!({"exp": exp, "iss": "https://id"}), Err(TokenError::Audience)),
        ];
        for (claims, outcome) in cases {
            assert_eq!(Claims(claims.clone()).check(here), outcome, "{claims}");
        }
    }

    #[test]
    fn a_keycloak_token_describes_its_bearer() {
        let claims = Claims(json!({
            "exp": 1_800_000_000, "sub": "f3a1", "email": "jean@rsp.fr", "preferred_username": "jean",
            "realm_access": {"roles": ["staff", "offline_access"]}, "https://rsp/societes": ["/rsp-bgs", "b"],
        }));
        let config =
            ClaimsConfig { societes: vec!["https://rsp/societes".into()], ..ClaimsConfig::default() };
        let user = claims.user(&config, "ext").unwrap();
        assert_eq!(
            (&*user.principal_id, &*user.email, &*user.display_name),
            ("ext:f3a1", "jean@rsp.fr", "jean")
        );
        assert!(user.staff && !user.admin);
        assert_eq!(user.grants.read, Access::only(["rsp-bgs", "b"]));
        assert_eq!(user.grants.write, Access::none(), "a claim gives reading unless the setting says more");
    }

    #[test]
    fn a_backends_token_describes_its_bearer() {
        let claims = Claims(json!({"user_id": 42, "email": "a@b.fr", "admin": true, "societes": "a, b"}));
        let user = claims.user(&ClaimsConfig::default(), "user").unwrap();
        assert_eq!((&*user.principal_id, user.admin), ("user:42", true));
        assert_eq!(user.grants.read, Access::only(["a", "b"]));
    }

    #[test]
    fn only_true_makes_an_administrator() {
        for claims in [json!({"user_id": "1", "admin": "true"}), json!({"user_id": "1", "admin": 1})] {
            assert!(!Claims(claims).user(&ClaimsConfig::default(), "user").unwrap().admin);
        }
        assert_eq!(
            Claims(json!({"user_id": ""})).user_id(&ClaimsConfig::default()),
            Err(TokenError::Claim("user_id"))
        );
    }
}
