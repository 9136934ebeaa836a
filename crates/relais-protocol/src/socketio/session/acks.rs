//! Pending acknowledgements ("Acknowledgement").

use std::collections::BTreeMap;
use std::time::Instant;

use super::Input;

/// The limit of pending acknowledgements is reached, or an id is used twice.
pub(super) struct Full;

/// Both directions: what the client owes, and what the server owes. Each entry has a deadline.
#[derive(Debug, Default)]
pub(super) struct Acks {
    last_id: u64,
    of_client: BTreeMap<u64, (String, Instant)>,
    of_server: BTreeMap<(String, u64), Instant>,
}

impl Acks {
    /// Allocates an id for an acknowledgement that the client is asked for.
    pub(super) fn ask(&mut self, namespace: &str, by: Instant, max: usize) -> Result<u64, Full> {
        if self.of_client.len() >= max {
            return Err(Full);
        }
        self.last_id += 1;
        self.of_client.insert(self.last_id, (namespace.to_owned(), by));
        Ok(self.last_id)
    }

    /// Whether the client was asked for this acknowledgement.
    pub(super) fn given_by_client(&mut self, namespace: &str, id: u64) -> bool {
        let asked = self.of_client.get(&id).is_some_and(|(asked, _)| asked == namespace);
        asked && self.of_client.remove(&id).is_some()
    }

    pub(super) fn asked_by_client(
        &mut self,
        namespace: &str,
        id: u64,
        by: Instant,
        max: usize,
    ) -> Result<(), Full> {
        let full = self.of_server.len() >= max;
        if full || self.of_server.insert((namespace.to_owned(), id), by).is_some() {
            return Err(Full);
        }
        Ok(())
    }

    /// Whether the client is waiting for this acknowledgement.
    pub(super) fn give(&mut self, namespace: &str, id: u64) -> bool {
        self.of_server.remove(&(namespace.to_owned(), id)).is_some()
    }

    pub(super) fn forget(&mut self, namespace: &str) {
        self.of_client.retain(|_, (asked, _)| asked != namespace);
        self.of_server.retain(|(asked, _), _| asked != namespace);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.of_client.values().map(|(_, by)| *by).chain(self.of_server.values().copied()).min()
    }

    /// Drops the expired ones, and returns those that the client owed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Input> {
        self.of_server.retain(|_, by| now < *by);
        let mut late = Vec::new();
        self.of_client.retain(|&id, (namespace, by)| {
            let waits = now < *by;
            if !waits {
                late.push(Input::NotAcknowledged { namespace: std::mem::take(namespace), id });
            }
            waits
        });
        late
    }
}
