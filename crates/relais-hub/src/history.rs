//! The newest durable events, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use relais_protocol::event::Event;

/// The newest durable events without a gap, bounded in number and bytes. Most reconnecting clients were away for
/// seconds and are served from here, without the log.
pub(crate) struct History {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The `seq` of the oldest event here, or of the next one if there is none.
    first_seq: u64,
    events_max: usize,
    bytes_max: usize,
}

impl History {
    pub(crate) fn new(head_seq: u64, events_max: usize, bytes_max: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, first_seq: head_seq + 1, events_max, bytes_max }
    }

    /// Adds the next event; after a gap in `seq` only what follows it is kept.
    pub(crate) fn push(&mut self, event: &Arc<Event>) {
        if event.seq != self.first_seq + self.events.len() as u64 {
            self.events.clear();
            self.bytes = 0;
            self.first_seq = event.seq;
        }
        self.bytes += cost(event);
        self.events.push_back(Arc::clone(event));
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= cost(&oldest);
            self.first_seq += 1;
        }
    }

    /// Replaces the data of an event, if it is still here.
    pub(crate) fn amend(&mut self, seq: u64, data: Arc<str>) {
        let place = seq.checked_sub(self.first_seq).and_then(|place| usize::try_from(place).ok());
        if let Some(event) = place.and_then(|place| self.events.get_mut(place)) {
            let amended = Arc::new(Event { data, ..Event::clone(event) });
            self.bytes = self.bytes + cost(&amended) - cost(event);
            *event = amended;
        }
    }

    /// All events with `after < seq <= up_to` that are `wanted`, or `None` if some may be older than what is
    /// kept here.
    pub(crate) fn between(
        &self,
        after: u64,
        up_to: u64,
        wanted: impl Fn(&Event) -> bool,
    ) -> Option<Vec<Arc<Event>>> {
        let skip = usize::try_from((after + 1).checked_sub(self.first_seq)?).ok()?;
        let events = self.events.iter().skip(skip).take_while(|event| event.seq <= up_to);
        Some(events.filter(|event| wanted(event)).map(Arc::clone).collect())
    }

    /// Before this everything is forgotten.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first_seq
    }
}

fn cost(event: &Event) -> usize {
    size_of::<Event>() + event.data.len()
}

#[cfg(test)]
mod tests {
    use relais_protocol::event::{Epoch, Topic};
    use relais_protocol::time::Timestamp;

    use super::*;

    fn event(seq: u64) -> Arc<Event> {
        Arc::new(Event {
            topic: Topic::new("system").unwrap(),
            epoch: Epoch(1),
            offset: seq,
            seq,
            name: "said".into(),
            data: "{}".into(),
            at: Timestamp::default(),
        })
    }

    fn seqs(events: Option<Vec<Arc<Event>>>) -> Option<Vec<u64>> {
        Some(events?.iter().map(|e| e.seq).collect())
    }

    #[test]
    fn only_what_is_kept_whole_is_given() {
        let mut history = History::new(10, 3, usize::MAX);
        assert_eq!(seqs(history.between(10, 10, |_| true)), Some(vec![]));
        assert_eq!(seqs(history.between(9, 10, |_| true)), None);
        (11..=15).for_each(|seq| history.push(&event(seq)));
        assert_eq!(seqs(history.between(12, 14, |_| true)), Some(vec![13, 14]));
        assert_eq!(seqs(history.between(11, 15, |_| true)), None);
    }

    #[test]
    fn after_a_jump_the_older_events_are_not_a_history() {
        let mut history = History::new(0, 10, usize::MAX);
        [1, 2, 5, 6].into_iter().for_each(|seq| history.push(&event(seq)));
        assert_eq!(seqs(history.between(2, 6, |_| true)), None);
        assert_eq!(seqs(history.between(4, 6, |_| true)), Some(vec![5, 6]));
    }

    #[test]
    fn an_event_that_was_amended_is_recovered_so() {
        let mut history = History::new(10, 3, usize::MAX);
        (11..=13).for_each(|seq| history.push(&event(seq)));
        for seq in [10, 12, 14] {
            history.amend(seq, "{\"a\":1}".into());
        }
        let found = history.between(10, 13, |_| true).unwrap();
        assert_eq!(found.iter().map(|e| &*e.data).collect::<Vec<_>>(), ["{}", "{\"a\":1}", "{}"]);
        assert_eq!(history.bytes, found.iter().map(|event| cost(event)).sum::<usize>());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut history = History::new(0, 1000, 3 * cost(&event(1)));
        (1..=10).for_each(|seq| history.push(&event(seq)));
        assert_eq!(history.first_seq(), 8);
    }
}
