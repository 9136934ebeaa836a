//! Settings for authentication and authorisation.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The minimum length of a secret that signs tokens, in bytes.
pub const JWT_SECRET_BYTES_MIN: usize = 32;

/// Whether callers must authenticate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Open on a loopback address; elsewhere the server does not start until a mode is set explicitly.
    #[default]
    Auto,
    /// The relay requires no credential. One that is sent is still verified.
    Open,
    /// Every call requires a credential.
    Required,
}

/// Who may do what, and how callers authenticate.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether callers must authenticate.
    pub mode: AuthMode,
    /// The e-mail address of the first administrator, created on an empty database.
    pub admin_email: Option<String>,
    /// The password of the first administrator.
    pub admin_password: Option<String>,
    /// Idle time, in seconds, after which a session ends.
    pub session_idle_s: u64,
    /// Seconds after which a session ends even if it is in use.
    pub session_max_s: u64,
    /// Tokens signed with a shared secret: our own, and those of an existing backend that has the secret.
    pub jwt: JwtConfig,
    /// Tokens signed by an identity provider that publishes its keys.
    pub jwks: JwksConfig,
    /// Which claims of a token describe its bearer.
    pub claims: ClaimsConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::Auto,
            admin_email: None,
            admin_password: None,
            session_idle_s: 7 * 86_400,
            session_max_s: 30 * 86_400,
            jwt: JwtConfig::default(),
            jwks: JwksConfig::default(),
            claims: ClaimsConfig::default(),
        }
    }
}

/// Tokens signed with a shared secret (HS256).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// The secret, at least 32 bytes; if unset, one is generated in `<data>/secrets/jwt`.
    pub secret: Option<String>,
    /// Lifetime of our own tokens, in seconds.
    pub ttl_s: u64,
    /// Clock skew allowed between two machines, in seconds.
    pub leeway_s: u64,
    /// The `iss` that tokens must have; our own then have it too.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; our own then have it too.
    pub audience: Option<String>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self { secret: None, ttl_s: 86_400, leeway_s: 30, issuer: None, audience: None }
    }
}

/// Tokens signed by an identity provider (RS256 or ES256).
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwksConfig {
    /// Where the provider publishes its keys; if unset, such tokens are not accepted.
    pub url: Option<String>,
    /// The `iss` that tokens must have; required, since a provider may serve others with the same keys.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; if unset, any.
    pub audience: Option<String>,
    /// Seconds for which fetched keys are considered fresh.
    pub max_age_s: u64,
    /// Minimum number of seconds between two fetches, however many unknown keys are requested.
    pub min_interval_s: u64,
}

impl Default for JwksConfig {
    fn default() -> Self {
        Self { url: None, issuer: None, audience: None, max_age_s: 3600, min_interval_s: 10 }
    }
}

/// What a claim on sociétés permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimedAccess {
    /// Reading.
    #[default]
    Read,
    /// Reading and writing.
    Write,
}

/// Which claims of a token describe its bearer. Each list contains paths (`realm_access.roles`); the first that is
/// present in the token is used.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimsConfig {
    /// The id, a text or a number.
    pub user_id: Vec<String>,
    /// The e-mail address.
    pub email: Vec<String>,
    /// The display name.
    pub name: Vec<String>,
    /// A boolean that grants administrator rights.
    pub admin: Vec<String>,
    /// The roles, a list of texts.
    pub roles: Vec<String>,
    /// The role of an administrator.
    pub admin_role: String,
    /// The role of a member of staff.
    pub staff_role: String,
    /// The sociétés, a list of texts or one comma-separated text; `*` is every société.
    pub societes: Vec<String>,
    /// What the claim on sociétés permits.
    pub societes_access: ClaimedAccess,
}

impl Default for ClaimsConfig {
    fn default() -> Self {
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        Self {
            user_id: list(&["user_id", "sub"]),
            email: list(&["email"]),
            name: list(&["name", "preferred_username"]),
            admin: list(&["admin"]),
            roles: list(&["roles", "realm_access.roles"]),
            admin_role: "admin".into(),
            staff_role: "staff".into(),
            societes: list(&["societes"]),
            societes_access: ClaimedAccess::Read,
        }
    }
}

