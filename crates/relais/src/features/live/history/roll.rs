//! From blocks into aggregates, once an hour is over.

use std::collections::BTreeMap;

use relais_store::{ReadTx, StoreError};

use super::aggregate::{Aggregate, Aggregates, HOUR, MINUTE, decode};
use super::codec::Packer;
use super::compact::{Change, Point, Sums, WAIT_MS, floor, row_start, sort};
use super::damage::readable;
use super::memory::spread;
use super::series::Series;
use super::store::{self, Marks, ModuleRow};
use super::{History, block, series_text};

/// Rows of aggregates: width, start and bytes.
pub(super) type Rows = Vec<(i64, i64, Vec<u8>)>;

/// How long after an hour its points are in blocks, in milliseconds.
const GRACE_MS: i64 = WAIT_MS + MINUTE;
/// Over how long the modules are spread, in milliseconds.
const SPREAD_MS: i64 = HOUR / 2;
/// Blocks that are read at once.
const BLOCKS_PER_READ: usize = 64;
/// Modules whose hours are aggregated in one transaction.
const MODULES_PER_STEP: usize = 4;
/// Modules that one look finds at most.
const FOUND_MAX: usize = 256;

/// A module with hours to aggregate.
struct Task {
    id: i64,
    name: Box<str>,
    series: Vec<Series>,
    marks: Marks,
    /// The first hour that is not over.
    until: i64,
}

impl History {
    /// Aggregates hours that are over.
    pub(super) async fn roll_due(&self) -> Result<(), StoreError> {
        loop {
            let mut due = self.due_for_aggregates();
            let many = due.len();
            while !due.is_empty() {
                let ids = due.split_off(due.len().saturating_sub(MODULES_PER_STEP));
                self.each_apart(&ids, |ids| self.roll(ids)).await?;
                self.write_waiting().await?;
            }
            if many == 0 {
                return Ok(());
            }
        }
    }

    async fn roll(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        let keep = (self.0.config.minute_days > 0, self.0.config.hour_days > 0);
        let _batch = self.0.batch.lock().await;
        let tasks = self.roll_tasks(&ids);
        let changes = self.0.store.read(move |tx| {
            let mut packer = Packer::new()?;
            tasks.into_iter().map(|task| prepare(tx, task, keep, &mut packer)).collect()
        });
        let changes: Result<Vec<Change>, StoreError> = changes.await;
        self.apply(changes?).await
    }

    fn due_for_aggregates(&self) -> Vec<i64> {
        let (now, steady) = (self.retention_now(), self.steady());
        let memory = self.0.memory.lock();
        let due = memory.slots.iter().filter(|(id, slot)| {
            slot.marks.rolled_to <= slot.marks.last_hour
                && slot.marks.rolled_to < over(now, **id)
                && slot.retry_at <= steady
        });
        due.map(|(id, _)| *id).take(FOUND_MAX).collect()
    }

    fn roll_tasks(&self, ids: &[i64]) -> Vec<Task> {
        let (now, memory) = (self.retention_now(), self.0.memory.lock());
        let tasks = ids.iter().filter_map(|id| {
            let slot = memory.slots.get(id)?;
            let (name, series) = (slot.name.clone(), slot.series.clone());
            Some(Task { id: *id, name, series, marks: slot.marks, until: over(now, *id) })
        });
        tasks.collect()
    }
}

/// The hours before this moment are over, and the points of this module in blocks.
fn over(now: i64, module: i64) -> i64 {
    floor(now - GRACE_MS - spread(module, SPREAD_MS), HOUR)
}

/// The next hour that has blocks; if there is none, the module is done up to `until`.
fn prepare(
    tx: &mut ReadTx<'_>,
    task: Task,
    (keep_minutes, keep_hours): (bool, bool),
    packer: &mut Packer,
) -> Result<Change, StoreError> {
    let hour = store::first_hour(tx, task.id, task.marks.rolled_to)?.filter(|hour| *hour < task.until);
    let mut points: Vec<Point> = Vec::new();
    if let Some(hour) = hour {
        let mut after = (hour, i64::MIN);
        loop {
            let blocks = store::blocks(tx, task.id, after, hour + HOUR, BLOCKS_PER_READ)?;
            let Some((last, _)) = blocks.last() else { break };
            after = *last;
            for (_, data) in &blocks {
                let known = points.len();
                let read =
                    block::decode(data, u64::MAX, |series, at, value| points.push((series, at, value)));
                if readable(read, "block", &task.name, hour).is_none() {
                    points.truncate(known);
                }
            }
        }
    }
    sort(&mut points);
    let mut sums = Sums::default();
    points.iter().for_each(|(series, at, value)| sums.add(*series, &Aggregate::of(*at, *value)));
    let none = Aggregates::default();
    let minutes = if keep_minutes { &sums.minutes } else { &none };
    let hours = if keep_hours { &sums.hours } else { &none };
    let rolled_to = hour.map_or(task.until, |hour| hour + HOUR);
    Ok(Change {
        before: task.marks,
        row: ModuleRow {
            id: task.id,
            series: series_text(&task.series),
            marks: Marks { rolled_to, ..task.marks },
        },
        blocks: Vec::new(),
        rows: merged_rows(tx, (task.id, &task.name), minutes, hours, packer)?,
        series: task.series,
    })
}

/// The rows that have these aggregates, together with what is in them already. One that cannot be read stays as it is.
pub(super) fn merged_rows(
    tx: &mut ReadTx<'_>,
    (module, name): (i64, &str),
    minutes: &Aggregates,
    hours: &Aggregates,
    packer: &mut Packer,
) -> Result<Rows, StoreError> {
    let mut rows = Rows::new();
    for (width, later) in [(MINUTE, minutes), (HOUR, hours)] {
        let mut by_row = BTreeMap::<i64, Aggregates>::new();
        for (_, begin, _) in later.iter() {
            by_row.entry(row_start(begin, width)).or_default();
        }
        let mut damaged = Vec::new();
        for (start, row) in &mut by_row {
            if let Some(data) = store::find_aggregates(tx, module, width, *start)? {
                let add = |series, begin, known: &Aggregate| row.add(series, begin, known);
                let read = decode(&data, *start, width, u64::MAX, add);
                if readable(read, "aggregates", name, *start).is_none() {
                    damaged.push(*start);
                }
            }
        }
        by_row.retain(|start, _| !damaged.contains(start));
        for (series, begin, aggregate) in later.iter() {
            if let Some(row) = by_row.get_mut(&row_start(begin, width)) {
                row.add(series, begin, aggregate);
            }
        }
        for (start, row) in by_row {
            rows.push((width, start, row.encode(start, width, packer)?));
        }
    }
    Ok(rows)
}
