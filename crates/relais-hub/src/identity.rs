//! Who a session belongs to.

use std::sync::Arc;

/// Who a session belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The principal, such as `user:0198…`; presence, limits and revocation go by it.
    pub principal: Arc<str>,
    /// Whether many unrelated people share this principal, so that the limit per principal does not apply.
    pub anonymous: bool,
    /// Names the sign-in that it came with, if that can end while the principal's others go on.
    pub sign_in: Option<Arc<str>>,
}

impl Identity {
    /// A known principal.
    #[must_use]
    pub fn of(principal: &str) -> Self {
        Self { principal: principal.into(), anonymous: false, sign_in: None }
    }

    /// Somebody who has not said who they are.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { principal: "anonymous".into(), anonymous: true, sign_in: None }
    }
}
