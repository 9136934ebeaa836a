//! One pass: the events since the last one become batches, and the batches are written to their members.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use relais_protocol::event::Event;
use relais_protocol::websocket::compress_frames;

use crate::frame_batch::{Frame, FrameBatch, PassEvent};
use crate::members::{Entry, Members};
use crate::outbox::Delivered;
use crate::shared::Shared;
use crate::streams::{Form, Group};

/// The events since the last pass, and buffers that are reused from pass to pass.
pub(crate) struct Pass {
    shared: Arc<Shared>,
    number: u32,
    events: Vec<PassEvent>,
    dirty: Vec<u32>,
    /// Sessions whose frames must be gathered from several channels or through a filter.
    gathering: Vec<u32>,
    /// Sessions found to be too slow or closed.
    pub casualties: Vec<u32>,
    /// Whether some stream had several frames in a pass since this was last reset.
    pub busy: bool,
    full: bool,
    encodings: Encodings,
    picks: Vec<Pick>,
    own_bytes: Vec<u8>,
    own_frames: Vec<Frame>,
    tally: Tally,
}

/// One event in its wire forms.
#[derive(Default)]
struct Encodings {
    bytes: Vec<u8>,
    /// The input of the compressor.
    plain: Vec<u8>,
    places: Vec<(Form, Range<usize>)>,
}

impl Encodings {
    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// The event in the form of this group: encoded once for each form.
    fn of(&mut self, group: &Group, event: &Event) -> Range<usize> {
        if let Some((_, place)) = self.places.iter().find(|(known, _)| *known == group.form) {
            return place.clone();
        }
        let start = self.bytes.len();
        if group.form.compressed {
            self.plain.clear();
            group.dialect.encode(event, &mut self.plain);
            compress_frames(&self.plain, &mut self.bytes);
        } else {
            group.dialect.encode(event, &mut self.bytes);
        }
        self.places.push((group.form, start..self.bytes.len()));
        start..self.bytes.len()
    }
}

/// A frame that a session receives.
#[derive(Clone, Copy)]
struct Pick {
    event: u32,
    form: Form,
    stream: u32,
    start: u32,
    end: u32,
}

#[derive(Default)]
struct Tally {
    frames: u64,
    writes: u64,
    slow: u64,
}

impl Tally {
    fn note(&mut self, delivered: Delivered, frames: usize) -> bool {
        match delivered {
            Delivered::Written | Delivered::Queued => {
                self.frames += frames as u64;
                self.writes += 1;
                true
            }
            Delivered::Slow => {
                self.slow += 1;
                false
            }
            Delivered::Broken | Delivered::Gone => false,
        }
    }
}

impl Pass {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            number: 0,
            events: Vec::new(),
            dirty: Vec::new(),
            gathering: Vec::new(),
            casualties: Vec::new(),
            busy: false,
            full: false,
            encodings: Encodings::default(),
            picks: Vec::new(),
            own_bytes: Vec::new(),
            own_frames: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a batch has reached its limit and should be written before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Adds an event to the batches of the channels that cover it: encoded once per dialect.
    pub(crate) fn add(&mut self, members: &mut Members, event: Arc<Event>, key: Option<Arc<str>>) {
        let index = u32::try_from(self.events.len()).expect("the inbox is bounded");
        self.encodings.clear();
        for number in members.streams.covering(&event.topic).into_iter().flatten() {
            let Some(stream) = members.streams.get_mut(number) else { continue };
            if event.is_durable() && stream.offset.is_none_or(|offset| offset < event.offset) {
                stream.offset = Some(event.offset);
            }
            let mut written = false;
            for group in stream.groups.iter_mut().filter(|group| !group.members.is_empty()) {
                let range = self.encodings.of(group, &event);
                if !range.is_empty() {
                    group.push_frame(index, &self.encodings.bytes[range]);
                    written = true;
                    self.busy |= group.frames.len() >= 2;
                    self.full |= group.buffer.len() >= self.shared.config.batch_bytes;
                }
            }
            if written && !stream.dirty {
                stream.dirty = true;
                self.dirty.push(number);
            }
        }
        self.events.push(PassEvent { event, key });
    }