impl AuthConfig {
    /// Whether the relay is open to everyone when the server listens on `address`.
    #[must_use]
    pub fn is_open(&self, address: IpAddr) -> bool {
        match self.mode {
            AuthMode::Open => true,
            AuthMode::Required => false,
            AuthMode::Auto => address.is_loopback(),
        }
    }

    /// Inconsistencies when the server listens on `address`, each with a remedy.
    #[must_use]
    pub fn mistakes(&self, address: IpAddr) -> Vec<String> {
        let mut found = Vec::new();
        if self.mode == AuthMode::Auto && !address.is_loopback() {
            found.push(format!(
                "auth.mode: {address} can be reached from other machines, where the relay is not open to \
                 everybody by default; set auth.mode (RELAIS_AUTH_MODE) to \"required\", or to \"open\" if \
                 everybody on that network may read and write every société"
            ));
        }
        if self.jwt.secret.as_ref().is_some_and(|secret| secret.len() < JWT_SECRET_BYTES_MIN) {
            found.push(format!(
                "auth.jwt.secret (RELAIS_JWT_SECRET): shorter than {JWT_SECRET_BYTES_MIN} bytes and so can be \
                 guessed; use a longer one, for instance from `openssl rand -hex 32`"
            ));
        }
        if self.admin_email.is_some() != self.admin_password.is_some() {
            found.push(
                "auth.admin_email and auth.admin_password (RELAIS_ADMIN_EMAIL, RELAIS_ADMIN_PASSWORD): one is \
                 set without the other; set both or none"
                    .into(),
            );
        }
        found.extend(self.jwks.mistakes());
        let durations = [
            ("auth.session_idle_s", self.session_idle_s),
            ("auth.session_max_s", self.session_max_s),
            ("auth.jwt.ttl_s", self.jwt.ttl_s),
        ];
        for (name, seconds) in durations {
            if !(1..=315_360_000).contains(&seconds) {
                found.push(format!("{name}: {seconds} is not between 1 and 315360000 seconds (ten years)"));
            }
        }
        if self.jwt.leeway_s > 600 {
            found.push(format!("auth.jwt.leeway_s: {} is more than 600 seconds", self.jwt.leeway_s));
        }
        found
    }
}

impl JwksConfig {
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let Some(url) = &self.url else { return found };
        if !url.starts_with("https://") && !url.starts_with("http://") {
            let shown = super::masked(url);
            found.push(format!("auth.jwks.url: {shown:?} is not an https:// or http:// address"));
        }
        if self.issuer.is_none() {
            found.push(
                "auth.jwks.issuer: needed with auth.jwks.url; set it to the `iss` of the provider's tokens, for \
                 Keycloak the address of the realm"
                    .into(),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    #[test]
    fn the_defaults_are_open_on_loopback_and_refused_elsewhere() {
        let config = AuthConfig::default();
        assert!(config.is_open(LOOPBACK) && config.mistakes(LOOPBACK).is_empty());
        assert!(!config.is_open(PUBLIC));
        let mistakes = config.mistakes(PUBLIC);
        assert!(mistakes.len() == 1 && mistakes[0].contains("RELAIS_AUTH_MODE"), "{mistakes:?}");
    }

    #[test]
    fn a_mode_chosen_by_name_holds_on_every_address() {
        let open = AuthConfig { mode: AuthMode::Open, ..AuthConfig::default() };
        assert!(open.is_open(PUBLIC) && open.mistakes(PUBLIC).is_empty());
        let required = AuthConfig { mode: AuthMode::Required, ..AuthConfig::default() };
        assert!(!required.is_open(LOOPBACK) && required.mistakes(PUBLIC).is_empty());
    }

    #[test]
    fn what_would_be_unsafe_or_incomplete_is_refused() {
        let mut config = AuthConfig { admin_email: Some("a@b.fr".into()), ..AuthConfig::default() };
        config.jwt.secret = Some("short".into());
        config.jwks.url = Some("ftp://keys".into());
        let text = config.mistakes(LOOPBACK).join("\n");
        for part in ["auth.jwt.secret", "RELAIS_ADMIN_PASSWORD", "auth.jwks.url", "auth.jwks.issuer"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
