//! How every module is, in memory: what the database keeps is written after it.
//!
//! Every change gets a version, a number that grows over all modules: whoever knows the version that they have seen
//! gets what changed since. No I/O, and time is passed in: steady time, so that a clock that is set neither has modules go
//! nor keeps them. When one was last seen is told in the time of day.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use relais_protocol::time::{Moment, Timestamp};

use super::diagnosis::Diagnosis;
use super::dirty::{Consumer, Queues};
use super::entry::{Entry, PresenceChange, StoredState, Told};
use super::model::Module;
use super::presence::{Patience, Presence};
use super::report::{Report, ReportError, When};
use super::tier::Tier;

/// Removed modules that are remembered; whoever has seen less gets a whole snapshot.
const REMOVALS_MAX: usize = 10_000;
/// How often it is told of a module that it was seen while its values stay the same, in milliseconds.
const SEEN_EVERY_MS: i64 = 60_000;
/// Versions that are told again to whoever returns: ten seconds of them. Changes are not told in the order of their
/// versions, as some wait for a moment in which others are told: the slowest tier waits five seconds.
const TOLD_AGAIN: u64 = 10_000_000;

/// A module that somebody sees no more.
struct Removal {
    version: u64,
    id: Arc<str>,
    /// Who saw it beside administrators.
    owner: Option<String>,
    /// Whether it went from its owner only, and is still there for administrators.
    moved: bool,
}

/// Every module.
pub(super) struct States {
    entries: HashMap<Arc<str>, Entry>,
    patience: Patience,
    /// Of the last change.
    version: u64,
    /// Changes after this version are known.
    known_since: u64,
    removals: VecDeque<Removal>,
    /// Who has still to take in which modules.
    queues: Queues,
    /// How often something was to be written.
    changes: u64,
}

impl States {
    /// The modules of the database, and how they were when it was last written.
    pub(super) fn new(
        modules: Vec<(Module, Option<StoredState>)>,
        patience: Patience,
        now: Timestamp,
    ) -> Self {
        let last = modules.iter().filter_map(|(_, kept)| kept.as_ref()).map(|kept| kept.version).max();
        let version = first_version(last.unwrap_or_default(), now);
        let mut states = Self {
            entries: HashMap::with_capacity(modules.len()),
            patience,
            version,
            known_since: version,
            removals: VecDeque::new(),
            queues: Queues::default(),
            changes: 0,
        };
        for (module, kept) in modules {
            let online = kept.as_ref().is_some_and(|kept| kept.online);
            let entry = Entry {
                presence: Presence::remembered(online, now, patience),
                told: Told { online, ..Told::default() },
                version: kept.as_ref().map_or(version, |kept| kept.version),
                last_seen: kept.as_ref().and_then(|kept| kept.last_seen),
                telemetry: kept.map(|kept| kept.telemetry).unwrap_or_default(),
                ..Entry::of(module)
            };
            states.entries.insert(entry.module.id.as_str().into(), entry);
        }
        states
    }

    fn next_version(&mut self, now: Timestamp) -> u64 {
        self.version = micros(now).max(self.version + 1);
        self.version
    }

    /// The version of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A module was added, or is another now; `emptied` if it has to forget what it said.
    pub(super) fn put(&mut self, module: Module, emptied: bool, now: Timestamp) {
        let version = self.next_version(now);
        let id: Arc<str> = module.id.as_str().into();
        match self.entries.get_mut(&id) {
            None => {
                let entry = Entry { version, ..Entry::of(module) };
                self.entries.insert(Arc::clone(&id), entry);
            }
            Some(entry) => {
                let former = std::mem::replace(&mut entry.module, module);
                entry.version = version;
                if emptied {
                    entry.empty();
                }
                if former.owner != entry.module.owner {
                    let removal = Removal { version, id: Arc::clone(&id), owner: former.owner, moved: true };
                    self.remember(removal);
                    // The new owner knows nothing of it yet.
                    self.mark_for_watchers(&id);
                }
            }
        }
        self.keep(&id);
    }

    /// Notes that watchers of every tier are to be told how a module is, if there is more to say than that it is there.
    pub(super) fn republish(&mut self, id: &str) {
        let found = self.entries.get_key_value(id);
        if let Some((id, _)) =
            found.filter(|(_, entry)| entry.presence.is_online() || !entry.telemetry.is_empty())
        {
            self.mark_for_watchers(&Arc::clone(id));
        }
    }

