//! What the hub's thread, its handles and its sessions share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use parking_lot::Mutex;
use relais_protocol::event::{Cursor, Epoch};
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::config::HubConfig;
use crate::history::History;
use crate::inbox::Inbox;
use crate::log::EventLog;
use crate::stats::Figures;

/// What the hub's thread, its handles and its sessions share.
pub(crate) struct Shared {
    pub config: HubConfig,
    pub epoch: Epoch,
    pub inbox: Inbox,
    pub log: Arc<dyn EventLog>,
    /// Short critical sections only: the hub's thread adds every durable event.
    pub history: Mutex<History>,
    pub admission: Mutex<Admission>,
    /// Buffered bytes of incomplete messages.
    pub unfinished_bytes: AtomicUsize,
    pub figures: Figures,
    /// Seconds since the start, for the time of a session's last activity.
    pub now_s: AtomicU32,
    pub next_session: AtomicU64,
    /// Names of the dialects seen so far; the index of a name is its number.
    pub dialects: Mutex<Vec<&'static str>>,
    /// Recoveries that may read the log at the same time.
    pub recoveries: Semaphore,
}

impl Shared {
    pub(crate) fn new(config: HubConfig, head: Cursor, log: Arc<dyn EventLog>) -> Self {
        let figures = Figures { head_seq: AtomicU64::new(head.seq), ..Figures::default() };
        Self {
            epoch: head.epoch,
            inbox: Inbox::new(config.inbox_bytes),
            log,
            history: Mutex::new(History::new(head.seq, config.history_events_max, config.history_bytes_max)),
            admission: Mutex::default(),
            unfinished_bytes: AtomicUsize::new(0),
            figures,
            now_s: AtomicU32::new(0),
            next_session: AtomicU64::new(1),
            dialects: Mutex::default(),
            recoveries: Semaphore::new(config.recoveries_max),
            config,
        }
    }

    /// The number of a dialect, by its name.
    pub(crate) fn dialect_number(&self, name: &'static str) -> u16 {
        let mut dialects = self.dialects.lock();
        let place = dialects.iter().position(|known| *known == name).unwrap_or_else(|| {
            dialects.push(name);
            dialects.len() - 1
        });
        u16::try_from(place).expect("a server speaks fewer than 65,536 dialects")
    }
}
