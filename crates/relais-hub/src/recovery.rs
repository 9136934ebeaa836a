//! What a client missed: from memory, else from the log, else a fresh start.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use relais_protocol::event::{Channel, Cursor, Event, Position, Topic};

use crate::dialect::Dialect;
use crate::log::LogError;
use crate::session::JoinPoint;
use crate::shared::Shared;
use crate::subscription::{StartPosition, Subscription};

/// Events read from the log at once.
const PAGE: usize = 512;

/// Topics that are looked up one by one in any case.
const LOOKUPS_FEW: u64 = 64;
/// Events that can be read sequentially in the time of one topic lookup.
const EVENTS_PER_LOOKUP: u64 = 16;

/// Bytes of replayed frames that are queued as one slice.
const SLICE_BYTES: usize = 64 * 1024;

/// A session's subscriptions by name: a user may be in thousands of conversations.
struct Wanted<'a> {
    topics: HashMap<&'a str, &'a Subscription>,
    families: HashMap<&'a str, &'a Subscription>,
}

impl<'a> Wanted<'a> {
    fn new(subscriptions: &'a [Subscription]) -> Self {
        let (mut topics, mut families) = (HashMap::new(), HashMap::new());
        for subscription in subscriptions {
            match &subscription.channel {
                Channel::Topic(topic) => topics.insert(topic.as_str(), subscription),
                Channel::Family(family) => families.insert(&**family, subscription),
            };
        }
        Self { topics, families }
    }

    /// The subscriptions that cover an event: to its topic, and to its family.
    fn of(&self, event: &Event) -> impl Iterator<Item = &'a Subscription> {
        let (topic, family) =
            (self.topics.get(event.topic.as_str()), self.families.get(event.topic.family()));
        topic.into_iter().chain(family).copied()
    }

    /// The channels by which `span` events of the log are read: one by one, unless reading their families, including
    /// events for others, is less work.
    fn read_by(&self, span: u64) -> Vec<Channel> {
        let channels = || self.topics.values().chain(self.families.values()).map(|s| &s.channel);
        let lookups = self.topics.len() as u64;
        if lookups < LOOKUPS_FEW || span > lookups.saturating_mul(EVENTS_PER_LOOKUP) {
            return channels().cloned().collect();
        }
        let families: BTreeSet<&str> = channels().map(family).collect();
        families.into_iter().map(|family| Channel::Family(family.into())).collect()
    }
}

fn family(channel: &Channel) -> &str {
    match channel {
        Channel::Topic(topic) => topic.family(),
        Channel::Family(family) => family,
    }
}

/// The replayed frames, and of how many events.
pub(crate) struct Replay {
    pub frames: Vec<Bytes>,
    pub events: usize,
}

/// Reads and encodes what `subscriptions` missed since `from` up to the join; `None` if that is no longer kept or is
/// too much.
pub(crate) async fn replay(
    shared: &Shared,
    dialect: &dyn Dialect,
    subscriptions: &[Subscription],
    from: StartPosition,
    point: &JoinPoint,
) -> Result<Option<Replay>, LogError> {
    let missed = match (from, subscriptions) {
        (StartPosition::Now, _) => Some(Vec::new()),
        (StartPosition::Cursor(cursor), _) => {
            after_cursor(shared, subscriptions, cursor, point.head_seq).await?
        }
        (StartPosition::Position(position), [Subscription { channel: Channel::Topic(topic), .. }]) => {
            after_position(shared, topic, position, point).await?
        }
        (StartPosition::Position(_), _) => None,
    };
    Ok(missed.and_then(|events| encode(shared, dialect, subscriptions, &events)))
}

