//! History: what modules reported, kept in tiers and read as charts.
//!
//! A point is a module, a series, a moment and a number. Points are collected in memory and appended to a journal about
//! once a second, all modules in one row ([`memory`]). From there they go into blocks, per module and hour
//! ([`compact`]), and once the hour is over into aggregates of a minute and of an hour ([`roll`]). Each tier has its
//! own retention ([`retain`]). A read puts together what is in memory, in blocks and in aggregates ([`range`]), so a
//! point is seen at once. Why: `docs/adr/0010-history-of-modules.md`.

mod aggregate;
mod asked;
mod block;
mod codec;
mod compact;
mod damage;
pub mod http;
mod memory;
mod points;
mod range;
mod retain;
mod roll;
mod series;
mod store;
mod tier;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relais_protocol::time::{Moment, SharedClock, Timestamp};
use relais_store::{Store, StoreError, WriteTx};
use tokio_util::sync::CancellationToken;

use crate::config::HistoryConfig;
use damage::readable;
use memory::{Entry, Memory, Said, Sealed, Segment, Taken, places};
use series::Series;
use store::ModuleRow;

pub use points::SERIES_MAX;
pub use range::{Bucket, Range, RangeQuery, SeriesList, SeriesRange, SeriesSpan};
pub use retain::TRIM;
pub use store::MIGRATIONS;
pub use tier::Tier;

/// Modules that are written in one transaction, so that other writers never wait long.
const MODULES_PER_STEP: usize = 16;
/// New modules that are written in one transaction.
const NEW_PER_STEP: usize = 64;
/// Entries of the journal that are written at once, and those that are read or deleted at once.
const ENTRIES_PER_WRITE: usize = 8;
const ENTRIES_PER_STEP: usize = 64;
/// Milliseconds until something that could not be moved is tried again.
const RETRY_MS: i64 = 5 * 60_000;
/// Modules that are read at once.
const MODULES_PER_READ: usize = 1000;
/// How often it is said at most that points were lost.
const LOSSES_TOLD_MS: i64 = 60_000;

/// What modules reported. Cheap to clone.
#[derive(Clone)]
pub struct History(Arc<Inner>);

struct Inner {
    store: Store,
    clock: SharedClock,
    config: HistoryConfig,
    memory: Mutex<Memory>,
    /// Held while a batch becomes an entry of the journal.
    sealing: Mutex<()>,
    /// Held by the one who moves on what is due.
    compacting: tokio::sync::Mutex<()>,
    /// Held while rows of modules are read from memory and written, a batch at a time: names of series, and what
    /// moves. Whoever has a new name to write waits for one batch, however much there is to move.
    batch: tokio::sync::Mutex<()>,
    /// Held by the one who writes for those who wait for it: the others find it done.
    writing: tokio::sync::Mutex<()>,
    /// Points lost since that was last said, and when.
    losses: Mutex<(u64, Option<i64>)>,
}

