//! Sessions as the hub's thread knows them: their channels, and their timers.

use std::collections::HashSet;
use std::sync::Arc;

use relais_protocol::event::Channel;

use crate::dialect::{Dialect, Filter};
use crate::error::SubscribeError;
use crate::presence::PresenceWatcher;
use crate::session::Session;
use crate::slots::Slots;
use crate::streams::{Form, Streams};
use crate::subscription::Subscription;

/// One session.
pub(crate) struct Entry {
    pub session: Arc<Session>,
    /// The principal that presence counts it for.
    pub principal: Arc<str>,
    pub subscriptions: Vec<Seat>,
    /// Whether its frames are compressed.
    pub compressed: bool,
    /// The second at which its timer fires.
    pub due_s: u32,
    /// The second of its next ping, or of its close timeout if it is closing.
    pub deadline_s: u32,
    /// The second by which it must have identified itself; 0 if it has, or need not.
    pub identify_by_s: u32,
    /// The last pass in which it was marked as having frames to gather.
    pub pass: u32,
}

/// A place in a channel.
pub(crate) struct Seat {
    pub stream: u32,
    /// The dialect of its events in the channel.
    pub dialect: u16,
    /// Its place among the members with the same form.
    pub place: u32,
    /// Whether it counts against the session's limit: the session requested it.
    pub limited: bool,
    pub filter: Option<Arc<dyn Filter>>,
}

/// The memberships of sessions in channels. Changes happen only between passes: removing a member during a walk would
/// skip another.
pub(crate) struct Members {
    pub sessions: Slots<Entry>,
    pub streams: Streams,
    pub subscriptions: usize,
    watcher: Arc<dyn PresenceWatcher>,
}

impl Members {
    pub(crate) fn new(watcher: Arc<dyn PresenceWatcher>) -> Self {
        Self { sessions: Slots::new(), streams: Streams::new(), subscriptions: 0, watcher }
    }

    /// The entry in `slot`, if it is still the session `id`.
    pub(crate) fn entry(&mut self, slot: u32, id: u64) -> Option<&mut Entry> {
        self.sessions.get_mut(slot).filter(|entry| entry.session.id().0 == id)
    }

    /// Whether a session can join these channels; `limit` is the number of requested channels it may have, including
    /// these, if it requests them.
    pub(crate) fn check_join(
        &self,
        slot: u32,
        dialect: u16,
        wanted: &[Subscription],
        limit: Option<usize>,
    ) -> Result<(), SubscribeError> {
        let entry = self.sessions.get(slot).ok_or(SubscribeError::SessionClosed)?;
        if let Some(limit) = limit
            && entry.count_limited().saturating_add(wanted.len()) > limit
        {
            return Err(SubscribeError::TooManySubscriptions(limit));
        }
        let mut named = HashSet::with_capacity(wanted.len());
        for subscription in wanted {
            let channel = &subscription.channel;
            let seated = self.streams.find(channel).is_some_and(|s| entry.seat_in(s, dialect).is_some());
            if seated || !named.insert(channel) {
                return Err(SubscribeError::AlreadySubscribed(channel.clone()));
            }
        }
        Ok(())
    }