async fn after_cursor(
    shared: &Shared,
    subscriptions: &[Subscription],
    cursor: Cursor,
    head_seq: u64,
) -> Result<Option<Vec<Arc<Event>>>, LogError> {
    if cursor.epoch != shared.epoch || cursor.seq > head_seq {
        return Ok(None);
    }
    let wanted = Wanted::new(subscriptions);
    let covers = |event: &Event| wanted.of(event).next().is_some();
    let remembered = shared.history.lock().between(cursor.seq, head_seq, covers);
    if let Some(events) = remembered {
        return Ok((events.len() <= shared.config.recover_events_max).then_some(events));
    }
    let _turn = shared.recoveries.acquire().await;
    let mut all = Vec::new();
    for channel in wanted.read_by(head_seq - cursor.seq) {
        let left = shared.config.recover_events_max.saturating_sub(all.len());
        match channel_after(shared, &channel, &wanted, cursor.seq, head_seq, left).await? {
            Some(events) => all.extend(events),
            None => return Ok(None),
        }
    }
    // Checked after the reading: what is kept now was there throughout.
    if cursor.seq + 1 < shared.log.bounds().await?.first_seq_kept {
        return Ok(None);
    }
    all.sort_by_key(|event| event.seq);
    all.dedup_by_key(|event| event.seq);
    Ok(Some(all))
}

/// All matching events of one channel, page by page; `None` if there are more than `limit`.
async fn channel_after(
    shared: &Shared,
    channel: &Channel,
    wanted: &Wanted<'_>,
    after_seq: u64,
    up_to_seq: u64,
    limit: usize,
) -> Result<Option<Vec<Arc<Event>>>, LogError> {
    let (mut all, mut after, mut bytes) = (Vec::new(), after_seq, 0);
    loop {
        let mut page = shared.log.after_cursor(channel, after, up_to_seq, PAGE).await?;
        let Some(last) = page.last() else { return Ok(Some(all)) };
        after = last.seq;
        let end = page.len() < PAGE;
        page.retain(|event| wanted.of(event).next().is_some());
        bytes += data_bytes(&page);
        all.extend(page);
        if all.len() > limit || bytes > shared.config.recover_bytes_max {
            return Ok(None);
        }
        if end {
            return Ok(Some(all));
        }
    }
}

async fn after_position(
    shared: &Shared,
    topic: &Topic,
    position: Position,
    point: &JoinPoint,
) -> Result<Option<Vec<Arc<Event>>>, LogError> {
    let Some(missing) = point.offset.and_then(|head| head.checked_sub(position.offset)) else {
        return Ok(None);
    };
    if position.epoch != shared.epoch {
        return Ok(None);
    }
    if missing > shared.config.recover_events_max as u64 {
        return Ok(None);
    }
    let wanted = |event: &Event| event.topic == *topic && event.offset > position.offset;
    let remembered = {
        let history = shared.history.lock();
        let after = history.first_seq().saturating_sub(1);
        history.between(after, point.head_seq, wanted).unwrap_or_default()
    };
    if remembered.len() as u64 == missing {
        return Ok(Some(remembered));
    }
    let _turn = shared.recoveries.acquire().await;
    let (mut all, mut after, mut bytes) = (Vec::new(), position.offset, 0);
    loop {
        let page = shared.log.after_offset(topic, after, point.head_seq, PAGE).await?;
        let Some(last) = page.last() else { break };
        (after, bytes) = (last.offset, bytes + data_bytes(&page));
        all.extend(page);
        if all.len() as u64 >= missing || bytes > shared.config.recover_bytes_max {
            break;
        }
    }
    Ok((all.len() as u64 == missing).then_some(all))
}

fn data_bytes(events: &[Arc<Event>]) -> usize {
    events.iter().map(|event| event.data.len()).sum()
}

fn encode(
    shared: &Shared,
    dialect: &dyn Dialect,
    subscriptions: &[Subscription],
    events: &[Arc<Event>],
) -> Option<Replay> {
    let mut replay = Replay { frames: Vec::new(), events: 0 };
    let (mut buffer, mut total) = (Vec::new(), 0);
    let wanted = Wanted::new(subscriptions);
    let passes =
        |event: &Event| wanted.of(event).any(|s| s.filter.as_ref().is_none_or(|filter| filter.passes(event)));
    for event in events.iter().filter(|event| passes(event)) {
        dialect.encode(event, &mut buffer);
        replay.events += 1;
        if total + buffer.len() > shared.config.recover_bytes_max {
            return None;
        }
        if buffer.len() >= SLICE_BYTES {
            total += buffer.len();
            replay.frames.push(Bytes::from(std::mem::take(&mut buffer)));
        }
    }
    replay.frames.push(Bytes::from(buffer));
    Some(replay)
}
