//! From the journal into blocks: module by module, each in a transaction that also says how far the journal is done.

use relais_store::{ReadTx, RowTx, StoreError};

use super::aggregate::{Aggregate, Aggregates, DAY, HOUR, MINUTE};
use super::codec::Packer;
use super::damage::readable;
use super::memory::{Segment, spread};
use super::points::Points;
use super::roll::{Rows, merged_rows};
use super::series::Series;
use super::store::{self, Marks, ModuleRow};
use super::{ENTRIES_PER_STEP, History, MODULES_PER_STEP, series_text};

/// How long points wait in the journal at most, in milliseconds; modules differ within the second half of it.
pub(super) const WAIT_MS: i64 = 5 * MINUTE;
/// Modules that one look finds at most.
const FOUND_MAX: usize = 1024;

/// Points of one module that go into blocks.
struct Task {
    id: i64,
    name: Box<str>,
    series: Vec<Series>,
    marks: Marks,
    segments: Vec<Segment>,
    /// The last entry of which everything goes.
    done: i64,
}

/// The rows that a task comes to.
pub(super) struct Change {
    pub(super) before: Marks,
    pub(super) row: ModuleRow,
    pub(super) blocks: Vec<(i64, i64, Vec<u8>)>,
    pub(super) rows: Rows,
    pub(super) series: Vec<Series>,
}

/// What became of a change.
enum Outcome {
    Done(Marks),
    /// The database is further than this process knows: an answer was lost.
    Known(Marks),
    Gone,
}

impl History {
    /// Moves points into blocks that have waited long enough, or that memory has no room for.
    pub(super) async fn compact_due(&self) -> Result<(), StoreError> {
        loop {
            let due = self.due_for_blocks();
            for ids in due.chunks(MODULES_PER_STEP) {
                self.each_apart(ids, |ids| self.compact(ids)).await?;
                self.write_waiting().await?;
            }
            if due.len() < FOUND_MAX {
                return self.trim_journal().await;
            }
        }
    }

    /// Runs `step` for all of these, and for each by itself if that fails: one that cannot be moved does not hold up the
    /// others.
    pub(super) async fn each_apart<F: Future<Output = Result<(), StoreError>>>(
        &self,
        ids: &[i64],
        step: impl Fn(Vec<i64>) -> F,
    ) -> Result<(), StoreError> {
        match step(ids.to_vec()).await {
            Err(error) if !error.is_temporary() => {}
            done => return done,
        }
        for id in ids {
            match step(vec![*id]).await {
                Err(error) if !error.is_temporary() => self.put_off(*id, &error),
                done => done?,
            }
        }
        Ok(())
    }

    async fn compact(&self, ids: Vec<i64>) -> Result<(), StoreError> {
        let _batch = self.0.batch.lock().await;
        let tasks = self.tasks(&ids);
        let prepare = move |tx: &mut ReadTx<'_>| prepare_all(tx, tasks);
        let changes = self.0.store.read(prepare).await?;
        self.apply(changes).await
    }

    /// Modules whose points are due, longest waiting first.
    fn due_for_blocks(&self) -> Vec<i64> {
        let (now, memory) = (self.steady(), self.0.memory.lock());
        let is_full = memory.bytes > self.0.config.memory_bytes / 2;
        let mut due: Vec<(i64, i64)> = Vec::new();
        for (id, slot) in &memory.slots {
            let Some(first) = slot.segments.front().filter(|first| first.journal <= memory.stored) else {
                continue;
            };
            let waited = now - first.since >= WAIT_MS / 2 + spread(*id, WAIT_MS / 2);
            if (is_full || waited) && slot.retry_at <= now {
                due.push((first.journal, *id));
            }
        }
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).take(FOUND_MAX).collect()
    }

    fn tasks(&self, ids: &[i64]) -> Vec<Task> {
        let memory = self.0.memory.lock();
        let done = memory.stored;
        let tasks = ids.iter().filter_map(|id| {
            let slot = memory.slots.get(id)?;
            let segments = slot.segments.iter().take_while(|segment| segment.journal <= done).cloned();
            Some(Task {
                id: *id,
                name: slot.name.clone(),
                series: slot.series.clone(),
                marks: slot.marks,
                segments: segments.collect(),
                done,
            })
        });
        tasks.collect()
    }

    /// Writes changes, and moves in memory what they moved. The batch is the caller's from before these were prepared.
    pub(super) async fn apply(&self, mut changes: Vec<Change>) -> Result<(), StoreError> {
        changes.sort_unstable_by_key(|change| change.row.id);
        let seen: Vec<(i64, Vec<Series>)> =
            changes.iter().map(|change| (change.row.id, change.series.clone())).collect();
        let write =
            move |tx: &mut RowTx<'_, '_>| changes.iter().map(|change| apply_one(tx, change)).collect();
        let outcomes: Vec<Outcome> = self.0.store.write_rows(write).await?;
        let mut memory = self.0.memory.lock();
        for ((id, series), outcome) in seen.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Done(marks) => {
                    if let Some(slot) = memory.slots.get_mut(&id) {
                        slot.series.iter_mut().zip(series).for_each(|(known, seen)| known.widen_to(&seen));
                    }
                    memory.settle(id, marks);
                }
                Outcome::Known(marks) => memory.settle(id, marks),
                Outcome::Gone => memory.remove(id),
            }
        }
        Ok(())
    }

    /// Deletes entries of which every point is in a block.
    async fn trim_journal(&self) -> Result<(), StoreError> {
        let before = self.0.memory.lock().first_needed();
        while self.0.memory.lock().trimmed < before {
            let step = self.0.store.write_rows(move |tx| store::trim_journal(tx, before, ENTRIES_PER_STEP));
            if step.await? < ENTRIES_PER_STEP as u64 {
                self.0.memory.lock().trimmed = before;
            }
        }
        Ok(())
    }
}