    /// Notes that watchers of every tier are to be told of a module's values.
    fn mark_for_watchers(&mut self, id: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        for tier in Tier::ALL {
            self.queues.mark(id, &mut entry.marks, Consumer::Watchers(tier));
        }
    }

    fn mark(&mut self, id: &Arc<str>, consumer: Consumer) {
        if let Some(entry) = self.entries.get_mut(id) {
            self.queues.mark(id, &mut entry.marks, consumer);
        }
    }

    /// A module was removed.
    pub(super) fn remove(&mut self, id: &str, now: Timestamp) {
        if let Some((id, entry)) = self.entries.remove_entry(id) {
            self.queues.forget(&id, entry.marks);
            let version = self.next_version(now);
            self.remember(Removal { version, id, owner: entry.module.owner, moved: false });
        }
    }

    fn remember(&mut self, removal: Removal) {
        if self.removals.len() >= REMOVALS_MAX
            && let Some(forgotten) = self.removals.pop_front()
        {
            self.known_since = forgotten.version;
        }
        self.removals.push_back(removal);
    }

    /// Notes something that is wrong with a module; the module if that is to be told. `now` is steady time.
    pub(super) fn diagnose(
        &mut self,
        id: &str,
        now: Timestamp,
        note: impl FnOnce(&mut Diagnosis) -> bool,
    ) -> Option<Entry> {
        let (key, entry) = self.entry(id)?;
        if !note(&mut entry.diagnosis) {
            return None;
        }
        let version = self.next_version(now);
        let entry = self.entries.get_mut(&key)?;
        entry.version = version;
        let told = entry.clone();
        self.keep(&key);
        Some(told)
    }

    /// The module's connection stands.
    pub(super) fn link(&mut self, id: &str, moment: Moment) {
        self.touch(id, moment, |entry, _| entry.presence.link(moment.steady));
    }

