//! Commands that are open, in memory: which is to be told next, and what is to be written about which. No I/O, and
//! time is passed in: steady time, so that a clock that is set neither ends a command nor prolongs one.
//!
//! What becomes of a command is decided by the database; here is what is tried. A device that is there is told each
//! command at once, in the order in which they were given: no answer, and none that is missing, holds up the next.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use relais_protocol::time::{Moment, Timestamp};

use super::command::{Answer, Command, CommandState, Delivery, Said, Step};

/// Steps that may wait to be written before answers to what is not open are passed over.
const LATE_WORK_MAX: usize = 10_000;
/// The longest wait for an answer before a device is told again, in milliseconds.
const WAIT_MS_MAX: i64 = 300_000;

/// A command that is open.
struct Open {
    id: Arc<str>,
    name: String,
    delivery: Delivery,
    /// In steady time.
    expires_at: Timestamp,
    attempts: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// For its device.
    Waiting,
    /// That it is sent is being written; the connection may be `lost` meanwhile.
    Sending { lost: bool },
    /// For an answer, until `due`; without it, until its device comes back.
    Sent { due: Option<Timestamp> },
    /// For its device, which says that it is at it.
    InProgress,
    /// Something that may end it is being written.
    Ending,
}

/// A step that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) module: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) step: Step,
    /// When the command expires, in steady time, if it is known here.
    pub(super) expires_at: Option<Timestamp>,
}

impl Work {
    /// The time of a command: what it was when it was given, and what has passed since then.
    pub(super) fn time_of(&self, command: &Command, moment: Moment) -> Timestamp {
        self.expires_at.map_or(moment.now, |expires_at| {
            command.expires_at.plus_millis(moment.steady.as_millis() - expires_at.as_millis())
        })
    }
}

/// When to look at a command again, in milliseconds; of which module, and which.
type Wake = (i64, Arc<str>, Arc<str>);

/// The open commands.
pub(super) struct CommandQueue {
    /// By module, in the order in which they were given.
    lines: HashMap<Arc<str>, VecDeque<Open>>,
    count: usize,
    /// Modules with a connection that takes commands.
    ready: HashSet<Arc<str>>,
    wakes: BTreeSet<Wake>,
    work: VecDeque<Work>,
    /// How long an answer is waited for, in milliseconds.
    wait_ms: i64,
    /// Steps that were ever to be written, and those of which it is known what became.
    pushed: u64,
    finished: u64,
    /// When it was last told the time.
    moment: Option<Moment>,
}

/// When a command expires, in steady time: no later than its time allows, whatever the clock says.
fn expiry(command: &Command, moment: Option<Moment>) -> Timestamp {
    let Some(moment) = moment else { return command.expires_at };
    let ttl_ms = command.expires_at.as_millis() - command.created_at.as_millis();
    moment.steady_at(command.expires_at).min(moment.steady.plus_millis(ttl_ms))
}

impl Open {
    fn of(command: &Command, moment: Option<Moment>) -> Self {
        Self {
            id: command.id.as_str().into(),
            name: command.command.clone(),
            delivery: command.delivery,
            expires_at: expiry(command, moment),
            attempts: command.attempts,
            phase: Phase::Waiting,
        }
    }

    fn repeats(&self) -> bool {
        self.delivery == Delivery::AtLeastOnce
    }

    fn wake(&self, module: &Arc<str>) -> Option<Wake> {
        let at = match self.phase {
            Phase::Waiting | Phase::InProgress | Phase::Sent { due: None } => self.expires_at,
            Phase::Sent { due: Some(due) } => due.min(self.expires_at),
            Phase::Sending { .. } | Phase::Ending => return None,
        };
        Some((at.as_millis(), Arc::clone(module), Arc::clone(&self.id)))
    }

    /// Whether its device may be told now.
    fn may_be_sent(&self) -> bool {
        match self.phase {
            Phase::Waiting => true,
            Phase::Sent { due: None } => self.repeats(),
            Phase::Sent { due: Some(_) } | Phase::InProgress | Phase::Sending { .. } | Phase::Ending => false,
        }
    }

    fn may_be_answered(&self) -> bool {
        self.attempts > 0
            && matches!(self.phase, Phase::Sent { .. } | Phase::InProgress | Phase::Sending { .. })
    }

