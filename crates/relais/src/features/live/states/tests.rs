//! Whatever happens in whatever order: who has not taken in how a module is has its mark, and who takes in everything
//! knows how it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const IDS: [&str; 3] = ["m-1", "m-2", "m-3"];
const OWNERS: [Option<&str>; 3] = [None, Some("user:lea"), Some("user:paul")];
const PATIENCE: Patience = Patience { offline_after_ms: 90_000, hold_ms: 5_000 };
const PAUSE_MS: i64 = 100;
const START_MS: i64 = 1_700_000_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Report(usize, u8),
    DeviceConnection(usize),
    Unlink(usize),
    Hear(usize),
    Went(usize),
    Refused(usize),
    Pass(i64),
    Look,
    /// Somebody adds it, or gives it this owner.
    Put(usize, usize),
    Remove(usize),
    TakeChanges(usize),
    /// The transaction with the changes ends, well or not.
    CommitChanges(bool),
    /// It is known here how.
    ChangesAnswered,
    TakeStates(usize),
    StatesWritten(bool),
    /// A tier is told; the hub has room for the modules of these bits.
    Publish(usize, u8),
    /// Somebody who sees all, or what is theirs, comes back.
    Resume(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..IDS.len();
    let step = prop_oneof![
        4 => (id.clone(), 0..3_u8).prop_map(|(id, value)| Step::Report(id, value)),
        2 => id.clone().prop_map(Step::DeviceConnection),
        2 => id.clone().prop_map(Step::Unlink),
        1 => id.clone().prop_map(Step::Hear),
        1 => id.clone().prop_map(Step::Went),
        1 => id.clone().prop_map(Step::Refused),
        3 => prop_oneof![1..200_i64, 5_000..20_000_i64, 60_000..100_000_i64].prop_map(Step::Pass),
        2 => Just(Step::Look),
        2 => (id.clone(), 0..OWNERS.len()).prop_map(|(id, owner)| Step::Put(id, owner)),
        1 => id.prop_map(Step::Remove),
        3 => (1..4_usize).prop_map(Step::TakeChanges),
        3 => any::<bool>().prop_map(Step::CommitChanges),
        3 => Just(Step::ChangesAnswered),
        3 => (1..4_usize).prop_map(Step::TakeStates),
        3 => any::<bool>().prop_map(Step::StatesWritten),
        4 => (0..Tier::ALL.len(), any::<u8>()).prop_map(|(tier, room)| Step::Publish(tier, room)),
        2 => (0..2_usize).prop_map(Step::Resume),
    ];
    proptest::collection::vec(step, 1..120)
}

/// How a module is.
#[derive(Clone, Debug)]
struct Truth {
    module: Module,
    telemetry: Map<String, Value>,
    presence: Presence,
}

/// Changes on their way into the log.
#[derive(Debug)]
enum Changes {
    None,
    Taken(Vec<PresenceChange>),
    Ended(Vec<PresenceChange>, bool),
}

/// What somebody sees who comes back now and then, and up to which version.
#[derive(Default)]
struct Page {
    since: Option<u64>,
    seen: BTreeMap<String, (Map<String, Value>, bool)>,
}

/// The states, how everything is, and what each consumer has taken in.
struct Reference {
    states: States,
    now: Timestamp,
    truth: BTreeMap<&'static str, Truth>,
    log: BTreeMap<String, bool>,
    changes: Changes,
    database: BTreeMap<String, StoredState>,
    writing: Vec<StoredState>,
    watchers: [BTreeMap<String, Map<String, Value>>; Tier::ALL.len()],
    pages: [Page; 2],
}

