//! Devices without a connection of their own, over a broker or with calls: every message says from whom it is, and is
//! checked by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use relais_protocol::network::ClientNetwork;
use relais_protocol::time::{SharedClock, Timestamp};
use relais_store::StoreError;
use serde_json::{Map, Value};

use super::connections::DeviceConnection;
use super::model::Module;
use super::modules::wrong_credential;
use super::ranked::{Rank, Ranked};
use super::report::{Report, ReportError};
use super::service::Live;
use super::store;
use crate::AppError;
use crate::auth::secret;
use crate::error::boundary;
use crate::said::said;
use crate::token_bucket::{TokenBucket, TokenBuckets, per_second};

/// What devices say beside their values, and watchers hear as `module_<type>`.
pub const ANSWERS: &[&str] =
    &["command_response", "status_response", "reset_response", "command_error", "pong"];

/// Bytes of an id that tell tries apart: no module has a longer one.
const TRIED_ID_BYTES: usize = 128;
/// How long a device waits for this server to hear of a module that was just added elsewhere, such as on the command line.
const HEARD_OF_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether it has.
const HEARD_OF_EVERY: Duration = Duration::from_millis(50);
/// Guests that are remembered beyond those that are modules now.
const SPARE: usize = 1_000;

/// What says that a message is from its module.
#[derive(Clone, Copy)]
pub enum Showing<'a> {
    /// The module's credential, and the address that it comes from, where that is known: behind a broker it is not.
    Password(&'a str, Option<IpAddr>),
    /// Somebody who lets nobody else speak for it, such as a broker with rules.
    Vouched,
}

/// When a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Just now.
    Now,
    /// Perhaps while nobody listened: what was said over a long time comes at once, so the module's bucket is not asked.
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
    Unavailable(StoreError),
}

/// What is known of modules that come as guests.
pub(super) struct Guests {
    quota: Quota,
    clock: SharedClock,
    known: Ranked<Known>,
    /// How often each address may still try a credential that is not known to be right, by the id that it is tried with,
    /// whether there is such a module or not. Whoever guesses uses up a bucket of their own, never that of the module.
    guesses: TokenBuckets<(ClientNetwork, Box<str>)>,
}

#[derive(Default)]
struct Known {
    guests: HashMap<Box<str>, Guest>,
    /// How often somebody was forgotten: what was read before that does not count after it.
    forgotten: u64,
}

struct Guest {
    bucket: TokenBucket,
    /// Digest of the credential that is right, once the database was asked: it costs no further look there.
    right: Option<String>,
    /// Whether it was shown since then.
    proven: bool,
}

/// What a credential is worth before the database is asked.
#[derive(Debug)]
enum Worth {
    Right,
    /// Another was right when the database was last asked, which was before this state.
    Wrong(u64),
    /// The database has to say, as of this state.
    Asks(u64),
}

impl Guests {
    /// For modules that say so many messages per second.
    pub(super) fn new(messages_per_s: u32, clock: SharedClock) -> Self {
        let quota = per_second(messages_per_s);
        Self {
            quota,
            clock,
            known: Ranked::new(Rank::Leaf, Known::default()),
            guesses: TokenBuckets::new(quota),
        }
    }

    /// Runs `act` with what is known of a module, of which there are `modules` in all.
    fn with<T>(&self, module: &str, modules: usize, act: impl FnOnce(&mut Guest, u64) -> T) -> T {
        let mut known = self.known.lock();
        if !known.guests.contains_key(module) {
            if known.guests.len() >= modules + SPARE {
                known.guests.clear();
            }
            let bucket = TokenBucket::new(self.quota);
            known.guests.insert(module.into(), Guest { bucket, right: None, proven: false });
        }
        let Known { guests, forgotten } = &mut *known;
        match guests.get_mut(module) {
            Some(guest) => act(guest, *forgotten),
            None => unreachable!("it was put there under the same lock"),
        }
    }