    /// Whether an answer with this name is to it: its own, or what it asks for.
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.name.strip_prefix("get_") == Some(name)
    }
}

impl CommandQueue {
    /// The commands that the database has, in the order in which they were given. Of those that were sent once, nobody
    /// knows what became of them.
    pub(super) fn new(commands: &[Command], wait_ms: i64, moment: Option<Moment>) -> Self {
        let mut command_queue = Self {
            lines: HashMap::new(),
            count: 0,
            ready: HashSet::new(),
            wakes: BTreeSet::new(),
            work: VecDeque::new(),
            wait_ms,
            pushed: 0,
            finished: 0,
            moment,
        };
        for command in commands {
            let module = command_queue.add(command);
            if command.is_sent_to_device() {
                let lost = command.delivery == Delivery::AtMostOnce;
                let phase = if lost { Phase::Ending } else { Phase::Sent { due: None } };
                command_queue.set_phase(&module, &command.id, phase);
                if lost {
                    command_queue.push(&module, &command.id.as_str().into(), Step::Restart);
                }
            }
        }
        command_queue
    }

    /// Time passed.
    pub(super) fn report_time(&mut self, moment: Moment) {
        self.moment = Some(moment);
    }

    /// How many commands are open.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether there is something to write.
    pub(super) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Takes in what the log tells of a command.
    pub(super) fn observe(&mut self, command: &Command) {
        let known = self.find(&command.module, &command.id).map(|open| open.phase);
        match (command.state, known) {
            (CommandState::Queued, None) => {
                let module = self.add(command);
                self.dispatch(&module);
            }
            // Another process tells its device.
            (CommandState::Sent, Some(Phase::Waiting)) => self.sync(command, Phase::Sent { due: None }),
            (CommandState::Queued | CommandState::Sent | CommandState::InProgress, _) => {}
            _ => self.finish(&command.module, &command.id),
        }
    }

    fn add(&mut self, command: &Command) -> Arc<str> {
        let module: Arc<str> = match self.lines.get_key_value(command.module.as_str()) {
            Some((module, _)) => Arc::clone(module),
            None => command.module.as_str().into(),
        };
        let open = Open::of(command, self.moment);
        self.wakes.extend(open.wake(&module));
        self.lines.entry(Arc::clone(&module)).or_default().push_back(open);
        self.count += 1;
        module
    }

    fn find(&mut self, module: &str, id: &str) -> Option<&mut Open> {
        self.lines.get_mut(module)?.iter_mut().find(|open| &*open.id == id)
    }

    fn finish(&mut self, module: &str, id: &str) {
        let Some((module, line)) = self.lines.remove_entry(module) else { return };
        let (gone, left): (VecDeque<Open>, VecDeque<Open>) =
            line.into_iter().partition(|open| &*open.id == id);
        self.forget(&module, &gone);
        if !left.is_empty() {
            self.lines.insert(module, left);
        }
    }

    fn forget(&mut self, module: &Arc<str>, gone: &VecDeque<Open>) {
        self.count -= gone.len();
        for wake in gone.iter().filter_map(|open| open.wake(module)) {
            self.wakes.remove(&wake);
        }
    }

    /// The module is gone or somebody else's now, and its commands are gone.
    pub(super) fn clear(&mut self, module: &str) {
        if let Some((module, line)) = self.lines.remove_entry(module) {
            self.forget(&module, &line);
        }
    }

    /// The module has a connection that takes commands.
    pub(super) fn ready(&mut self, module: &str) {
        let module: Arc<str> = module.into();
        self.ready.insert(Arc::clone(&module));
        self.dispatch(&module);
    }

    /// Whether the module has a connection that takes commands.
    pub(super) fn is_ready(&self, module: &str) -> bool {
        self.ready.contains(module)
    }

    /// Whether this command waits for its device.
    pub(super) fn waits(&mut self, module: &str, id: &str) -> bool {
        self.find(module, id).is_some_and(|open| open.phase == Phase::Waiting)
    }

    /// Nothing can be said to the module for now; what it was told it may still answer.
    pub(super) fn pause(&mut self, module: &str) {
        self.ready.remove(module);
    }

