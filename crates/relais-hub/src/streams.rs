//! Channels that have members, and the frames gathered for them in the current pass.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use relais_protocol::event::{Channel, Topic};

use crate::dialect::Dialect;
use crate::frame_batch::Frame;
use crate::session::Session;
use crate::slots::Slots;

/// A channel with members.
pub(crate) struct Stream {
    pub channel: Channel,
    /// The topic's offset, once known; for single topics only.
    pub offset: Option<u64>,
    /// Members by wire form.
    pub groups: Vec<Group>,
    /// Sessions of each principal.
    pub present: HashMap<Arc<str>, usize>,
    /// Whether the current pass has frames for it.
    pub dirty: bool,
}

/// The wire form: the dialect's number, and whether messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Form {
    pub dialect: u16,
    pub compressed: bool,
}

/// The members of a channel with the same form, and their batch.
pub(crate) struct Group {
    pub form: Form,
    pub dialect: Arc<dyn Dialect>,
    pub members: Vec<Member>,
    /// Frames of the current pass, concatenated.
    pub buffer: Vec<u8>,
    pub frames: Vec<Frame>,
    /// The buffer during the walk over the members.
    pub batch: Bytes,
}

/// A session in a group.
pub(crate) struct Member {
    pub session: Arc<Session>,
    pub slot: u32,
    /// It receives every frame of this channel and is in no other: it gets the batch unchanged.
    pub direct: bool,
}

impl Stream {
    fn new(channel: Channel) -> Self {
        Self { channel, offset: None, groups: Vec::new(), present: HashMap::new(), dirty: false }
    }

    pub(crate) fn group(&self, form: Form) -> Option<&Group> {
        self.groups.iter().find(|group| group.form == form)
    }

    pub(crate) fn group_mut(&mut self, form: Form) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.form == form)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.members.is_empty())
    }

    /// Adds a member with `form` and that dialect, and returns its place in its group.
    pub(crate) fn add(
        &mut self,
        session: &Arc<Session>,
        slot: u32,
        form: Form,
        dialect: &Arc<dyn Dialect>,
    ) -> u32 {
        let place = self.groups.iter().position(|group| group.form == form).unwrap_or_else(|| {
            self.groups.push(Group::new(form, dialect));
            self.groups.len() - 1
        });
        let members = &mut self.groups[place].members;
        members.push(Member { session: Arc::clone(session), slot, direct: false });
        u32::try_from(members.len() - 1).expect("sessions_max bounds the members")
    }

    /// Adds a session of `principal`; true if it is the first.
    pub(crate) fn count(&mut self, principal: &Arc<str>) -> bool {
        let count = self.present.entry(Arc::clone(principal)).or_default();
        *count += 1;
        *count == 1
    }

    /// Removes one; true if it was the last.
    pub(crate) fn discount(&mut self, principal: &Arc<str>) -> bool {
        let Some(count) = self.present.get_mut(principal) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.present.remove(principal);
        }
        last
    }
}

impl Group {
    fn new(form: Form, dialect: &Arc<dyn Dialect>) -> Self {
        Self {
            form,
            dialect: Arc::clone(dialect),
            members: Vec::new(),
            buffer: Vec::new(),
            frames: Vec::new(),
            batch: Bytes::new(),
        }
    }

    pub(crate) fn push_frame(&mut self, event: u32, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let end = u32::try_from(self.buffer.len()).expect("a batch is bounded far below four gigabytes");
        self.frames.push(Frame { event, end });
    }

    pub(crate) fn freeze(&mut self) {
        self.batch = Bytes::from(std::mem::take(&mut self.buffer));
    }

    /// Reuses the buffer if no queue refers to it.
    pub(crate) fn recycle(&mut self) {
        self.frames.clear();
        let batch = std::mem::take(&mut self.batch);
        if batch.is_unique() {
            self.buffer = Vec::from(batch);
            self.buffer.clear();
        }
    }
}

/// All channels with members.
pub(crate) struct Streams {
    slots: Slots<Stream>,
    topics: HashMap<Topic, u32>,
    families: HashMap<Arc<str>, u32>,
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self { slots: Slots::new(), topics: HashMap::new(), families: HashMap::new() }
    }

    pub(crate) fn find(&self, channel: &Channel) -> Option<u32> {
        match channel {
            Channel::Topic(topic) => self.topics.get(topic).copied(),
            Channel::Family(family) => self.families.get(family).copied(),
        }
    }

    /// The channels that receive events of `topic`: itself and its family.
    pub(crate) fn covering(&self, topic: &Topic) -> [Option<u32>; 2] {
        [self.topics.get(topic).copied(), self.families.get(topic.family()).copied()]
    }

    pub(crate) fn find_or_create(&mut self, channel: &Channel) -> u32 {
        if let Some(number) = self.find(channel) {
            return number;
        }
        let number = self.slots.insert(Stream::new(channel.clone()));
        match channel {
            Channel::Topic(topic) => self.topics.insert(topic.clone(), number),
            Channel::Family(family) => self.families.insert(Arc::clone(family), number),
        };
        number
    }

    /// Removes a channel without members.
    pub(crate) fn forget_if_empty(&mut self, number: u32) {
        if self.slots.get(number).is_some_and(Stream::is_empty)
            && let Some(stream) = self.slots.remove(number)
        {
            match &stream.channel {
                Channel::Topic(topic) => self.topics.remove(topic),
                Channel::Family(family) => self.families.remove(family),
            };
        }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Stream> {
        self.slots.get(number)
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Stream> {
        self.slots.get_mut(number)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
