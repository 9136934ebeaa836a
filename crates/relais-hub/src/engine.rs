//! The hub's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use relais_protocol::event::{Channel, Event};
use relais_protocol::time::SharedClock;
use tokio::sync::oneshot;

use crate::close::CloseReason;
use crate::config::{HubConfig, Ticks};
use crate::dialect::Dialect;
use crate::identity::Identity;
use crate::inbox::{Command, Join, Woken};
use crate::members::{Entry, Members};
use crate::pass::Pass;
use crate::presence::{Presence, PresenceWatcher};
use crate::session::{JoinPoint, Session};
use crate::shared::Shared;
use crate::stats::Meters;
use crate::subscription::Subscription;
use crate::timer_wheel::TimerWheel;

/// For so long after several frames were written at once, more are expected close together.
const BURST_LASTS: Duration = Duration::from_millis(100);
/// The pause before a pass is at most this fraction of the duration of the previous pass, so that the delay is not
/// noticeable.
const REST_PART: u32 = 8;
const REST_MAX: Duration = Duration::from_millis(1);

/// Burst detection. During a burst, a short pause before each pass gathers more frames per write; a single message is
/// never delayed.
struct Burst {
    rest_min: Duration,
    rest: Duration,
    until: Option<Instant>,
}

impl Burst {
    fn new(config: &HubConfig) -> Self {
        let rest_min = Duration::from_micros(config.burst_pause_us);
        Self { rest_min, rest: rest_min, until: None }
    }

    /// Records how long a pass took, and whether it carried several frames of a stream.
    fn note(&mut self, now: Instant, took: Duration, busy: bool) {
        if busy && !self.rest_min.is_zero() {
            self.until = Some(now + BURST_LASTS);
            self.rest = (took / REST_PART).min(REST_MAX).max(self.rest_min);
        }
    }

    /// How long to pause before the next pass.
    fn rest(&mut self, now: Instant) -> Option<Duration> {
        self.until = self.until.filter(|until| now < *until);
        self.until.map(|_| self.rest)
    }
}

/// The second by which at least so many have fully elapsed: the current one has already begun. 0 is never.
fn deadline(now_s: u32, within_s: Option<u32>) -> u32 {
    within_s.map_or(0, |seconds| now_s + seconds + 1)
}

/// Everything the hub's thread owns.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) members: Members,
    pub(crate) timer_wheel: TimerWheel<(u32, u64)>,
    pass: Pass,
    head_seq: u64,
    when_empty: Vec<oneshot::Sender<()>>,
    meters: Meters,
}

impl Engine {
    pub(crate) fn new(shared: Arc<Shared>, watcher: Arc<dyn PresenceWatcher>) -> Self {
        Self {
            members: Members::new(watcher),
            timer_wheel: TimerWheel::new(),
            pass: Pass::new(&shared),
            head_seq: shared.figures.head_seq.load(Relaxed),
            when_empty: Vec::new(),
            meters: Meters::new(),
            shared,
        }
    }

