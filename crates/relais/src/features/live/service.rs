//! Modules and what its parts share.

use std::sync::Arc;

use relais_store::Store;

use super::catalogue::Catalogue;
use crate::config::LiveConfig;
use crate::features::accounts::Accounts;

/// Modules: who has which, and how they are. Cheap to clone.
#[derive(Clone)]
pub struct Live(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) accounts: Accounts,
    pub(super) catalogue: Catalogue,
}

impl Live {
    /// The modules in this store.
    #[must_use]
    pub fn new(store: Store, accounts: Accounts, config: &LiveConfig) -> Self {
        Self(Arc::new(Inner { store, accounts, catalogue: Catalogue::new(config) }))
    }
}
