//! What is older than its tier keeps goes, and so does what is left of modules that are gone.

use relais_store::{RowTx, StoreError};

use super::aggregate::{DAY, HOUR, MINUTE};
use super::compact::floor;
use super::store;
use super::{History, MODULES_PER_STEP};

/// How often each module is looked at, in milliseconds.
const PERIOD_MS: i64 = HOUR;
/// Of how long a time rows are deleted at once.
const BLOCKS_SPAN_MS: i64 = 6 * HOUR;
const MINUTES_SPAN_MS: i64 = 12 * HOUR;
const HOURS_SPAN_MS: i64 = 30 * DAY;

/// What goes of a module: everything before these.
#[derive(Clone, Copy)]
struct Old {
    module: i64,
    blocks: i64,
    minutes: i64,
    hours: i64,
}

impl History {
    /// Deletes what is older than its tier keeps, of the modules whose turn it is.
    pub(super) async fn expire_due(&self) -> Result<(), StoreError> {
        let due = self.due_for_retention();
        for olds in due.chunks(MODULES_PER_STEP) {
            let mut olds = olds.to_vec();
            while !olds.is_empty() {
                let step = move |tx: &mut RowTx<'_, '_>| {
                    let mut rest = Vec::new();
                    for old in &olds {
                        if delete_some(tx, *old)? > 0 {
                            rest.push(*old);
                        }
                    }
                    Ok::<_, StoreError>(rest)
                };
                olds = self.0.store.write_rows(step).await?;
                // What comes meanwhile does not wait for all of it.
                self.write_waiting().await?;
            }
        }
        Ok(())
    }

    fn due_for_retention(&self) -> Vec<Old> {
        let (now, steady, config) = (self.retention_now(), self.steady(), &self.0.config);
        let mut memory = self.0.memory.lock();
        let due = memory.slots.iter_mut().filter(|(_, slot)| slot.expires_at <= steady);
        let olds = due.map(|(id, slot)| {
            slot.expires_at = steady + PERIOD_MS;
            Old {
                module: *id,
                // Blocks that are in no aggregate yet stay until they are.
                blocks: floor(now - i64::from(config.raw_hours) * HOUR, HOUR).min(slot.marks.rolled_to),
                minutes: floor(now - i64::from(config.minute_days) * DAY, HOUR),
                hours: floor(now - i64::from(config.hour_days) * DAY, DAY),
            }
        });
        olds.collect()
    }

    /// Deletes the rows of modules that are gone.
    pub(super) async fn purge_gone(&self) -> Result<(), StoreError> {
        let gone = std::mem::take(&mut self.0.memory.lock().gone);
        for (number, module) in gone.iter().enumerate() {
            if let Err(error) = self.purge(*module).await {
                self.0.memory.lock().gone.extend(&gone[number..]);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn purge(&self, module: i64) -> Result<(), StoreError> {
        let all = Old { module, blocks: i64::MAX, minutes: i64::MAX, hours: i64::MAX };
        while self.0.store.write_rows(move |tx| delete_some(tx, all)).await? > 0 {
            self.write_waiting().await?;
        }
        let _batch = self.0.batch.lock().await;
        self.0.store.write_rows(move |tx| store::delete_module(tx, module)).await
    }
}

/// Deletes a part of what is old; says how many rows.
fn delete_some(tx: &mut RowTx<'_, '_>, old: Old) -> Result<u64, StoreError> {
    let blocks = store::trim_blocks(tx, old.module, old.blocks, BLOCKS_SPAN_MS)?;
    let minutes = store::trim_aggregates(tx, old.module, MINUTE, old.minutes, MINUTES_SPAN_MS)?;
    let hours = store::trim_aggregates(tx, old.module, HOUR, old.hours, HOURS_SPAN_MS)?;
    Ok(blocks + minutes + hours)
}
