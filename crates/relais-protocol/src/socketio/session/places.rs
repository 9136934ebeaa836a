//! The namespaces of a client.

use super::Membership;

/// The namespaces of one connection. There are few, mostly one: an exactly sized list is smaller than a tree, and as
/// fast.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(Box<str>, Membership)>);

impl Places {
    pub(super) fn get(&self, namespace: &str) -> Option<&Membership> {
        self.0.iter().find(|(name, _)| **name == *namespace).map(|(_, membership)| membership)
    }

    pub(super) fn get_mut(&mut self, namespace: &str) -> Option<&mut Membership> {
        self.0.iter_mut().find(|(name, _)| **name == *namespace).map(|(_, membership)| membership)
    }

    pub(super) fn insert(&mut self, namespace: &str, membership: Membership) {
        if let Some(known) = self.get_mut(namespace) {
            *known = membership;
        } else {
            self.0.reserve_exact(1);
            self.0.push((namespace.into(), membership));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Membership> {
        self.0.iter().map(|(_, membership)| membership)
    }
}