impl History {
    /// The history in this store, with what the journal has since the last stop.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn open(store: Store, clock: SharedClock, config: HistoryConfig) -> Result<Self, StoreError> {
        let mut memory = Memory::default();
        load_modules(&store, &mut memory, clock.moment()).await?;
        load_journal(&store, &mut memory, clock.steady().as_millis()).await?;
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            config,
            memory: Mutex::new(memory),
            sealing: Mutex::default(),
            compacting: tokio::sync::Mutex::default(),
            batch: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            losses: Mutex::default(),
        })))
    }

    /// Takes in what a module measured at one moment. Never waits for the database and never fails: what cannot be kept (a
    /// 65th series while all others say something, a name of more than 64 bytes, a number that is not finite, more than
    /// the memory allows) is counted.
    ///
    /// Whoever calls this knows that there is such a module.
    pub fn record<'a>(&self, module: &str, at: Timestamp, values: impl Iterator<Item = (&'a str, f64)>) {
        if !self.0.config.enabled {
            return;
        }
        let Moment { now, steady } = self.0.clock.moment();
        let said = Said { module, at: at.as_millis(), now: now.as_millis(), steady: steady.as_millis() };
        let taken = self.0.memory.lock().record(said, values, self.0.config.memory_bytes / 2);
        log_taken(module, &taken);
    }

    async fn run(&self, stop: CancellationToken) {
        if !self.0.config.enabled {
            return;
        }
        let sealed = tokio::sync::Notify::new();
        let pause = Duration::from_millis(self.0.config.flush_ms);
        let seal = async {
            loop {
                tokio::time::sleep(pause).await;
                self.seal();
                sealed.notify_one();
            }
        };
        let keep = async {
            let mut fails = false;
            loop {
                sealed.notified().await;
                let done = self.flush_and_keep().await;
                match &done {
                    // Once, not each second.
                    Err(error) if !fails => {
                        tracing::warn!(%error, "the history of modules cannot be written; trying again");
                    }
                    Ok(()) if fails => tracing::info!("the history of modules is written again"),
                    _ => {}
                }
                fails = done.is_err();
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = seal => {}
            () = keep => {}
        }
    }

    /// Writes everything that came before this call.
    ///
    /// # Errors
    /// If the database cannot be written; the points stay in memory for the next attempt.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.seal();
        self.write_waiting().await
    }

    /// Returns once the database has everything that was recorded before this call. Those who wait meanwhile share one
    /// write.
    ///
    /// # Errors
    /// If the database cannot be written; the points stay in memory for the next attempt.
    pub async fn stored(&self) -> Result<(), StoreError> {
        let wanted = self.0.memory.lock().recorded;
        let _writing = self.0.writing.lock().await;
        let recorded = {
            let memory = self.0.memory.lock();
            if memory.durable >= wanted {
                return Ok(());
            }
            memory.recorded
        };
        self.flush().await?;
        self.0.memory.lock().durable = recorded;
        Ok(())
    }

    /// Moves on what is due, into blocks and into aggregates, and deletes what is left of modules that are gone.
    ///
    /// # Errors
    /// If the database cannot be written; what was done so far stands.
    pub async fn keep(&self) -> Result<(), StoreError> {
        let _compacting = self.0.compacting.lock().await;
        // Each whatever became of the others: what cannot be moved must not keep what is old.
        let compacted = self.compact_due().await;
        let rolled = self.roll_due().await;
        let purged = self.purge_gone().await;
        compacted.and(rolled).and(purged)
    }

    async fn flush_and_keep(&self) -> Result<(), StoreError> {
        self.flush().await?;
        self.keep().await
    }

    /// A module was removed, by this process or another: what is in memory of it goes, and its rows follow.
    pub fn forget(&self, module: &str) {
        self.0.memory.lock().forget(module);
    }

    /// Bytes of values in memory, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.memory.lock().bytes
    }

    /// The time of day, for what is shown.
    fn now(&self) -> i64 {
        self.0.clock.now().as_millis()
    }

    /// For waits.
    fn steady(&self) -> i64 {
        self.0.clock.steady().as_millis()
    }

    /// For what is over, and for what is old.
    fn retention_now(&self) -> i64 {
        self.0.store.retention_now().as_millis()
    }

    /// A module of which something cannot be moved, whatever it is: the others go on.
    fn put_off(&self, module: i64, error: &StoreError) {
        let retry_at = self.steady() + RETRY_MS;
        let mut memory = self.0.memory.lock();
        let Some(slot) = memory.slots.get_mut(&module) else { return };
        slot.retry_at = retry_at;
        metrics::counter!("relais_history_modules_put_off_total").increment(1);
        tracing::error!(
            module = &*slot.name, %error,
            "the history of a module cannot be moved on: its values stay where they are, trying again in five minutes"
        );
    }

    /// Makes an entry of the journal of what has come. Points are in one place or the other for readers all the time.
    fn seal(&self) {
        let _sealing = self.0.sealing.lock();
        let Some((id, batch)) = self.0.memory.lock().begin_seal() else { return };
        metrics::counter!("relais_history_points_total").increment(batch.points());
        let sealed = Sealed::new(id, &batch);
        let lost = self.0.memory.lock().end_seal(sealed, self.steady(), self.0.config.memory_bytes);
        self.report_losses(lost);
    }

    fn report_losses(&self, lost: u64) {
        let mut losses = self.0.losses.lock();
        if lost > 0 {
            metrics::counter!("relais_history_points_lost_total").increment(lost);
            losses.0 += lost;
        }
        let now = self.steady();
        if losses.0 > 0 && losses.1.is_none_or(|told| now - told >= LOSSES_TOLD_MS) {
            let points = losses.0;
            tracing::error!(points, "points of modules were lost: the database does not keep up");
            *losses = (0, Some(now));
        }
    }

    /// Writes entries that wait now, oldest first, with the names that they speak of before them. Two at once do no harm.
    async fn write_waiting(&self) -> Result<(), StoreError> {
        let (newest, has_names) = {
            let memory = self.0.memory.lock();
            let Some(newest) = memory.waiting.back().map(|entry| entry.id) else { return Ok(()) };
            (newest, memory.slots.values().all(|slot| slot.is_stored))
        };
        if !has_names {
            self.write_modules().await?;
        }
        self.append_until(newest).await
    }

    /// Writes entries that wait up to `newest`: names that came after it may be in memory alone.
    async fn append_until(&self, newest: i64) -> Result<(), StoreError> {
        loop {
            let entries: Vec<Arc<Entry>> = {
                let memory = self.0.memory.lock();
                let waiting = memory.waiting.iter().take_while(|entry| entry.id <= newest);
                waiting.take(ENTRIES_PER_WRITE).cloned().collect()
            };
            let Some(last) = entries.last().map(|entry| entry.id) else { return Ok(()) };
            let packed = pack_entries(&entries)?;
            self.0
                .store
                .write_rows(move |tx| packed.iter().try_for_each(|(id, data)| store::append(tx, *id, data)))
                .await?;
            let mut memory = self.0.memory.lock();
            memory.waiting.retain(|entry| entry.id > last);
            memory.stored = memory.stored.max(last);
        }
    }

    async fn write_modules(&self) -> Result<(), StoreError> {
        loop {
            let _batch = self.0.batch.lock().await;
            let new: Vec<(Box<str>, ModuleRow)> = {
                let memory = self.0.memory.lock();
                let unstored = memory.slots.iter().filter(|(_, slot)| !slot.is_stored).take(NEW_PER_STEP);
                unstored.map(|(id, slot)| (slot.name.clone(), module_row(*id, slot))).collect()
            };
            if new.is_empty() {
                return Ok(());
            }
            let written: Vec<(i64, String)> =
                new.iter().map(|(_, row)| (row.id, row.series.clone())).collect();
            self.0
                .store
                .write_rows(move |tx| new.iter().try_for_each(|(name, row)| store::put_module(tx, name, row)))
                .await?;
            let mut memory = self.0.memory.lock();
            for (id, series) in written {
                match memory.slots.get_mut(&id) {
                    // A name may have come meanwhile.
                    Some(slot) => slot.is_stored = series_text(&slot.series) == series,
                    None => memory.gone.push(id),
                }
            }
        }
    }
}

