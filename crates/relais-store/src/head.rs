//! The last event that was committed and completed, for everybody to see.

use std::sync::atomic::{AtomicU64, Ordering};

use relais_protocol::event::{Cursor, Epoch};

/// Moved by the completion thread, read by anyone.
pub(crate) struct SharedHead {
    epoch: Epoch,
    seq: AtomicU64,
}

impl SharedHead {
    pub(crate) fn new(epoch: Epoch, seq: u64) -> Self {
        Self { epoch, seq: AtomicU64::new(seq) }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, seq: self.seq.load(Ordering::Acquire) }
    }

    pub(crate) fn advance(&self, seq: u64) {
        self.seq.store(seq, Ordering::Release);
    }
}