fn apply_one(tx: &mut RowTx<'_, '_>, change: &Change) -> Result<Outcome, StoreError> {
    let id = change.row.id;
    if !store::advance(tx, &change.row, change.before)? {
        return Ok(store::find_marks(tx, id)?.map_or(Outcome::Gone, Outcome::Known));
    }
    for (hour, part, data) in &change.blocks {
        store::put_block(tx, id, *hour, *part, data)?;
    }
    for (width, start, data) in &change.rows {
        store::put_aggregates(tx, id, *width, *start, data)?;
    }
    Ok(Outcome::Done(change.row.marks))
}

fn prepare_all(tx: &mut ReadTx<'_>, tasks: Vec<Task>) -> Result<Vec<Change>, StoreError> {
    let mut packer = Packer::new()?;
    tasks.into_iter().map(|task| prepare(tx, task, &mut packer)).collect()
}

/// A block per hour. Points of an hour that is in the aggregates already are added to these too.
fn prepare(tx: &mut ReadTx<'_>, mut task: Task, packer: &mut Packer) -> Result<Change, StoreError> {
    let mut points = Points::default();
    for segment in &task.segments {
        let mut of_segment = Points::default();
        let read = of_segment.read(&segment.data);
        if readable(read, "journal", &task.name, segment.journal).is_some() {
            points.append(&of_segment);
        }
    }
    let mut marks = Marks { journal_done: task.done, ..task.marks };
    let (mut blocks, mut late) = (Vec::new(), Sums::default());
    for (hour, points) in by_hour(&points) {
        points.each(|series, at, _| widen(&mut task.series, series, at));
        if hour < marks.rolled_to {
            for (series, at, value) in in_time(&points) {
                late.add(series, &Aggregate::of(at, value));
            }
        }
        marks.last_hour = marks.last_hour.max(hour);
        blocks.push((hour, task.done, super::block::encode(&points, packer)?));
    }
    Ok(Change {
        before: task.marks,
        row: ModuleRow { id: task.id, series: series_text(&task.series), marks },
        blocks,
        rows: merged_rows(tx, (task.id, &task.name), &late.minutes, &late.hours, packer)?,
        series: task.series,
    })
}

/// A point: series, time, value.
pub(super) type Point = (u8, i64, f64);

/// Points series by series, each in the order of time; those of one moment in the order in which they came.
pub(super) fn in_time(points: &Points) -> Vec<Point> {
    let mut all = Vec::new();
    points.each(|series, at, value| all.push((series, at, value)));
    sort(&mut all);
    all
}

/// See [`in_time`].
pub(super) fn sort(points: &mut [Point]) {
    points.sort_by_key(|(series, at, _)| (*series, *at));
}

/// Aggregates of both widths.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) minutes: Aggregates,
    pub(super) hours: Aggregates,
}

impl Sums {
    pub(super) fn add(&mut self, series: u8, point: &Aggregate) {
        self.minutes.add(series, floor(point.last_at, MINUTE), point);
        self.hours.add(series, floor(point.last_at, HOUR), point);
    }
}

/// The moment at or before `at` that is a multiple of `width`.
pub(super) fn floor(at: i64, width: i64) -> i64 {
    at.div_euclid(width) * width
}

/// Where the row begins that has aggregates of this width.
pub(super) fn row_start(begin: i64, width: i64) -> i64 {
    floor(begin, if width == MINUTE { HOUR } else { DAY })
}

fn by_hour(points: &Points) -> std::collections::BTreeMap<i64, Points> {
    let mut found = std::collections::BTreeMap::<i64, Points>::new();
    for (at, mask, values) in points.iter() {
        found.entry(floor(at, HOUR)).or_default().push(at, mask, values);
    }
    found
}

fn widen(series: &mut [Series], number: u8, at: i64) {
    if let Some(known) = series.get_mut(usize::from(number)).filter(|known| known.has(at)) {
        known.first = Some(known.first.map_or(at, |first| first.min(at)));
        known.last = Some(known.last.map_or(at, |last| last.max(at)));
    }
}
