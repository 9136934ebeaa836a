//! Frames to be delivered to a session.

use std::sync::Arc;

use bytes::Bytes;
use relais_protocol::event::{Event, Topic};

/// An event of the current pass.
pub(crate) struct PassEvent {
    pub event: Arc<Event>,
    /// The key of an ephemeral event's value.
    pub key: Option<Arc<str>>,
}

/// Identifies the value of an ephemeral event: topic, name and key.
pub(crate) type LatestKey = (Topic, Arc<str>, Option<Arc<str>>);

/// The position of one frame in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The index of its event in the pass.
    pub event: u32,
    /// The end of its bytes in the batch; they begin at the end of the previous frame.
    pub end: u32,
}

/// The frames of one pass for one session.
pub(crate) struct FrameBatch<'a> {
    bytes: Wire<'a>,
    frames: &'a [Frame],
    events: &'a [PassEvent],
    ephemeral: bool,
}

enum Wire<'a> {
    /// A batch shared by many sessions: queueing keeps a reference to it.
    Shared(&'a Bytes),
    /// Gathered for one session: queueing copies it.
    Own(&'a [u8]),
}

impl<'a> FrameBatch<'a> {
    pub(crate) fn shared(bytes: &'a Bytes, frames: &'a [Frame], events: &'a [PassEvent]) -> Self {
        Self::new(Wire::Shared(bytes), frames, events)
    }

    pub(crate) fn own(bytes: &'a [u8], frames: &'a [Frame], events: &'a [PassEvent]) -> Self {
        Self::new(Wire::Own(bytes), frames, events)
    }

    fn new(bytes: Wire<'a>, frames: &'a [Frame], events: &'a [PassEvent]) -> Self {
        let ephemeral = frames.iter().any(|frame| !events[frame.event as usize].event.is_durable());
        Self { bytes, frames, events, ephemeral }
    }

    pub(crate) fn wire(&self) -> &[u8] {
        match self.bytes {
            Wire::Shared(bytes) => bytes,
            Wire::Own(bytes) => bytes,
        }
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> Bytes {
        match self.bytes {
            Wire::Shared(bytes) => bytes.slice(start..end),
            Wire::Own(bytes) => Bytes::copy_from_slice(&bytes[start..end]),
        }
    }

    pub(crate) fn frame_count(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn has_ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// The end of each frame, with the key of an ephemeral one.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (Option<LatestKey>, usize)> {
        self.frames.iter().map(|frame| {
            let PassEvent { event, key } = &self.events[frame.event as usize];
            let latest =
                (!event.is_durable()).then(|| (event.topic.clone(), Arc::clone(&event.name), key.clone()));
            (latest, frame.end as usize)
        })
    }
}