    /// What a credential of a module is worth.
    ///
    /// # Errors
    /// [`Refused::TooFast`] for who tries too many from one address.
    fn weigh(
        &self,
        module: &str,
        modules: usize,
        digest: &str,
        from: Option<IpAddr>,
    ) -> Result<Worth, Refused> {
        let (right, proven, state) =
            self.with(module, modules, |guest, state| (guest.right.clone(), guest.proven, state));
        let is_right = right.as_deref().is_some_and(|right| secret::same(right, digest));
        if is_right && proven {
            return Ok(Worth::Right);
        }
        // Before a guess is weighed, or it would tell whether it was right.
        if from.is_some_and(|from| !self.may_guess(from, module)) {
            return Err(Refused::TooFast);
        }
        match right {
            Some(_) if is_right => {
                self.with(module, modules, |guest, _| guest.proven = true);
                Ok(Worth::Right)
            }
            Some(_) => Ok(Worth::Wrong(state)),
            None => Ok(Worth::Asks(state)),
        }
    }

    /// Takes one of the tries that an address has for a module.
    fn may_guess(&self, from: IpAddr, module: &str) -> bool {
        let who: (_, Box<str>) = (ClientNetwork::from(from), start_of(module).into());
        self.guesses.take(who, self.clock.steady()).is_ok()
    }

    /// The module has to prove itself anew.
    pub(super) fn forget(&self, module: &str) {
        let mut known = self.known.lock();
        known.forgotten += 1;
        known.guests.remove(module);
    }
}

/// As much of an id as tells it from others.
fn start_of(id: &str) -> &str {
    &id[..boundary(id, TRIED_ID_BYTES)]
}

impl Guest {
    /// A credential was shown that is right, if nothing changed since the database was asked: from now on whoever shows
    /// it needs no guess, however many others use up the bucket of the same address.
    fn prove(&mut self, digest: String, is_still_so: bool) {
        if is_still_so {
            (self.right, self.proven) = (Some(digest), true);
        }
    }

    fn take(&mut self, arrival: Arrival, now: Timestamp) -> Result<(), Refused> {
        let taken = arrival == Arrival::Late || self.bucket.take(now);
        if taken { Ok(()) } else { Err(Refused::TooFast) }
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
        let ((modules, known), now) = (self.look_up(module), self.steady());
        let Showing::Password(password, from) = showing else {
            known.then_some(()).ok_or(Refused::Unknown)?;
            return self.0.guests.with(module, modules, |guest, _| guest.take(arrival, now));
        };
        let digest = secret::digest(password);
        if !known {
            return self.admit_new(module, &digest, from).await;
        }
        let is_right = match self.0.guests.weigh(module, modules, &digest, from)? {
            Worth::Right => true,
            // It may have another since a moment ago. Where nobody knows who tries, nothing bounds how often they do.
            Worth::Wrong(state) if from.is_some() => self.ask(module, modules, &digest, state).await?,
            Worth::Wrong(_) => false,
            Worth::Asks(state) => self.ask(module, modules, &digest, state).await?,
        };
        if !is_right {
            return Err(Refused::Credential);
        }
        self.0.guests.with(module, modules, |guest, _| guest.take(arrival, now))
    }

    /// How many modules there are, and whether this is one.
    fn look_up(&self, module: &str) -> (usize, bool) {
        let states = self.0.states.lock();
        (states.len(), states.find(module).is_some())
    }

    /// What the database says of a credential.
    async fn ask(&self, module: &str, modules: usize, digest: &str, state: u64) -> Result<bool, Refused> {
        let right = self.0.modules.secret_hash(module).await.map_err(Refused::Unavailable)?;
        let right = right.ok_or(Refused::Unknown)?;
        let is_right = secret::same(&right, digest);
        self.0.guests.with(module, modules, |guest, now| {
            if state == now {
                // Whoever guesses takes nothing from a device that has shown the same.
                let proven = guest.proven && guest.right.as_ref() == Some(&right);
                (guest.right, guest.proven) = (Some(right), proven || is_right);
            }
        });
        Ok(is_right)
    }

