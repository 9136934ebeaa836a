//! Limits on the number of sessions: in all, per principal and per address. An address is that of a [`ClientNetwork`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use relais_protocol::network::ClientNetwork;

use crate::config::HubConfig;
use crate::error::OpenError;
use crate::identity::Identity;

/// Session counts.
#[derive(Default)]
pub(crate) struct Admission {
    total: usize,
    principals: HashMap<Arc<str>, usize>,
    addresses: HashMap<ClientNetwork, usize>,
    anonymous: usize,
    anonymous_of_address: HashMap<ClientNetwork, usize>,
    pub draining: bool,
}

impl Admission {
    pub(crate) fn admit(
        &mut self,
        identity: &Identity,
        address: IpAddr,
        config: &HubConfig,
    ) -> Result<(), OpenError> {
        if self.draining {
            return Err(OpenError::Draining);
        }
        if self.total >= config.sessions_max {
            return Err(OpenError::TooManySessions(config.sessions_max));
        }
        let limit = config.sessions_per_address_max;
        if self.addresses.get(&address.into()).is_some_and(|n| *n >= limit) {
            return Err(OpenError::TooManyForAddress { address, limit });
        }
        self.count_principal(identity, address, config)?;
        *self.addresses.entry(address.into()).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    pub(crate) fn dismiss(&mut self, identity: &Identity, address: IpAddr) {
        self.total = self.total.saturating_sub(1);
        discount(&mut self.addresses, &address.into());
        self.discount_principal(identity, address);
    }

    pub(crate) fn exchange(
        &mut self,
        old: &Identity,
        new: &Identity,
        address: IpAddr,
        config: &HubConfig,
    ) -> Result<(), OpenError> {
        self.discount_principal(old, address);
        let outcome = self.count_principal(new, address, config);
        if outcome.is_err() {
            self.recount(old, address);
        }
        outcome
    }

    /// The number of principals with sessions whose names begin with `prefix`.
    pub(crate) fn present(&self, prefix: &str) -> usize {
        self.principals.keys().filter(|principal| principal.starts_with(prefix)).count()
    }

    fn count_principal(
        &mut self,
        identity: &Identity,
        address: IpAddr,
        config: &HubConfig,
    ) -> Result<(), OpenError> {
        if identity.anonymous {
            return self.count_anonymous(address, config);
        }
        let limit = config.sessions_per_principal_max;
        let count = self.principals.entry(Arc::clone(&identity.principal)).or_default();
        if *count >= limit {
            return Err(OpenError::TooManyForPrincipal { principal: identity.principal.to_string(), limit });
        }
        *count += 1;
        Ok(())
    }

    /// Unauthenticated sessions leave places to authenticated ones.
    fn count_anonymous(&mut self, address: IpAddr, config: &HubConfig) -> Result<(), OpenError> {
        if self.anonymous >= config.anonymous_max {
            return Err(OpenError::TooManyAnonymous(config.anonymous_max));
        }
        let limit = config.anonymous_per_address_max;
        let count = self.anonymous_of_address.entry(address.into()).or_default();
        if *count >= limit {
            return Err(OpenError::TooManyAnonymousForAddress { address, limit });
        }
        *count += 1;
        self.anonymous += 1;
        Ok(())
    }

    /// An admitted session stays admitted.
    fn recount(&mut self, identity: &Identity, address: IpAddr) {
        if identity.anonymous {
            self.anonymous += 1;
            *self.anonymous_of_address.entry(address.into()).or_default() += 1;
        } else {
            *self.principals.entry(Arc::clone(&identity.principal)).or_default() += 1;
        }
    }

    fn discount_principal(&mut self, identity: &Identity, address: IpAddr) {
        if identity.anonymous {
            self.anonymous = self.anonymous.saturating_sub(1);
            discount(&mut self.anonymous_of_address, &address.into());
        } else {
            discount(&mut self.principals, &identity.principal);
        }
    }
}

fn discount<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
