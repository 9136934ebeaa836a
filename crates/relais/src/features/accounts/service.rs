//! What may be done with users, grants and keys. Every change is recorded in its own transaction (`audit`).

use crate::auth::Auth;

/// Users, grants, keys and the record. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(super) auth: Auth,
}

impl Accounts {
    /// The accounts of this server.
    #[must_use]
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }
}