    /// Whether a message is that of a module which this server has not heard of. Each address has the same bucket as for one
    /// that it has heard of, so that nobody learns which modules there are.
    async fn admit_new(&self, module: &str, digest: &str, from: Option<IpAddr>) -> Result<(), Refused> {
        let from = from.ok_or(Refused::Unknown)?;
        if !self.0.guests.may_guess(from, module) {
            return Err(Refused::TooFast);
        }
        // Names are free to make up: looks into the database for them have one bucket together.
        if !self.0.guests.may_guess(from, "") {
            return Err(Refused::Unknown);
        }
        let right = self.0.modules.secret_hash(module).await.map_err(Refused::Unavailable)?;
        let is_right = right.is_some_and(|right| secret::same(&right, digest));
        if is_right && self.hears_of(module).await { Ok(()) } else { Err(Refused::Unknown) }
    }

    /// Waits until this server has heard of a module that the database has; whether it has.
    async fn hears_of(&self, module: &str) -> bool {
        let until = self.0.clock.instant() + HEARD_OF_WITHIN;
        while !self.knows(module) && self.0.clock.instant() < until {
            tokio::time::sleep(HEARD_OF_EVERY).await;
        }
        self.knows(module)
    }

    /// The module that a device on a connection of its own says it is.
    ///
    /// # Errors
    /// 401 if there is none with this credential, 429 for who tries too many from one address, or what the database
    /// reports.
    pub async fn identify(&self, id: &str, credential: &str, from: IpAddr) -> Result<Module, AppError> {
        let (modules, known) = self.look_up(id);
        let digest = secret::digest(credential);
        let weighed = if known {
            self.0.guests.weigh(id, modules, &digest, Some(from)).map(Some)
        } else if self.0.guests.may_guess(from, id) {
            // As for one that there is, so that nobody learns which there are.
            Ok(None)
        } else {
            Err(Refused::TooFast)
        };
        let Ok(worth) = weighed else {
            let text = said!(
                "Trop d'essais depuis cette adresse : réessayez dans un instant (live.reports_per_s)",
                "Too many attempts from this address: try again in a moment (live.reports_per_s)"
            );
            return Err(AppError::too_many_requests("too_many_attempts", text).retry_after(1));
        };
        // Names are free to make up: looks into the database for them have one bucket together.
        if !known && !self.0.guests.may_guess(from, "") {
            return Err(wrong_credential());
        }
        let module = self.0.modules.identify(id, credential).await?;
        if let Some(Worth::Asks(state)) = worth {
            self.0.guests.with(id, modules, |guest, now| guest.prove(digest, state == now));
        }
        if self.hears_of(&module.id).await { Ok(module) } else { Err(wrong_credential()) }
    }

    /// A module was heard that has no connection of its own: it is there for `live.offline_after_s`.
    pub fn heard(&self, module: &str) {
        self.0.states.lock().hear(module, self.0.clock.moment());
        self.0.presence_changed.notify_one();
    }

    /// There is a way to a module that was heard. A connection of its own comes before it.
    pub fn reach(&self, module: &str, way: impl FnOnce() -> Arc<dyn DeviceConnection>) {
        if self.0.connections.add_route(module, way) {
            self.ready(module);
        }
    }

    /// Somebody who would know says that a module without a connection of its own is gone: its last will came. It has
    /// `live.offline_delay_s` to come back.
    pub fn went(&self, module: &str) {
        self.remove_route(module);
        self.0.states.lock().went(module, self.steady());
    }

    /// There is no way to a module any more: what it is to do waits, unless it has a connection of its own.
    pub(super) fn remove_route(&self, module: &str) {
        let _linking = self.0.linking.lock();
        if self.0.connections.remove_route(module) && self.0.connections.find(module).is_none() {
            self.with_queue(|command_queue, _| command_queue.lost(module));
        }
    }