    /// The module's connection ended.
    pub(super) fn unlink(&mut self, id: &str, now: Timestamp) {
        let patience = self.patience;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.presence.unlink(now, patience);
        }
    }

    /// The module was heard without a connection of its own.
    pub(super) fn hear(&mut self, id: &str, moment: Moment) {
        self.touch(id, moment, |entry, patience| entry.presence.hear(moment.steady, patience));
    }

    /// Its last will came.
    pub(super) fn went(&mut self, id: &str, now: Timestamp) {
        let patience = self.patience;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.presence.went(now, patience);
        }
    }

    /// Nobody could hear these: their silence does not count before `until`.
    pub(super) fn excuse(&mut self, ids: &[String], now: Timestamp, until: Timestamp) {
        for id in ids {
            if let Some(entry) = self.entries.get_mut(id.as_str()) {
                entry.presence.excuse(now, until);
            }
        }
    }

    /// A module reported. Says whether there is something to tell; nothing if there is no such module.
    pub(super) fn report(
        &mut self,
        id: &str,
        report: Report,
        moment: Moment,
    ) -> Option<Result<bool, ReportError>> {
        let (now, when) = (moment.steady, report.when(moment.now));
        let entry = self.entries.get_mut(id)?;
        // What was measured before that which is known is history: it does not put values back.
        let is_late = matches!(when, When::Then(at) if at < entry.measured_at);
        let changed = match if is_late { Ok(false) } else { report.merge_into(&mut entry.telemetry) } {
            Ok(changed) => changed,
            Err(error) => return Some(Err(error)),
        };
        match when {
            // One whose clock was ahead is not late for ever once it is right.
            When::Then(at) => {
                entry.measured_at = if is_late { entry.measured_at.min(moment.now) } else { at }
            }
            When::Implausible(_) => entry.report_time(now),
            When::Now(_) => {}
        }
        self.touch(id, moment, |entry, patience| entry.presence.report(now, patience));
        if changed {
            let version = self.next_version(now);
            let (key, entry) = self.entry(id)?;
            entry.version = version;
            self.mark_for_watchers(&key);
            self.keep(&key);
        }
        let seen = !changed && self.note_seen(id, now);
        Some(Ok(changed || seen))
    }

    /// Nothing is told of a report that says nothing new, but now and then that the module was seen.
    fn note_seen(&mut self, id: &str, now: Timestamp) -> bool {
        let Some((key, entry)) = self.entry(id) else { return false };
        let due = now.as_millis() - entry.told.seen_ms >= SEEN_EVERY_MS;
        if due {
            entry.told.seen_ms = now.as_millis();
            self.mark(&key, Consumer::LastSeen);
            self.keep(&key);
        }
        due
    }

    /// Hands every module to `tell` that was seen, with nothing else to tell.
    pub(super) fn publish_seen(&mut self, mut publish: impl FnMut(&Entry)) {
        self.take(Consumer::LastSeen, usize::MAX, |entry| publish(entry));
    }

    /// The module gave a sign of life; `came` says whether it was away.
    fn touch(&mut self, id: &str, moment: Moment, came: impl FnOnce(&mut Entry, Patience) -> bool) {
        let patience = self.patience;
        let Some((key, entry)) = self.entry(id) else { return };
        entry.last_seen = Some(moment.now);
        if came(entry, patience) {
            self.presence_changed(&key, moment.steady);
        }
    }

    fn presence_changed(&mut self, id: &Arc<str>, now: Timestamp) {
        let version = self.next_version(now);
        if let Some(entry) = self.entries.get_mut(id) {
            entry.version = version;
        }
        self.keep(id);
        self.mark(id, Consumer::Log);
    }

    fn entry(&mut self, id: &str) -> Option<(Arc<str>, &mut Entry)> {
        let key = Arc::clone(self.entries.get_key_value(id)?.0);
        let entry = self.entries.get_mut(id)?;
        Some((key, entry))
    }

    fn keep(&mut self, id: &Arc<str>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.text = None;
        self.changes += 1;
        self.queues.mark(id, &mut entry.marks, Consumer::Database);
    }

    /// Hands at most `limit` modules to `taken` that a consumer has still to take in, the longest waiting first.
    fn take(&mut self, consumer: Consumer, limit: usize, mut taken: impl FnMut(&mut Entry)) {
        for id in self.queues.take(consumer, limit) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.marks.clear(consumer);
                taken(entry);
            }
        }
    }

    /// Time passed: notes who is gone, and says it. Called about every second.
    pub(super) fn look(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        let looked_at = self.entries.iter_mut();
        let gone = looked_at.filter_map(|(id, entry)| entry.presence.look(now).then(|| Arc::clone(id)));
        let gone: Vec<Arc<str>> = gone.collect();
        for id in &gone {
            self.presence_changed(id, now);
        }
        gone
    }

    /// The modules whose trouble is over.
    pub(super) fn look_at_troubles(&mut self, now: Timestamp) -> Vec<Entry> {
        let troubled = self.entries.iter().filter(|(_, entry)| entry.diagnosis.trouble.is_some());
        let troubled: Vec<Arc<str>> = troubled.map(|(id, _)| Arc::clone(id)).collect();
        troubled.iter().filter_map(|id| self.diagnose(id, now, |found| found.look(now))).collect()
    }

    /// Takes out at most `limit` modules that came or went since they were last taken out.
    pub(super) fn take_presence_changes(&mut self, limit: usize) -> Vec<PresenceChange> {
        let mut changes = Vec::new();
        // Not all that could be news is: nothing waits behind what is not.
        while changes.is_empty() && !self.queues.is_empty(Consumer::Log) {
            self.take(Consumer::Log, limit, |entry| {
                let online = entry.presence.is_online();
                if entry.told.online != online {
                    changes.push(PresenceChange { online, entry: entry.clone() });
                }
            });
        }
        changes
    }

    /// The log says so now.
    pub(super) fn presence_published(&mut self, changes: &[PresenceChange]) {
        for PresenceChange { online, entry: told } in changes {
            // The database may have been slow: whoever was away just now is told, whatever they saw before.
            self.version += 1;
            let version = self.version;
            let Some((id, entry)) = self.entry(&told.module.id) else { continue };
            // Of one with the same name that was added meanwhile, the log says nothing yet.
            if entry.module.created_at == told.module.created_at {
                (entry.told.online, entry.version) = (*online, version);
                // Its version is another now.
                self.keep(&id);
            }
        }
    }

    /// These could not be told.
    pub(super) fn retry_presence(&mut self, changes: &[PresenceChange]) {
        for PresenceChange { entry, .. } in changes {
            if let Some((id, _)) = self.entry(&entry.module.id) {
                self.mark(&id, Consumer::Log);
            }
        }
    }

    /// How often something came to be written: whoever writes everything that is to be written now has all of these.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many states are to be written.
    pub(super) fn count_dirty(&self) -> usize {
        self.queues.len(Consumer::Database)
    }

    /// Takes out at most `limit` states that are to be written, the longest waiting first.
    pub(super) fn take_dirty(&mut self, limit: usize) -> Vec<StoredState> {
        let mut taken = Vec::with_capacity(limit.min(self.count_dirty()));
        self.take(Consumer::Database, limit, |entry| taken.push(entry.kept()));
        taken
    }

    /// Writes these again: they could not be written.
    pub(super) fn keep_again(&mut self, kept: &[StoredState]) {
        for kept in kept {
            if let Some((key, _)) = self.entry(&kept.id) {
                self.keep(&key);
            }
        }
    }

    /// Whether watchers of a tier are to be told something.
    pub(super) fn has_unpublished(&self, tier: Tier) -> bool {
        !self.queues.is_empty(Consumer::Watchers(tier))
            || (tier == Tier::Live && !self.queues.is_empty(Consumer::LastSeen))
    }

    /// Whether live watchers, or the log, are still to be told something.
    pub(super) fn has_news(&self) -> bool {
        let turned = |entry: &Entry| entry.told.online != entry.presence.is_online();
        self.has_unpublished(Tier::Live) || self.entries.values().any(turned)
    }

    /// Hands every module of which a tier's watchers are to be told to `tell`, which takes it or has it wait: those
    /// that were told less than `pause_ms` ago.
    pub(super) fn publish_due(
        &mut self,
        tier: Tier,
        now: Timestamp,
        pause_ms: i64,
        mut publish: impl FnMut(&Entry) -> bool,
    ) {
        let consumer = Consumer::Watchers(tier);
        for id in self.queues.take(consumer, usize::MAX) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let too_soon = tier == Tier::Live && now.as_millis() - entry.told.values_ms < pause_ms;
            if too_soon || !publish(entry) {
                self.queues.put_back(consumer, id);
                continue;
            }
            entry.marks.clear(consumer);
            if tier == Tier::Live {
                (entry.told.values_ms, entry.told.seen_ms) = (now.as_millis(), now.as_millis());
            }
        }
    }

    /// One module.
    pub(super) fn find(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// One module, to be read as text.
    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// All modules, in no order, to be read as text.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many there are, and how many of them are online, as far as `sees` lets one see.
    pub(super) fn count(&self, sees: impl Fn(&Module) -> bool) -> (usize, usize) {
        let seen = self.entries.values().filter(|entry| sees(&entry.module));
        seen.fold((0, 0), |(all, online), entry| (all + 1, online + usize::from(entry.presence.is_online())))
    }

    /// The version after which somebody is told everything who has seen `since`; nothing if they need everything.
    pub(super) fn resume(&self, since: u64) -> Option<u64> {
        let known = (self.known_since..=self.version).contains(&since);
        known.then(|| since.saturating_sub(TOLD_AGAIN).max(self.known_since))
    }

    /// The ids of modules that somebody saw and sees no more, of changes after `since`.
    pub(super) fn removed(
        &self,
        since: u64,
        saw: impl Fn(Option<&str>) -> bool,
        sees_all: bool,
    ) -> Vec<&str> {
        let removed = self.removals.iter().filter(|removal| removal.version > since);
        let seen = removed.filter(|removal| !(removal.moved && sees_all) && saw(removal.owner.as_deref()));
        seen.map(|removal| &*removal.id).collect()
    }
}

/// Beyond every version that was told before the start, kept or not. The time is: what counts on from the last one would
/// be the same at two starts between which nothing was kept, and whoever comes back from the first would be told nothing.
fn first_version(last_kept: u64, now: Timestamp) -> u64 {
    let now = micros(now);
    // Versions are ahead of the time by as many changes as there were at once.
    if now > last_kept + TOLD_AGAIN / 100 { now } else { last_kept + TOLD_AGAIN }
}

fn micros(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or_default().saturating_mul(1000)
}

#[cfg(test)]
mod tests;