    /// Writes what was added to all its recipients.
    pub(crate) fn run(&mut self, members: &mut Members) {
        self.number = self.number.wrapping_add(1);
        let dirty = std::mem::take(&mut self.dirty);
        for &number in &dirty {
            if let Some(stream) = members.streams.get_mut(number) {
                stream.groups.iter_mut().for_each(Group::freeze);
            }
        }
        for &number in &dirty {
            self.walk(members, number);
        }
        let gathering = std::mem::take(&mut self.gathering);
        for &slot in &gathering {
            if let Some(entry) = members.sessions.get(slot)
                && !self.gather(members, entry)
            {
                self.casualties.push(slot);
            }
        }
        for &number in &dirty {
            if let Some(stream) = members.streams.get_mut(number) {
                stream.dirty = false;
                stream.groups.iter_mut().for_each(Group::recycle);
            }
        }
        (self.dirty, self.gathering) = (dirty, gathering);
        self.dirty.clear();
        self.gathering.clear();
        self.report();
    }

    /// Delivers the batch to every member that takes it whole, and marks the others.
    fn walk(&mut self, members: &mut Members, number: u32) {
        let Members { sessions, streams, .. } = members;
        let Some(stream) = streams.get(number) else { return };
        for group in stream.groups.iter().filter(|group| !group.frames.is_empty()) {
            let frame_batch = FrameBatch::shared(&group.batch, &group.frames, &self.events);
            for member in &group.members {
                if member.direct {
                    if !self.tally.note(member.session.deliver(&frame_batch), frame_batch.frame_count()) {
                        self.casualties.push(member.slot);
                    }
                } else if let Some(entry) = sessions.get_mut(member.slot)
                    && entry.pass != self.number
                {
                    entry.pass = self.number;
                    self.gathering.push(member.slot);
                }
            }
        }
    }

    /// Collects a session's frames from all its channels in the order of the inbox, each event once per dialect, and
    /// writes them together; false if the session is too slow or closed.
    fn gather(&mut self, members: &Members, entry: &Entry) -> bool {
        self.picks.clear();
        for seat in &entry.subscriptions {
            let Some(stream) = members.streams.get(seat.stream).filter(|stream| stream.dirty) else {
                continue;
            };
            let form = entry.form(seat.dialect);
            let Some(group) = stream.group(form) else { continue };
            let mut start = 0;
            for frame in &group.frames {
                let event = &self.events[frame.event as usize].event;
                if seat.filter.as_ref().is_none_or(|filter| filter.passes(event)) {
                    let (stream, end) = (seat.stream, frame.end);
                    self.picks.push(Pick { event: frame.event, form, stream, start, end });
                }
                start = frame.end;
            }
        }
        self.picks.sort_by_key(|pick| (pick.event, pick.form));
        self.picks.dedup_by_key(|pick| (pick.event, pick.form));
        if self.picks.is_empty() {
            return true;
        }
        self.own_bytes.clear();
        self.own_frames.clear();
        for pick in &self.picks {
            if let Some(group) = members.streams.get(pick.stream).and_then(|stream| stream.group(pick.form)) {
                self.own_bytes.extend_from_slice(&group.batch[pick.start as usize..pick.end as usize]);
                let end = u32::try_from(self.own_bytes.len()).expect("batches are bounded");
                self.own_frames.push(Frame { event: pick.event, end });
            }
        }
        let frame_batch = FrameBatch::own(&self.own_bytes, &self.own_frames, &self.events);
        self.tally.note(entry.session.deliver(&frame_batch), frame_batch.frame_count())
    }

    fn report(&mut self) {
        let figures = &self.shared.figures;
        let Tally { frames, writes, slow } = std::mem::take(&mut self.tally);
        figures.published.fetch_add(self.events.len() as u64, Relaxed);
        figures.delivered.fetch_add(frames, Relaxed);
        figures.writes.fetch_add(writes, Relaxed);
        figures.slow_closed.fetch_add(slow, Relaxed);
        self.events.clear();
        self.full = false;
    }
}