    /// Nobody can hear, or could hear until now, the modules that were heard over ways: for `seconds` from now their
    /// silence does not count.
    pub fn excuse_silence(&self, seconds: u32) {
        let (now, modules) = (self.steady(), self.0.connections.with_routes());
        self.0.states.lock().excuse(&modules, now, now.plus_millis(i64::from(seconds) * 1000));
    }

    /// Nothing can be said over ways for now: what modules are to do waits, and those who want it now are told so.
    pub fn pause_routes(&self) {
        let _linking = self.0.linking.lock();
        self.0.connections.pause_routes(true);
        for module in self.0.connections.with_routes() {
            if !self.0.connections.is_connected(&module) {
                self.with_queue(|command_queue, _| command_queue.pause(&module));
            }
        }
    }

    /// What is said over ways arrives again.
    pub fn resume_ways(&self) {
        self.0.connections.pause_routes(false);
        self.0.connections.with_routes().iter().for_each(|module| self.ready(module));
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
        self.0.store.write_rows(move |tx| store::filters::replace(tx, &client_id, &filters)).await
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
    use relais_testkit::TestClock;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn guests(messages_per_s: u32) -> Guests {
        Guests::new(messages_per_s, TestClock::at(START.as_millis()))
    }

    #[test]
    fn whoever_guesses_does_not_silence_the_module() {
        let guests = guests(10);
        let weigh = |digest: &str, from: &str| guests.weigh("m", 1, digest, Some(from.parse().unwrap()));
        let (guesser, device) = ("198.51.100.1", "192.0.2.7");
        assert_eq!((0..100).filter(|_| matches!(weigh("wrong", guesser), Ok(Worth::Asks(_)))).count(), 20);
        assert!(
            matches!(weigh("right", guesser), Err(Refused::TooFast)),
            "a guess does not tell that it is right"
        );
        assert!(matches!(weigh("right", device), Ok(Worth::Asks(_))));
        guests.with("m", 1, |guest, _| (guest.right, guest.proven) = (Some("right".into()), true));
        assert!((0..100).all(|_| matches!(weigh("right", device), Ok(Worth::Right))));
        assert!(matches!(weigh("right", guesser), Ok(Worth::Right)), "it may sit behind the same address");
        assert!(matches!(weigh("wrong", "203.0.113.9"), Ok(Worth::Wrong(_))));
    }

    #[test]
    fn behind_a_broker_a_wrong_credential_costs_nobody_anything() {
        let guests = guests(10);
        assert!(matches!(guests.weigh("m", 1, "wrong", None), Ok(Worth::Asks(_))));
        guests.with("m", 1, |guest, _| guest.right = Some("right".into()));
        assert!((0..100).all(|_| matches!(guests.weigh("m", 1, "wrong", None), Ok(Worth::Wrong(_)))));
        assert!(matches!(guests.weigh("m", 1, "right", None), Ok(Worth::Right)));
    }

    #[test]
    fn what_was_said_while_nobody_listened_may_come_at_once() {
        let guests = guests(10);
        let taken = |arrival| guests.with("m", 1, |guest, _| guest.take(arrival, START).is_ok());
        assert!((0..100).all(|_| taken(Arrival::Late)));
        assert_eq!((0..100).filter(|_| taken(Arrival::Now)).count(), 20);
    }

    #[test]
    fn a_module_that_is_forgotten_proves_itself_anew() {
        let guests = guests(10);
        let before = guests.with("m", 1, |guest, state| {
            (guest.right, guest.proven) = (Some("right".into()), true);
            state
        });
        guests.forget("m");
        let after = guests.weigh("m", 1, "right", None);
        assert!(matches!(after, Ok(Worth::Asks(state)) if state != before));
    }

    #[test]
    fn there_are_no_more_guests_than_there_is_room_for() {
        let guests = guests(1);
        for number in 0..3 * SPARE {
            guests.with(&number.to_string(), 1, |_, _| ());
        }
        assert!(guests.known.lock().guests.len() <= SPARE + 1);
    }
}
