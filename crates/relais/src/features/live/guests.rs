//! Devices without a connection of their own, over a broker or with calls: every message says from whom it is, and is
//! checked by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use relais_store::StoreError;
use serde_json::{Map, Value};

use super::links::Link;
use super::report::{Report, ReportError};
use super::service::Live;
use super::store;
use crate::AppError;
use crate::auth::secret;
use crate::pace::Pace;

/// What devices say beside their values, and watchers hear as `module_<type>`.
pub const ANSWERS: &[&str] =
    &["command_response", "status_response", "reset_response", "command_error", "pong"];

/// Guests that are remembered beyond those that are modules now.
const SPARE: usize = 1_000;

/// What says that a message is from its module.
#[derive(Clone, Copy)]
pub enum Showing<'a> {
    /// The module's credential.
    Password(&'a str),
    /// Somebody who lets nobody else speak for it, such as a broker with rules.
    Vouched,
}

/// When a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Just now.
    Now,
    /// Perhaps while nobody listened: what was said over a long time comes at once, so the module's pace is not asked.
    Late,
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such module.
    #[error("there is no such module")]
    Unknown,
    /// It does not show the module's credential.
    #[error("the password is not the module's")]
    Credential,
    /// The module sends more than it may; a second later it may again.
    #[error("more messages than live.reports_per_s")]
    TooFast,
    /// It could not be checked.
    #[error("{0}")]
    Unavailable(AppError),
}

/// What is known of modules that come as guests.
pub(super) struct Guests {
    per_second: u32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    guests: HashMap<Box<str>, Guest>,
    /// How often somebody was forgotten: what was read before that does not count after it.
    forgotten: u64,
}

struct Guest {
    pace: Pace,
    /// Credentials that are not known to be right cost a look into the database. They have a pace of their own, so that
    /// whoever guesses does not silence the module.
    guesses: Pace,
    /// Digest of the credential that was right.
    proof: Option<String>,
}

/// What a credential is worth before the database is asked.
enum Worth {
    Proven,
    /// The database has to say, as of this state.
    Asks(u64),
}

impl Guests {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, known: Mutex::default() }
    }

    /// Runs `act` with what is known of a module, of which there are `modules` in all.
    fn with<T>(&self, module: &str, modules: usize, act: impl FnOnce(&mut Guest, u64) -> T) -> T {
        let mut known = self.known.lock();
        if !known.guests.contains_key(module) {
            if known.guests.len() >= modules + SPARE {
                known.guests.clear();
            }
            let (now, per_second) = (Instant::now(), self.per_second);
            let pace = Pace::new(per_second, now);
            known.guests.insert(module.into(), Guest { guesses: pace.clone(), pace, proof: None });
        }
        let Known { guests, forgotten } = &mut *known;
        match guests.get_mut(module) {
            Some(guest) => act(guest, *forgotten),
            None => unreachable!("it was put there under the same lock"),
        }
    }

    /// The module has to prove itself anew.
    pub(super) fn forget(&self, module: &str) {
        let mut known = self.known.lock();
        known.forgotten += 1;
        known.guests.remove(module);
    }
}

impl Guest {
    fn take(&mut self, arrival: Arrival) -> Result<(), Refused> {
        let taken = arrival == Arrival::Late || self.pace.take(Instant::now());
        if taken { Ok(()) } else { Err(Refused::TooFast) }
    }

    fn weigh(&mut self, digest: &str, arrival: Arrival, state: u64) -> Result<Worth, Refused> {
        if self.proof.as_deref().is_some_and(|proof| secret::same(proof, digest)) {
            return self.take(arrival).map(|()| Worth::Proven);
        }
        if self.guesses.take(Instant::now()) { Ok(Worth::Asks(state)) } else { Err(Refused::TooFast) }
    }
}

impl Live {
    /// Whether there is such a module.
    #[must_use]
    pub fn knows(&self, module: &str) -> bool {
        self.0.states.lock().find(module).is_some()
    }

    /// Whether a message is taken for this module's.
    ///
    /// # Errors
    /// [`Refused`] says why it is not.
    pub async fn admit(&self, module: &str, showing: Showing<'_>, arrival: Arrival) -> Result<(), Refused> {
        let modules = {
            let states = self.0.states.lock();
            states.find(module).ok_or(Refused::Unknown)?;
            states.len()
        };
        let Showing::Password(password) = showing else {
            return self.0.guests.with(module, modules, |guest, _| guest.take(arrival));
        };
        let digest = secret::digest(password);
        let worth =
            self.0.guests.with(module, modules, |guest, state| guest.weigh(&digest, arrival, state))?;
        let Worth::Asks(state) = worth else { return Ok(()) };
        match self.0.modules.identify(module, password).await {
            Ok(_) => self.0.guests.with(module, modules, |guest, now| {
                if state == now {
                    guest.proof = Some(digest);
                }
                guest.take(arrival)
            }),
            Err(error) if error.is_unauthorized() => Err(Refused::Credential),
            Err(error) => Err(Refused::Unavailable(error)),
        }
    }