    /// Runs until the inbox is stopped, then drops every session.
    pub(crate) fn run(mut self) {
        let (clock, mut commands) = (SharedClock::clone(&self.shared.config.clock), VecDeque::new());
        let mut next_tick = match self.shared.config.ticks {
            Ticks::System => Some(clock.instant() + Duration::from_secs(1)),
            Ticks::Manual => None,
        };
        let mut burst = Burst::new(&self.shared.config);
        loop {
            if self.shared.inbox.take(&mut commands, next_tick) == Woken::Stopped {
                break;
            }
            if let Some(rest) = burst.rest(clock.instant()) {
                std::thread::sleep(rest);
                self.shared.inbox.take_more(&mut commands);
            }
            let began = clock.instant();
            commands.drain(..).for_each(|command| self.handle(command));
            self.flush();
            let now = clock.instant();
            burst.note(now, now.duration_since(began), std::mem::take(&mut self.pass.busy));
            if let Some(due) = next_tick.filter(|due| now >= *due) {
                next_tick = Some(due + Duration::from_secs(1));
                self.tick();
            }
            self.report();
        }
        self.members.sessions.iter().for_each(|(_, entry)| entry.session.kill());
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Publish { event, key } => self.publish(event, key),
            Command::Amend { seq, data } => self.shared.history.lock().amend(seq, data),
            Command::Open { session, identify_within_s } => self.open(&session, identify_within_s),
            Command::Identify { session, identity } => self.identify(&session, &identity),
            Command::Join(join) => self.join(*join),
            Command::Compress(session) => self.compress(&session),
            Command::IdentifyWithin { session, seconds } => self.identify_within(&session, seconds),
            Command::Leave { session, dialect, channel } => self.leave(&session, dialect, &channel),
            Command::Offset { topic, offset } => self.learn_offset(&Channel::Topic(topic), offset),
            Command::Revoke { principal, channel } => self.revoke(&principal, &channel),
            Command::ClosePrincipal { principal, sign_in, reason } => {
                self.close_principal(&principal, sign_in.as_deref(), &reason);
            }
            Command::Snapshot { session, frame } => {
                self.flush();
                session.send_snapshot(frame);
            }
            Command::Closing(session) => self.closing(&session),
            Command::Ended(session) => self.ended(session.slot(), session.id().0),
            Command::Presence { channel, reply } => {
                let _ = reply.send(self.presence(&channel));
            }
            Command::Sessions { reply } => {
                let all = self.members.sessions.iter().map(|(_, entry)| Arc::clone(&entry.session));
                let _ = reply.send(all.collect());
            }
            Command::WhenEmpty { reply } => self.when_empty.push(reply),
            Command::Settled { reply } => {
                self.flush();
                self.report();
                let _ = reply.send(());
            }
            Command::Tick => {
                self.flush();
                self.tick();
            }
        }
    }

    fn publish(&mut self, event: Arc<Event>, key: Option<Arc<str>>) {
        if event.is_durable() {
            if event.seq <= self.head_seq {
                tracing::debug!(seq = event.seq, head = self.head_seq, "event published twice, ignored");
                return;
            }
            if event.seq > self.head_seq + 1 {
                tracing::warn!(seq = event.seq, head = self.head_seq, "gap in the published events");
            }
            self.head_seq = event.seq;
            self.shared.figures.head_seq.store(event.seq, Relaxed);
            self.shared.history.lock().push(&event);
        }
        self.pass.add(&mut self.members, event, key);
        if self.pass.is_full() {
            self.flush();
        }
    }

    /// Writes the accumulated frames. Runs before every change of membership, so that a new member receives only what
    /// comes after its join, and a leaving one everything before its leave, in order.
    pub(crate) fn flush(&mut self) {
        if self.pass.is_empty() {
            return;
        }
        self.pass.run(&mut self.members);
        let casualties = std::mem::take(&mut self.pass.casualties);
        for &slot in &casualties {
            self.retire(slot);
        }
        self.pass.casualties = casualties;
        self.pass.casualties.clear();
    }

    fn open(&mut self, session: &Arc<Session>, identify_within_s: Option<u32>) {
        let now = self.timer_wheel.now();
        let id = session.id().0;
        let entry = Entry {
            principal: Arc::clone(&session.identity().principal),
            session: Arc::clone(session),
            subscriptions: Vec::new(),
            compressed: false,
            due_s: 0,
            deadline_s: now + self.shared.config.ping_interval_s,
            identify_by_s: deadline(now, identify_within_s),
            pass: 0,
        };
        let slot = self.members.sessions.insert(entry);
        session.set_slot(slot);
        self.schedule(slot, id);
    }

    fn identify(&mut self, session: &Session, identity: &Identity) {
        let slot = session.slot();
        if let Some(entry) = self.members.entry(slot, session.id().0) {
            entry.identify_by_s = 0;
            self.members.rename(slot, &identity.principal);
        }
    }

    fn identify_within(&mut self, session: &Session, seconds: Option<u32>) {
        let (slot, id, now) = (session.slot(), session.id().0, self.timer_wheel.now());
        if let Some(entry) = self.members.entry(slot, id) {
            entry.identify_by_s = match (entry.identify_by_s, deadline(now, seconds)) {
                (0, asked) | (_, asked @ 0) => asked,
                (running, asked) => running.min(asked),
            };
            self.schedule(slot, id);
        }
    }

    fn join(&mut self, join: Join) {
        let Join { session, subscriptions, dialect, limited, reply } = join;
        let number = self.shared.dialect_number(dialect.name());
        self.flush();
        let slot = session.slot();
        let limit = limited.then_some(self.shared.config.subscriptions_per_session_max);
        let checked = match self.members.entry(slot, session.id().0) {
            Some(_) => self.members.check_join(slot, number, &subscriptions, limit),
            None => Err(crate::error::SubscribeError::SessionClosed),
        };
        let answer = match checked {
            Ok(()) if session.hold() => Ok(self.seat(&session, (number, &dialect), &subscriptions, limited)),
            Ok(()) => Err(crate::error::SubscribeError::SessionClosed),
            Err(error) => Err(error),
        };
        // If the requester is gone, dropping the join point closes the held session.
        let _ = reply.send(answer);
    }

    fn seat(
        &mut self,
        session: &Arc<Session>,
        dialect: (u16, &Arc<dyn Dialect>),
        subscriptions: &[Subscription],
        limited: bool,
    ) -> JoinPoint {
        for wanted in subscriptions {
            self.members.join(session.slot(), dialect, wanted, limited);
        }
        let offset = match subscriptions {
            [one] => {
                self.members.streams.find(&one.channel).and_then(|n| self.members.streams.get(n)?.offset)
            }
            _ => None,
        };
        JoinPoint::new(Arc::clone(session), self.head_seq, offset)
    }

    fn compress(&mut self, session: &Session) {
        self.flush();
        if self.members.entry(session.slot(), session.id().0).is_some() {
            self.members.compress(session.slot());
        }
    }

    fn leave(&mut self, session: &Session, dialect: u16, channel: &Channel) {
        self.flush();
        if self.members.entry(session.slot(), session.id().0).is_some() {
            self.members.leave(session.slot(), dialect, channel);
        }
    }

    fn learn_offset(&mut self, channel: &Channel, offset: u64) {
        let stream = self.members.streams.find(channel);
        if let Some(stream) = stream.and_then(|number| self.members.streams.get_mut(number)) {
            stream.offset.get_or_insert(offset);
        }
    }

    fn revoke(&mut self, principal: &str, channel: &Channel) {
        self.flush();
        for slot in self.members.of_principal(principal, channel) {
            self.members.leave_altogether(slot, channel);
            if let Some(entry) = self.members.sessions.get(slot) {
                entry.session.send(entry.session.dialect.revoked(channel));
            }
        }
    }

    fn close_principal(&mut self, principal: &str, sign_in: Option<&str>, reason: &CloseReason) {
        self.flush();
        let theirs = self.members.sessions.iter().filter(|(_, entry)| {
            &*entry.principal == principal
                && sign_in.is_none_or(|one| entry.session.identity().sign_in.as_deref() == Some(one))
        });
        let slots: Vec<u32> = theirs.map(|(slot, _)| slot).collect();
        for slot in slots {
            self.begin_close(slot, reason);
        }
    }

    pub(crate) fn begin_close(&mut self, slot: u32, reason: &CloseReason) {
        if let Some(entry) = self.members.sessions.get(slot) {
            entry.session.begin_close(reason);
            self.retire(slot);
        }
    }

    fn closing(&mut self, session: &Session) {
        self.flush();
        if self.members.entry(session.slot(), session.id().0).is_some() {
            self.retire(session.slot());
        }
    }

    /// Removes a closing session from its channels and sets its final deadline.
    fn retire(&mut self, slot: u32) {
        self.members.leave_all(slot);
        let deadline_s = self.timer_wheel.now() + self.shared.config.close_timeout_s;
        if let Some(entry) = self.members.sessions.get_mut(slot) {
            entry.deadline_s = deadline_s;
            let id = entry.session.id().0;
            self.schedule(slot, id);
        }
    }

    pub(crate) fn ended(&mut self, slot: u32, id: u64) {
        self.flush();
        if self.members.entry(slot, id).is_some() {
            self.members.leave_all(slot);
            self.members.sessions.remove(slot);
        }
    }

    fn presence(&mut self, channel: &Channel) -> Vec<Presence> {
        let stream = self.members.streams.find(channel).and_then(|number| self.members.streams.get(number));
        let mut all: Vec<Presence> = stream
            .into_iter()
            .flat_map(|stream| &stream.present)
            .map(|(principal, sessions)| Presence { principal: Arc::clone(principal), sessions: *sessions })
            .collect();
        all.sort_by(|a, b| a.principal.cmp(&b.principal));
        all
    }

    fn report(&mut self) {
        let figures = &self.shared.figures;
        figures.sessions.store(self.members.sessions.len() as u64, Relaxed);
        figures.streams.store(self.members.streams.len() as u64, Relaxed);
        figures.subscriptions.store(self.members.subscriptions as u64, Relaxed);
        self.meters.report(figures);
        if self.members.sessions.len() == 0 {
            for reply in self.when_empty.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relais_protocol::time::{Clock as _, SystemClock};

    use super::*;

    fn burst(burst_pause_us: u64) -> Burst {
        Burst::new(&HubConfig { burst_pause_us, ..HubConfig::default() })
    }

    #[test]
    fn only_while_bursts_are_seen_is_there_a_rest() {
        let (mut burst, now) = (burst(100), SystemClock.instant());
        burst.note(now, Duration::from_millis(4), false);
        assert_eq!(burst.rest(now), None);
        burst.note(now, Duration::from_millis(4), true);
        assert_eq!(burst.rest(now), Some(Duration::from_micros(500)));
        assert_eq!(burst.rest(now + BURST_LASTS.mul_f32(0.9)), Some(Duration::from_micros(500)));
        assert_eq!(burst.rest(now + BURST_LASTS), None);
    }

    #[test]
    fn the_rest_has_a_lower_and_an_upper_bound() {
        let (mut burst, now) = (burst(100), SystemClock.instant());
        burst.note(now, Duration::from_micros(80), true);
        assert_eq!(burst.rest(now), Some(Duration::from_micros(100)));
        burst.note(now, Duration::from_secs(1), true);
        assert_eq!(burst.rest(now), Some(REST_MAX));
    }

    #[test]
    fn a_pause_of_zero_is_none() {
        let (mut burst, now) = (burst(0), SystemClock.instant());
        burst.note(now, Duration::from_secs(1), true);
        assert_eq!(burst.rest(now), None);
    }
}