    pub(crate) fn join(
        &mut self,
        slot: u32,
        (number, dialect): (u16, &Arc<dyn Dialect>),
        wanted: &Subscription,
        limited: bool,
    ) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let place_of_stream = self.streams.find_or_create(&wanted.channel);
        let Some(stream) = self.streams.get_mut(place_of_stream) else { return };
        let place = stream.add(&entry.session, slot, entry.form(number), dialect);
        let first = stream.count(&entry.principal);
        if entry.subscriptions.is_empty() {
            // Most sessions stay in one channel.
            entry.subscriptions.reserve_exact(1);
        }
        let filter = wanted.filter.clone();
        entry.subscriptions.push(Seat { stream: place_of_stream, dialect: number, place, limited, filter });
        self.subscriptions += 1;
        if first {
            self.watcher.entered(&wanted.channel, &entry.principal);
        }
        self.refresh_direct(slot);
    }

    /// Removes a session from a channel in `dialect`; false if it was not in it.
    pub(crate) fn leave(&mut self, slot: u32, dialect: u16, channel: &Channel) -> bool {
        let Some(number) = self.streams.find(channel) else { return false };
        let Some(seat) = self.sessions.get(slot).and_then(|entry| entry.seat_in(number, dialect)) else {
            return false;
        };
        self.unseat(slot, seat);
        self.refresh_direct(slot);
        true
    }

    /// Removes a session from a channel, in every dialect.
    pub(crate) fn leave_altogether(&mut self, slot: u32, channel: &Channel) {
        let stream = self.streams.find(channel);
        let seats = self.sessions.get(slot).into_iter().flat_map(|entry| &entry.subscriptions);
        let dialects: Vec<u16> =
            seats.filter(|seat| Some(seat.stream) == stream).map(|seat| seat.dialect).collect();
        for dialect in dialects {
            self.leave(slot, dialect, channel);
        }
    }

    pub(crate) fn leave_all(&mut self, slot: u32) {
        while self.sessions.get(slot).is_some_and(|entry| !entry.subscriptions.is_empty()) {
            let last = self.sessions.get(slot).map_or(0, |entry| entry.subscriptions.len() - 1);
            self.unseat(slot, last);
        }
    }

    fn unseat(&mut self, slot: u32, seat: usize) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Seat { stream: number, dialect, place, .. } = entry.subscriptions.swap_remove(seat);
        if entry.subscriptions.is_empty() {
            entry.subscriptions = Vec::new();
        }
        self.subscriptions -= 1;
        let (principal, form) = (Arc::clone(&entry.principal), entry.form(dialect));
        self.vacate(number, form, place);
        let Some(stream) = self.streams.get_mut(number) else { return };
        if stream.discount(&principal) {
            let channel = stream.channel.clone();
            self.watcher.left(&channel, &principal);
        }
        self.streams.forget_if_empty(number);
    }

    /// Empties a place in a group; the last member of the group moves there.
    fn vacate(&mut self, stream: u32, form: Form, place: u32) {
        let Some(group) = self.streams.get_mut(stream).and_then(|stream| stream.group_mut(form)) else {
            return;
        };
        group.members.swap_remove(place as usize);
        let moved = group.members.get(place as usize).map(|member| member.slot);
        if let Some(other) = moved.and_then(|slot| self.sessions.get_mut(slot))
            && let Some(seat) = other.seat_in(stream, form.dialect)
        {
            other.subscriptions[seat].place = place;
        }
    }

    /// From here on everything sent to the session is compressed.
    pub(crate) fn compress(&mut self, slot: u32) {
        let seats = match self.sessions.get(slot) {
            Some(entry) if !entry.compressed => 0..entry.subscriptions.len(),
            _ => return,
        };
        for seat in seats {
            let Some(entry) = self.sessions.get(slot) else { return };
            let Seat { stream: number, dialect, place, .. } = entry.subscriptions[seat];
            let (session, form) = (Arc::clone(&entry.session), entry.form(dialect));
            self.vacate(number, form, place);
            let Some(stream) = self.streams.get_mut(number) else { continue };
            let Some(spoken) = stream.group(form).map(|group| Arc::clone(&group.dialect)) else { continue };
            let place = stream.add(&session, slot, Form { compressed: true, ..form }, &spoken);
            if let Some(entry) = self.sessions.get_mut(slot) {
                entry.subscriptions[seat].place = place;
            }
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.compressed = true;
        }
        self.refresh_direct(slot);
    }

    /// A session gets unchanged batches only while it has one channel and no filter. This can change only when it has
    /// one or two.
    fn refresh_direct(&mut self, slot: u32) {
        let Some(entry) = self.sessions.get(slot) else { return };
        let direct = entry.subscriptions.len() == 1;
        for seat in entry.subscriptions.iter().filter(|_| entry.subscriptions.len() <= 2) {
            let group = self.streams.get_mut(seat.stream).and_then(|s| s.group_mut(entry.form(seat.dialect)));
            if let Some(member) = group.and_then(|group| group.members.get_mut(seat.place as usize)) {
                member.direct = direct && seat.filter.is_none();
            }
        }
    }

    /// Moves the session's memberships to another principal.
    pub(crate) fn rename(&mut self, slot: u32, principal: &Arc<str>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let old = std::mem::replace(&mut entry.principal, Arc::clone(principal));
        for seat in &entry.subscriptions {
            let Some(stream) = self.streams.get_mut(seat.stream) else { continue };
            if stream.count(principal) {
                self.watcher.entered(&stream.channel, principal);
            }
            if stream.discount(&old) {
                self.watcher.left(&stream.channel, &old);
            }
        }
    }

    /// The sessions of `principal` in `channel`.
    pub(crate) fn of_principal(&self, principal: &str, channel: &Channel) -> Vec<u32> {
        let Some(stream) = self.streams.find(channel).and_then(|number| self.streams.get(number)) else {
            return Vec::new();
        };
        let members = stream.groups.iter().flat_map(|group| &group.members).map(|member| member.slot);
        let theirs = |slot: &u32| self.sessions.get(*slot).is_some_and(|e| &*e.principal == principal);
        let mut slots: Vec<u32> = members.filter(theirs).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

impl Entry {
    /// The wire form of its events in this dialect.
    pub(crate) fn form(&self, dialect: u16) -> Form {
        Form { dialect, compressed: self.compressed }
    }

    /// The number of channels that it requested.
    fn count_limited(&self) -> usize {
        self.subscriptions.iter().filter(|seat| seat.limited).count()
    }

    pub(crate) fn seat_in(&self, stream: u32, dialect: u16) -> Option<usize> {
        self.subscriptions.iter().position(|seat| seat.stream == stream && seat.dialect == dialect)
    }
}
