//! What is older than its tier keeps goes, and so does what is left of modules that are gone.

use std::time::Duration;

use relais_store::jobs::{JobKind, Outcome};
use relais_store::{RowTx, StoreError};

use super::aggregate::{DAY, HOUR, MINUTE};
use super::compact::floor;
use super::series::Series;
use super::store::{self, ModuleRow};
use super::{History, MODULES_PER_READ, MODULES_PER_STEP};
use crate::feature::{JobHandler, hourly};
use crate::features::live::Live;

/// Of how long a time rows are deleted at once.
const BLOCKS_SPAN_MS: i64 = 6 * HOUR;
const MINUTES_SPAN_MS: i64 = 12 * HOUR;
const HOURS_SPAN_MS: i64 = 30 * DAY;

/// Trims the tiers once an hour, by one server. What fails is tried again within the hour; after that the next one comes
/// anyway.
pub const TRIM: JobHandler = JobHandler {
    kind: JobKind::new("history.trim")
        .attempts(5)
        .timeout(Duration::from_secs(3600))
        .concurrency(1)
        .backoff(Duration::from_secs(30), Duration::from_secs(600)),
    schedule: hourly,
    run: |app, _| {
        Box::pin(async {
            match app.service::<Live>().history().trim().await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    Outcome::Failed(format!("old history of modules could not be deleted: {error}"))
                }
            }
        })
    },
};

/// What goes of a module: everything before these.
#[derive(Clone, Copy)]
struct Old {
    module: i64,
    blocks: i64,
    minutes: i64,
    hours: i64,
}

impl History {
    /// Deletes what is older than its tier keeps, of all modules that the database has, whichever server took it in.
    ///
    /// # Errors
    /// If the database cannot be read or written; what was done so far stands.
    pub async fn trim(&self) -> Result<(), StoreError> {
        if !self.0.config.enabled {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let rows = self.0.store.read(move |tx| store::modules(tx, after, MODULES_PER_READ)).await?;
            let Some((_, last)) = rows.last() else { return Ok(()) };
            after = last.id;
            let olds: Vec<Old> = rows.iter().filter_map(|(_, row)| self.old(row)).collect();
            for some in olds.chunks(MODULES_PER_STEP) {
                self.trim_some(some.to_vec()).await?;
            }
        }
    }

    /// A part at a time, so that other writers never wait long.
    async fn trim_some(&self, mut olds: Vec<Old>) -> Result<(), StoreError> {
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
        }
        Ok(())
    }

    /// What is old of a module. What cannot be read is left as it is.
    fn old(&self, row: &ModuleRow) -> Option<Old> {
        serde_json::from_str::<Vec<Series>>(&row.series).ok()?;
        let (now, config) = (self.retention_now(), &self.0.config);
        Some(Old {
            module: row.id,
            // Blocks that are in no aggregate yet stay until they are.
            blocks: floor(now - i64::from(config.raw_hours) * HOUR, HOUR).min(row.marks.rolled_to),
            minutes: floor(now - i64::from(config.minute_days) * DAY, HOUR),
            hours: floor(now - i64::from(config.hour_days) * DAY, DAY),
        })
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
