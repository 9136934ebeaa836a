//! Who a session belongs to.

use std::sync::Arc;

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal, such as `user:0198…`; presence, limits and revocation apply to it.
    pub principal: Arc<str>,
    /// Whether many unrelated people share this principal, so that the limit per principal does not apply.
    pub anonymous: bool,
    /// The sign-in that it belongs to, if that can end independently of the principal's others.
    pub sign_in: Option<Arc<str>>,
}

impl Identity {
    /// A known principal.
    #[must_use]
    pub fn of(principal: &str) -> Self {
        Self { principal: principal.into(), anonymous: false, sign_in: None }
    }

    /// An unauthenticated client.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { principal: "anonymous".into(), anonymous: true, sign_in: None }
    }
}
