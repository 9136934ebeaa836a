//! Who has still to take in how a module is: a mark on the module for each consumer, and for each consumer the modules
//! that have its mark, the longest waiting first.
//!
//! A module is in the queue of a consumer exactly once while it has its mark, and not at all without it.

use std::sync::Arc;

use super::tier::Tier;

/// Whoever is told of modules, or writes them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consumer {
    /// Watchers of a tier, of values.
    Watchers(Tier),
    /// Live watchers, of when a module was seen while its values stay the same.
    LastSeen,
    /// The log, of modules that came or went. A mark says that this may be so.
    Log,
    /// The database, of everything that it keeps of a module.
    Database,
}

impl Consumer {
    #[cfg(test)]
    pub(super) const ALL: [Self; COUNT] = [
        Self::Watchers(Tier::Live),
        Self::Watchers(Tier::Second),
        Self::Watchers(Tier::FiveSeconds),
        Self::LastSeen,
        Self::Log,
        Self::Database,
    ];

    const fn index(self) -> usize {
        match self {
            Self::Watchers(tier) => tier.index(),
            Self::LastSeen => Tier::ALL.len(),
            Self::Log => Tier::ALL.len() + 1,
            Self::Database => Tier::ALL.len() + 2,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.index()
    }
}

const COUNT: usize = Tier::ALL.len() + 3;

/// The consumers that have still to take in how one module is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    #[cfg(test)]
    pub(super) fn has(self, consumer: Consumer) -> bool {
        self.0 & consumer.bit() != 0
    }

    /// Says whether there was none.
    fn set(&mut self, consumer: Consumer) -> bool {
        let before = self.0;
        self.0 |= consumer.bit();
        self.0 != before
    }

    /// The consumer has taken it in, or is about to.
    pub(super) fn clear(&mut self, consumer: Consumer) {
        self.0 &= !consumer.bit();
    }
}

/// The modules that each consumer has still to take in.
#[derive(Default)]
pub(super) struct Queues([Vec<Arc<str>>; COUNT]);

impl Queues {
    /// A consumer has to take in a module, whose marks these are.
    pub(super) fn mark(&mut self, id: &Arc<str>, marks: &mut Marks, consumer: Consumer) {
        if marks.set(consumer) {
            self.0[consumer.index()].push(Arc::clone(id));
        }
    }

    /// How many modules a consumer has to take in.
    pub(super) fn len(&self, consumer: Consumer) -> usize {
        self.0[consumer.index()].len()
    }

    /// Whether a consumer has taken in everything.
    pub(super) fn is_empty(&self, consumer: Consumer) -> bool {
        self.len(consumer) == 0
    }

    /// Takes out at most `limit` modules; whoever takes them [clears](Marks::clear) their marks or puts them back.
    pub(super) fn take(&mut self, consumer: Consumer, limit: usize) -> Vec<Arc<str>> {
        let queue = &mut self.0[consumer.index()];
        if limit >= queue.len() {
            return std::mem::take(queue);
        }
        queue.drain(..limit).collect()
    }

    /// A module that was taken out, and keeps its mark, waits for another time.
    pub(super) fn put_back(&mut self, consumer: Consumer, id: Arc<str>) {
        self.0[consumer.index()].push(id);
    }

    /// There is no such module any more.
    pub(super) fn forget(&mut self, id: &str, marks: Marks) {
        if marks != Marks::default() {
            self.0.iter_mut().for_each(|queue| queue.retain(|waiting| **waiting != *id));
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, consumer: Consumer) -> &[Arc<str>] {
        &self.0[consumer.index()]
    }
}