impl Reference {
    fn new() -> Self {
        let now = Timestamp::from_millis(START_MS);
        Self {
            states: States::new(Vec::new(), PATIENCE, now),
            now,
            truth: BTreeMap::new(),
            log: BTreeMap::new(),
            changes: Changes::None,
            database: BTreeMap::new(),
            writing: Vec::new(),
            watchers: Default::default(),
            pages: Default::default(),
        }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, steady: self.now }
    }

    fn take(&mut self, step: Step) {
        let (now, moment) = (self.now, self.moment());
        match step {
            Step::Report(id, value) => self.report(IDS[id], value),
            Step::DeviceConnection(id) => {
                self.states.link(IDS[id], moment);
                self.with(id, |presence| presence.link(now));
            }
            Step::Unlink(id) => {
                self.states.unlink(IDS[id], now);
                self.with(id, |presence| presence.unlink(now, PATIENCE));
            }
            Step::Hear(id) => {
                self.states.hear(IDS[id], moment);
                self.with(id, |presence| presence.hear(now, PATIENCE));
            }
            Step::Went(id) => {
                self.states.went(IDS[id], now);
                self.with(id, |presence| presence.went(now, PATIENCE));
            }
            Step::Refused(id) => {
                self.states.diagnose(IDS[id], now, |found| found.refused("code", "text".into(), moment));
            }
            Step::Pass(ms) => self.now = now.plus_millis(ms),
            Step::Look => {
                self.states.look(now);
                (0..IDS.len()).for_each(|id| self.with(id, |presence| presence.look(now)));
            }
            Step::Put(id, owner) => self.put(IDS[id], OWNERS[owner]),
            Step::Remove(id) => self.remove(IDS[id]),
            Step::TakeChanges(limit) if matches!(self.changes, Changes::None) => {
                self.changes = Changes::Taken(self.states.take_presence_changes(limit));
            }
            Step::TakeChanges(_) => {}
            Step::CommitChanges(well) => self.commit_changes(well),
            Step::ChangesAnswered => match std::mem::replace(&mut self.changes, Changes::None) {
                Changes::Ended(changes, true) => self.states.presence_published(&changes),
                Changes::Ended(changes, false) => self.states.retry_presence(&changes),
                other => self.changes = other,
            },
            Step::TakeStates(limit) if self.writing.is_empty() => {
                self.writing = self.states.take_dirty(limit);
                let ids: BTreeSet<&str> = self.writing.iter().map(|kept| &*kept.id).collect();
                assert_eq!(ids.len(), self.writing.len(), "a statement has each module at most once");
            }
            Step::TakeStates(_) => {}
            Step::StatesWritten(well) => self.write_states(well),
            Step::Publish(tier, room) => self.publish_due(Tier::ALL[tier], room),
            Step::Resume(page) => self.resume(page),
        }
    }

    fn with<T>(&mut self, id: usize, act: impl FnOnce(&mut Presence) -> T) {
        if let Some(truth) = self.truth.get_mut(IDS[id]) {
            act(&mut truth.presence);
        }
    }

    fn report(&mut self, id: &'static str, value: u8) {
        let said = Map::from_iter([("v".to_owned(), json!(value))]);
        let report = Report::of(said.clone()).unwrap();
        let news = self.states.report(id, report, self.moment()).map(Result::unwrap);
        let Some(truth) = self.truth.get_mut(id) else { return assert_eq!(news, None) };
        truth.presence.report(self.now, PATIENCE);
        let changed = truth.telemetry != said;
        truth.telemetry = said;
        assert!(!changed || news == Some(true), "another value is something to tell");
    }

    fn put(&mut self, id: &'static str, owner: Option<&str>) {
        let owner = owner.map(str::to_owned);
        let known = self.truth.get(id).map(|truth| truth.module.clone());
        let emptied = known.as_ref().is_some_and(|known| known.owner != owner && owner.is_some());
        let made_at = self.now.plus_millis(i64::try_from(self.states.version() % 1000).unwrap());
        let module = match known {
            Some(known) => Module { owner, ..known },
            None => Module {
                id: id.into(),
                name: id.into(),
                kind: "station".into(),
                owner,
                created_at: made_at,
                owned_at: made_at,
                owned_seq: 0,
                updated_at: made_at,
            },
        };
        self.states.put(module.clone(), emptied, self.now);
        let fresh = Truth { module: module.clone(), telemetry: Map::new(), presence: Presence::default() };
        let truth = self.truth.entry(id).or_insert(fresh);
        truth.module = module;
        if emptied {
            truth.telemetry.clear();
        }
    }

    fn remove(&mut self, id: &'static str) {
        self.states.remove(id, self.now);
        self.truth.remove(id);
        self.log.remove(id);
        self.database.remove(id);
        self.watchers.iter_mut().for_each(|known| drop(known.remove(id)));
    }

    /// As the transaction does it that writes changes.
    fn commit_changes(&mut self, well: bool) {
        let changes = match std::mem::replace(&mut self.changes, Changes::None) {
            Changes::Taken(changes) => changes,
            other => return self.changes = other,
        };
        for PresenceChange { online, entry } in changes.iter().filter(|_| well) {
            let truth = self.truth.get(&*entry.module.id);
            if truth.is_some_and(|truth| truth.module.created_at == entry.module.created_at) {
                let before = self.log.insert(entry.module.id.clone(), *online).unwrap_or_default();
                assert_ne!(before, *online, "it is told once that a module came or went");
            }
        }
        self.changes = Changes::Ended(changes, well);
    }

    fn write_states(&mut self, well: bool) {
        let written = std::mem::take(&mut self.writing);
        if !well {
            return self.states.keep_again(&written);
        }
        for kept in written.into_iter().filter(|kept| self.truth.contains_key(&*kept.id)) {
            let newest = self.database.get(&kept.id).is_none_or(|known| kept.version >= known.version);
            if newest {
                self.database.insert(kept.id.clone(), kept);
            }
        }
    }

    fn publish_due(&mut self, tier: Tier, room: u8) {
        let (truth, known) = (&self.truth, &mut self.watchers[tier.index()]);
        self.states.publish_due(tier, self.now, PAUSE_MS, |entry| {
            assert_eq!(entry.telemetry, truth[&*entry.module.id].telemetry, "only the newest is told");
            let place = IDS.iter().position(|id| **id == *entry.module.id).unwrap();
            let has_room = room & (1 << place) != 0;
            if has_room {
                known.insert(entry.module.id.clone(), entry.telemetry.clone());
            }
            has_room
        });
    }

    /// A page comes back with the version that it has seen, and knows what a new one would be told.
    fn resume(&mut self, number: usize) {
        let page = &mut self.pages[number];
        let sees = |owner: Option<&str>| number == 0 || owner == OWNERS[number];
        let after = page.since.and_then(|since| self.states.resume(since));
        let gone = after.map(|after| self.states.removed(after, sees, number == 0)).unwrap_or_default();
        if after.is_none() {
            page.seen.clear();
        }
        gone.iter().for_each(|id| drop(page.seen.remove(*id)));
        page.since = Some(self.states.version());
        for entry in self.states.entries.values().filter(|entry| sees(entry.module.owner.as_deref())) {
            if after.is_none_or(|after| entry.version > after) {
                let shown = (entry.telemetry.clone(), entry.presence.is_online());
                page.seen.insert(entry.module.id.clone(), shown);
            }
        }
        let whole = self.truth.iter().filter(|(_, truth)| sees(truth.module.owner.as_deref()));
        let whole = whole
            .map(|(id, truth)| ((*id).to_owned(), (truth.telemetry.clone(), truth.presence.is_online())));
        assert_eq!(page.seen, whole.collect());
    }

    /// Whoever does not know how a module is has its mark, or is just being told.
    fn check(&self) {
        for consumer in Consumer::ALL {
            let waiting: Vec<&str> = self.states.queues.waiting(consumer).iter().map(|id| &**id).collect();
            let marked = self.states.entries.values().filter(|entry| entry.marks.has(consumer));
            let marked: BTreeSet<&str> = marked.map(|entry| &*entry.module.id).collect();
            assert_eq!(waiting.iter().copied().collect::<BTreeSet<_>>(), marked, "{consumer:?}");
            assert_eq!(waiting.len(), marked.len(), "each waits once for {consumer:?}");
        }
        for (id, truth) in &self.truth {
            let entry = self.states.find(id).unwrap();
            assert_eq!((&entry.telemetry, &entry.presence), (&truth.telemetry, &truth.presence), "{id}");
            for tier in Tier::ALL {
                let known = self.watchers[tier.index()].get(*id).cloned().unwrap_or_default();
                let is_marked = entry.marks.has(Consumer::Watchers(tier));
                assert!(known == truth.telemetry || is_marked, "{id}: {tier:?} is not told");
            }
            let logged = self.log.get(*id).copied().unwrap_or_default();
            let changes: &[PresenceChange] = match &self.changes {
                Changes::Taken(changes) | Changes::Ended(changes, _) => changes,
                Changes::None => &[],
            };
            let is_under_way = changes.iter().any(|change| change.entry.module.id == **id);
            let is_known = logged == truth.presence.is_online();
            assert!(is_known || is_under_way || entry.marks.has(Consumer::Log), "{id} turned untold");
            let is_written =
                |kept: &StoredState| kept.version == entry.version && kept.telemetry == truth.telemetry;
            let mut written =
                self.writing.iter().filter(|kept| kept.id == **id).chain(self.database.get(*id));
            assert!(written.any(is_written) || entry.marks.has(Consumer::Database), "{id} is not written");
        }
    }

    /// Everything that is to be told and written is.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.take(Step::CommitChanges(true));
            self.take(Step::ChangesAnswered);
            self.take(Step::TakeChanges(usize::MAX));
        }
        self.take(Step::CommitChanges(true));
        self.take(Step::ChangesAnswered);
        for _ in 0..2 {
            self.take(Step::StatesWritten(true));
            self.take(Step::TakeStates(usize::MAX));
        }
        self.take(Step::StatesWritten(true));
        self.now = self.now.plus_millis(PAUSE_MS);
        (0..Tier::ALL.len()).for_each(|tier| self.publish_due(Tier::ALL[tier], u8::MAX));
        self.states.publish_seen(|_| {});
        assert!(Consumer::ALL.iter().all(|consumer| self.states.queues.is_empty(*consumer)));
        assert!(!self.states.has_news());
        for (id, truth) in &self.truth {
            let online = truth.presence.is_online();
            assert_eq!(self.log.get(*id).copied().unwrap_or_default(), online, "{id}");
            let kept = &self.database[*id];
            assert_eq!((&kept.telemetry, kept.online), (&truth.telemetry, online), "{id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn whoever_has_not_taken_in_how_a_module_is_has_its_mark(steps in steps()) {
        let mut reference = Reference::new();
        (0..IDS.len()).for_each(|id| reference.take(Step::Put(id, 1)));
        for step in steps {
            reference.take(step);
            reference.check();
        }
        reference.settle();
        (0..2).for_each(|page| reference.resume(page));
    }
}

#[test]
fn every_start_begins_beyond_what_was_told_before() {
    let kept = 1_000_000_000;
    let (soon, later) = (Timestamp::from_millis(1_000_400), Timestamp::from_millis(1_000_800));
    assert!(kept < first_version(kept, soon) && first_version(kept, soon) < first_version(kept, later));
    // The clock was put back.
    assert_eq!(first_version(kept, Timestamp::from_millis(5)), kept + TOLD_AGAIN);
}
