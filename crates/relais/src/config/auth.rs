//! Settings of identity and access.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The shortest secret that may sign tokens, in bytes.
pub const JWT_SECRET_BYTES_MIN: usize = 32;

/// Whether callers have to say who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Open on a loopback address; elsewhere the server does not start until a mode is chosen by name.
    #[default]
    Auto,
    /// Everybody may use the relay. A credential that is sent is still checked.
    Open,
    /// Every call needs a credential.
    Required,
}

/// Who may do what, and how callers prove who they are.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether callers have to say who they are.
    pub mode: AuthMode,
    /// The address of the first administrator, made on an empty database.
    pub admin_email: Option<String>,
    /// The password of the first administrator.
    pub admin_password: Option<String>,
    /// Seconds without use after which a session ends.
    pub session_idle_s: u64,
    /// Seconds after which a session ends however much it is used.
    pub session_max_s: u64,
    /// Tokens signed with a shared secret: ours, and those of an existing backend that knows the secret.
    pub jwt: JwtConfig,
    /// Tokens signed by an identity provider that publishes its keys.
    pub jwks: JwksConfig,
    /// Where a token says who its bearer is.
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
    /// The secret, at least 32 bytes; none: one is generated in `<data>/secrets/jwt`.
    pub secret: Option<String>,
    /// Seconds that a token of ours is valid.
    pub ttl_s: u64,
    /// Seconds that the clocks of two machines may differ.
    pub leeway_s: u64,
    /// The `iss` that tokens must have; ours then have it too.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; ours then have it too.
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
    /// Where the provider publishes its keys; none: no such tokens.
    pub url: Option<String>,
    /// The `iss` that tokens must have; needed, since a provider may serve others with the same keys.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have; none: any.
    pub audience: Option<String>,
    /// Seconds that fetched keys count as current.
    pub max_age_s: u64,
    /// Seconds between two fetches at least, however many unknown keys are named.
    pub min_interval_s: u64,
}

impl Default for JwksConfig {
    fn default() -> Self {
        Self { url: None, issuer: None, audience: None, max_age_s: 3600, min_interval_s: 10 }
    }
}

/// What a claim on sociétés allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimedAccess {
    /// Reading.
    #[default]
    Read,
    /// Reading and writing.
    Write,
}

/// Where a token says who its bearer is. Each list has paths (`realm_access.roles`) and the first that the
/// token has counts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimsConfig {
    /// The id, a text or a number.
    pub user_id: Vec<String>,
    /// The e-mail address.
    pub email: Vec<String>,
    /// The name that others see.
    pub name: Vec<String>,
    /// A boolean that makes an administrator.
    pub admin: Vec<String>,
    /// The roles, a list of texts.
    pub roles: Vec<String>,
    /// The role that makes an administrator.
    pub admin_role: String,
    /// The role that makes a member of staff.
    pub staff_role: String,
    /// The sociétés, a list of texts or one text with commas; `*` is every société.
    pub societes: Vec<String>,
    /// What the claim on sociétés allows.
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
    /// Whether everybody may use the relay when the server listens on `address`.
    #[must_use]
    pub fn is_open(&self, address: IpAddr) -> bool {
        match self.mode {
            AuthMode::Open => true,
            AuthMode::Required => false,
            AuthMode::Auto => address.is_loopback(),
        }
    }

    /// What does not fit together when the server listens on `address`, each with a remedy.
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