    /// A module was heard that has no connection of its own: it is there for `live.offline_after_s`.
    pub fn heard(&self, module: &str) {
        self.0.states.lock().hear(module, self.0.clock.moment());
        self.0.turned.notify_one();
    }

    /// There is a way to a module that was heard. A connection of its own comes before it.
    pub fn reach(&self, module: &str, way: impl FnOnce() -> Arc<dyn Link>) {
        if self.0.links.open_way(module, way) {
            self.ready(module);
        }
    }

    /// Somebody who would know says that a module without a connection of its own is gone: its last will came. It has
    /// `live.offline_delay_s` to come back.
    pub fn went(&self, module: &str) {
        self.lose_way(module);
        self.0.states.lock().went(module, self.steady());
    }

    /// There is no way to a module any more: what it is to do waits, unless it has a connection of its own.
    pub(super) fn lose_way(&self, module: &str) {
        let _linking = self.0.linking.lock();
        if self.0.links.lose_way(module) && self.0.links.find(module).is_none() {
            self.on_board(|board, _| board.lost(module));
        }
    }

    /// Nobody can hear, or could hear until now, the modules that were heard over ways: for `seconds` from now their
    /// silence does not count.
    pub fn excuse_silence(&self, seconds: u32) {
        let (now, modules) = (self.steady(), self.0.links.with_ways());
        self.0.states.lock().excuse(&modules, now, now.plus_millis(i64::from(seconds) * 1000));
    }

    /// Nothing can be said over ways for now: what modules are to do waits, and those who want it now are told so.
    pub fn pause_ways(&self) {
        let _linking = self.0.linking.lock();
        self.0.links.pause_ways(true);
        for module in self.0.links.with_ways() {
            if !self.0.links.is_connected(&module) {
                self.on_board(|board, _| board.pause(&module));
            }
        }
    }

    /// What is said over ways arrives again.
    pub fn resume_ways(&self) {
        self.0.links.pause_ways(false);
        self.0.links.with_ways().iter().for_each(|module| self.ready(module));
    }

    /// What a broker was asked for under this name, and may still send.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn broker_filters(&self, client_id: &str) -> Result<Vec<String>, StoreError> {
        let client_id = client_id.to_owned();
        self.0.store.read(move |tx| store::filters::list(tx, &client_id)).await
    }

    /// What a broker sends under this name from now on.
    ///
    /// # Errors
    /// What the database reports.
    pub async fn keep_broker_filters(&self, client_id: &str, filters: &[String]) -> Result<(), StoreError> {
        let (client_id, filters) = (client_id.to_owned(), filters.to_vec());
        self.0.store.write(move |tx| store::filters::replace(tx, &client_id, &filters)).await
    }

    /// What a module said: an answer if `kind` is one of [`ANSWERS`], else values.
    ///
    /// # Errors
    /// [`ReportError`] if the values cannot be taken.
    pub fn take_message(
        &self,
        module: &str,
        kind: &str,
        message: Map<String, Value>,
    ) -> Result<(), ReportError> {
        if ANSWERS.contains(&kind) {
            self.answered(module, kind, message);
            return Ok(());
        }
        Report::of(message).and_then(|report| self.report(module, report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_guesses_does_not_silence_the_module() {
        let guests = Guests::new(10);
        guests.with("m", 1, |guest, _| guest.proof = Some("right".into()));
        let weigh =
            |digest: &str| guests.with("m", 1, |guest, state| guest.weigh(digest, Arrival::Now, state));
        assert_eq!((0..100).filter(|_| matches!(weigh("wrong"), Ok(Worth::Asks(_)))).count(), 20);
        assert_eq!((0..100).filter(|_| matches!(weigh("right"), Ok(Worth::Proven))).count(), 20);
    }

    #[test]
    fn what_was_said_while_nobody_listened_may_come_at_once() {
        let guests = Guests::new(10);
        let taken = |arrival| guests.with("m", 1, |guest, _| guest.take(arrival).is_ok());
        assert!((0..100).all(|_| taken(Arrival::Late)));
        assert_eq!((0..100).filter(|_| taken(Arrival::Now)).count(), 20);
    }

    #[test]
    fn a_module_that_is_forgotten_proves_itself_anew() {
        let guests = Guests::new(10);
        let before = guests.with("m", 1, |guest, state| {
            guest.proof = Some("right".into());
            state
        });
        guests.forget("m");
        let after = guests.with("m", 1, |guest, state| guest.weigh("right", Arrival::Now, state));
        assert!(matches!(after, Ok(Worth::Asks(state)) if state != before));
    }

    #[test]
    fn there_are_no_more_guests_than_there_is_room_for() {
        let guests = Guests::new(1);
        for number in 0..3 * SPARE {
            guests.with(&number.to_string(), 1, |_, _| ());
        }
        assert!(guests.known.lock().guests.len() <= SPARE + 1);
    }
}
