//! Operations on users, grants and keys. Every change is recorded in its own transaction (`audit`).

use std::sync::Arc;

use crate::auth::{Auth, Permit, User};

/// Users, grants, keys and the audit log. Cheap to clone.
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

    /// A permit to check a user on a live connection, which ends by itself when their credential expires.
    #[must_use]
    pub fn lasting_permit(&self, user: &Arc<User>) -> Permit {
        Permit::lasting(self.auth.clone(), user)
    }
}