    /// The module's connection ended: what was told over it and not answered will not be.
    pub(super) fn lost(&mut self, module: &str) {
        let Some(module) = self.ready.take(module) else { return };
        let Some(line) = self.lines.get(&module) else { return };
        let open: Vec<_> =
            line.iter().map(|open| (Arc::clone(&open.id), open.phase, open.repeats())).collect();
        for (id, phase, repeats) in open {
            match phase {
                Phase::Sending { .. } => self.set_phase(&module, &id, Phase::Sending { lost: true }),
                Phase::Sent { .. } | Phase::InProgress if repeats => {
                    self.set_phase(&module, &id, Phase::Sent { due: None });
                }
                Phase::Sent { .. } | Phase::InProgress => self.end(&module, &id, Step::NoAnswer),
                Phase::Waiting | Phase::Ending => {}
            }
        }
    }

    /// A device answered: to the command with this id if it says one, else to the oldest that it was told and has this
    /// name if it says one, else to the only one that it was told. Anything else changes nothing.
    pub(super) fn answered(&mut self, module: &str, id: Option<&str>, name: Option<&str>, answer: Answer) {
        let mut told = self.lines.get(module).into_iter().flatten().filter(|open| open.may_be_answered());
        let meant = match (id, name) {
            (Some(id), _) => told.find(|open| &*open.id == id),
            (None, Some(name)) => told.find(|open| open.is_called(name)),
            (None, None) => told.next().filter(|_| told.next().is_none()),
        };
        let meant = meant.map(|open| (Arc::clone(&open.id), open.phase));
        match (meant, id) {
            (Some((_, Phase::InProgress)), _) if answer.said == Said::InProgress => {}
            (Some((id, _)), _) if answer.said == Said::InProgress => {
                let module: Arc<str> = module.into();
                self.set_phase(&module, &id, Phase::InProgress);
                self.push(&module, &id, Step::Answer(answer));
            }
            (Some((id, _)), _) => self.end(&module.into(), &id, Step::Answer(answer)),
            (None, Some(id)) => self.answered_late(module, id, answer),
            (None, None) => {}
        }
    }

    /// An answer to what nothing is awaited of: the database knows whether it settles something.
    fn answered_late(&mut self, module: &str, id: &str, answer: Answer) {
        let never_sent = self.find(module, id).is_some_and(|open| open.attempts == 0);
        if never_sent || !is_id(id) {
            return;
        }
        if self.work.len() >= LATE_WORK_MAX {
            metrics::counter!("relais_live_late_answers_dropped_total").increment(1);
            return;
        }
        self.push(&module.into(), &id.into(), Step::Answer(answer));
    }

    /// Time passed: what is over ends, and devices that have not answered are told again.
    pub(super) fn look(&mut self, now: Timestamp) {
        while let Some((at, module, id)) = self.wakes.first().cloned()
            && at <= now.as_millis()
        {
            let ready = self.ready.contains(&module);
            let Some(open) = self.find(&module, &id) else {
                self.wakes.pop_first();
                continue;
            };
            let (is_over, repeats) = (open.expires_at <= now, open.repeats());
            match (is_over, repeats, ready) {
                (true, ..) => self.end(&module, &id, Step::Expire),
                (false, false, _) => self.end(&module, &id, Step::NoAnswer),
                (false, true, true) => self.send(&module, &id),
                (false, true, false) => self.set_phase(&module, &id, Phase::Sent { due: None }),
            }
        }
    }

    /// What a device that asks is to be told: all that waits. They are under way then.
    pub(super) fn take(&mut self, module: &str, limit: usize, now: Timestamp) -> Vec<Work> {
        let Some((module, line)) = self.lines.get_key_value(module) else { return Vec::new() };
        let module = Arc::clone(module);
        let next = line.iter().filter(|open| open.may_be_sent()).take(limit);
        let ids: Vec<Arc<str>> = next.map(|open| Arc::clone(&open.id)).collect();
        // Should nobody be left to hear that they are sent, they are looked at again.
        let due = Some(now.plus_millis(self.wait_ms));
        for id in &ids {
            self.set_phase(&module, id, Phase::Sent { due });
        }
        ids.iter().map(|id| self.work(&module, id, Step::Send)).collect()
    }

    /// Tells the module's device what it was not told, if it is there.
    fn dispatch(&mut self, module: &Arc<str>) {
        let Some(line) = self.lines.get(module).filter(|_| self.ready.contains(module)) else { return };
        let next: Vec<Arc<str>> =
            line.iter().filter(|open| open.may_be_sent()).map(|open| Arc::clone(&open.id)).collect();
        next.iter().for_each(|id| self.send(module, id));
    }