/// Keeps the tables until told to stop.
pub async fn keep_history(history: History, stop: CancellationToken) {
    history.run(stop).await;
}

/// Takes its history from a module, in the transaction that removes it. [`History::forget`] follows.
///
/// # Errors
/// Whatever the database reports.
pub fn disown(tx: &mut WriteTx<'_>, module: &str) -> Result<(), StoreError> {
    store::disown(tx, module)
}

fn pack_entries(entries: &[Arc<Entry>]) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let mut packer = codec::Packer::new()?;
    entries.iter().map(|entry| Ok((entry.id, packer.pack(&entry.data)?))).collect()
}

fn series_text(series: &[Series]) -> String {
    serde_json::to_string(series).unwrap_or_default()
}

fn module_row(id: i64, slot: &memory::Slot) -> ModuleRow {
    ModuleRow { id, series: series_text(&slot.series), marks: slot.marks }
}

fn log_taken(module: &str, taken: &Taken) {
    if taken.refused > 0 {
        metrics::counter!("relais_history_points_refused_total").increment(taken.refused);
    }
    if !taken.freed.is_empty() {
        metrics::counter!("relais_history_series_freed_total").increment(taken.freed.len() as u64);
        tracing::info!(module, freed = ?taken.freed, "names that are silent gave their places in the history to new ones");
    }
    if !taken.unplaced.is_empty() {
        tracing::warn!(
            module, names = ?taken.unplaced,
            "a module says more than {SERIES_MAX} series: these have no history until others are silent for an hour"
        );
    }
}

async fn load_modules(store: &Store, memory: &mut Memory, moment: Moment) -> Result<(), StoreError> {
    let (now, steady) = (moment.now.as_millis(), moment.steady.as_millis());
    let mut after = 0;
    loop {
        let rows = store.read(move |tx| store::modules(tx, after, MODULES_PER_READ)).await?;
        let Some((_, last)) = rows.last() else { break };
        after = last.id;
        for (name, row) in rows {
            memory.next_entry = memory.next_entry.max(row.marks.journal_done);
            let Some(name) = name else {
                memory.gone.push(row.id);
                continue;
            };
            let Ok(mut series) = serde_json::from_str::<Vec<Series>>(&row.series) else {
                damage::count();
                tracing::error!(
                    module = name,
                    "the series of a module cannot be read: its history is left as it is, and nothing new is kept; \
                     restore a backup, or remove the module's history"
                );
                memory.unreadable.insert(name.into());
                continue;
            };
            for one in &mut series {
                // Those that said something last before the server stopped are the last to lose their places.
                one.seen = steady - one.last.map_or(0, |last| (now - last).max(0));
            }
            memory.insert(row.id, &name, series, row.marks);
        }
    }
    memory.next_id = after + 1;
    Ok(())
}

async fn load_journal(store: &Store, memory: &mut Memory, now: i64) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let entries = store.read(move |tx| store::journal(tx, after, ENTRIES_PER_STEP)).await?;
        let Some((last, _)) = entries.last() else { break };
        after = *last;
        for (id, packed) in entries {
            let read = codec::unpack(&packed).and_then(|bytes| places(&bytes.into()));
            for (module, data) in readable(read, "journal", "", id).unwrap_or_default() {
                memory.add(module, Segment { journal: id, since: now, data });
            }
        }
    }
    memory.stored = memory.next_entry.max(after);
    memory.next_entry = memory.stored + 1;
    Ok(())
}