    fn send(&mut self, module: &Arc<str>, id: &Arc<str>) {
        self.set_phase(module, id, Phase::Sending { lost: false });
        self.push(module, id, Step::Send);
    }

    fn end(&mut self, module: &Arc<str>, id: &Arc<str>, step: Step) {
        self.set_phase(module, id, Phase::Ending);
        self.push(module, id, step);
    }

    fn push(&mut self, module: &Arc<str>, id: &Arc<str>, step: Step) {
        let work = self.work(module, id, step);
        self.pushed += 1;
        self.work.push_back(work);
    }

    fn work(&mut self, module: &Arc<str>, id: &Arc<str>, step: Step) -> Work {
        let expires_at = self.find(module, id).map(|open| open.expires_at);
        Work { module: Arc::clone(module), id: Arc::clone(id), step, expires_at }
    }

    fn set_phase(&mut self, module: &Arc<str>, id: &str, phase: Phase) {
        let Some(open) = self.find(module, id) else { return };
        let former = open.wake(module);
        open.phase = phase;
        let next = open.wake(module);
        former.map(|wake| self.wakes.remove(&wake));
        self.wakes.extend(next);
    }

    /// How many steps there were until now, to be compared with [`Self::finished`].
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// Of how many steps it is known what became.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// It is known what became of so many of those that were taken out.
    pub(super) fn finish_work(&mut self, steps: usize) {
        self.finished += steps as u64;
    }

    /// Takes out at most `limit` steps that are to be written.
    pub(super) fn take_work(&mut self, limit: usize) -> Vec<Work> {
        let count = self.work.len().min(limit);
        self.work.drain(..count).collect()
    }

    /// These could not be written.
    pub(super) fn work_again(&mut self, work: Vec<Work>) {
        work.into_iter().rev().for_each(|work| self.work.push_front(work));
    }

    /// A step was written, or could not be taken: `command` is what the database has now. Says whether the device is
    /// to be told.
    pub(super) fn written(
        &mut self,
        work: &Work,
        command: Option<&Command>,
        taken: bool,
        now: Timestamp,
    ) -> bool {
        let Some(open) = self.find(&work.module, &work.id) else { return false };
        let (phase, is_send) = (open.phase, work.step == Step::Send);
        let Some(command) = command.filter(|command| !command.is_finished()) else {
            self.finish(&work.module, &work.id);
            return false;
        };
        if work.step.is_progress() {
            return false;
        }
        let is_sent = command.is_sent_to_device();
        let waits = match command.state {
            CommandState::Sent => Phase::Sent { due: Some(self.due(command, now)) },
            CommandState::InProgress => Phase::InProgress,
            _ => Phase::Waiting,
        };
        match phase {
            // What ends it is written after that it was sent.
            Phase::Ending if is_send => return false,
            Phase::InProgress if is_send => self.sync(command, Phase::InProgress),
            Phase::Sending { lost: true } if is_sent && command.delivery == Delivery::AtMostOnce => {
                self.end(&work.module, &work.id, Step::NoAnswer);
                return false;
            }
            Phase::Sending { lost: true } if is_sent => self.sync(command, Phase::Sent { due: None }),
            Phase::Sending { .. } | Phase::Ending | Phase::InProgress | Phase::Sent { .. } => {
                self.sync(command, waits);
            }
            Phase::Waiting => return false,
        }
        let told = taken && is_send && phase == (Phase::Sending { lost: false });
        if !told {
            self.dispatch(&work.module);
        }
        told
    }

    fn sync(&mut self, command: &Command, phase: Phase) {
        if let Some(open) = self.find(&command.module, &command.id) {
            open.attempts = command.attempts;
        }
        self.set_phase(&command.module.as_str().into(), &command.id, phase);
    }

    /// Until when an answer is waited for: longer each time.
    fn due(&self, command: &Command, now: Timestamp) -> Timestamp {
        let doubled = self.wait_ms.saturating_mul(1 << command.attempts.saturating_sub(1).min(16));
        now.plus_millis(doubled.min(WAIT_MS_MAX.max(self.wait_ms)))
    }
}

/// Whether a text could be the id of a command: these are written in hexadecimal digits.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests;
