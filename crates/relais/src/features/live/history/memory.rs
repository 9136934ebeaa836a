//! What is in memory: the points of this second, and those of the journal that are in no block yet.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::aggregate::HOUR;
use super::codec::{Damaged, Reader, put_u64};
use super::points::{Points, SERIES_MAX};
use super::series::{Place, Series, Unplaced, place};
use super::store::Marks;

/// Modules that can have a history.
const MODULES_MAX: usize = 1 << 20;
/// What a segment takes beside its bytes, about.
const SEGMENT_BYTES: usize = 64;
/// What a moment takes while it is collected, beside its values.
const MOMENT_BYTES: usize = 32;

/// Points of one module in one entry of the journal.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    /// The entry.
    pub(super) journal: i64,
    /// When it came, in milliseconds of steady time.
    pub(super) since: i64,
    pub(super) data: Bytes,
}

/// One module.
pub(super) struct Slot {
    pub(super) name: Box<str>,
    pub(super) series: Vec<Series>,
    pub(super) marks: Marks,
    /// Whether the database has every name of a series.
    pub(super) is_stored: bool,
    pub(super) segments: VecDeque<Segment>,
    /// Something of it cannot be moved: when that is tried again, in milliseconds of steady time.
    pub(super) retry_at: i64,
    /// Names that have no place.
    pub(super) unplaced: Unplaced,
}

/// What a module says at one moment.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) module: &'a str,
    /// When the values were measured.
    pub(super) at: i64,
    /// When it is said, in the time of day and in steady time.
    pub(super) now: i64,
    pub(super) steady: i64,
}

/// What became of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// Points that could not be taken.
    pub(super) refused: u64,
    /// Names that lost their places.
    pub(super) freed: Vec<Box<str>>,
    /// Names that have no place, if that is to be said now.
    pub(super) unplaced: Vec<Box<str>>,
}

/// How often it is said of one module that names have no place.
const UNPLACED_TOLD_MS: i64 = HOUR;

/// Points of all modules that came since the last entry of the journal.
#[derive(Default)]
pub(super) struct Batch {
    rows: Vec<Moment>,
    values: Vec<f64>,
}

struct Moment {
    module: i64,
    at: i64,
    mask: u64,
    from: usize,
}

/// An entry of the journal that the database does not have yet.
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) points: u64,
    pub(super) data: Bytes,
    modules: Vec<i64>,
}

/// What a read needs of one module, as it was at one moment.
pub(super) struct Recent {
    pub(super) id: i64,
    pub(super) series: Vec<Series>,
    pub(super) segments: Vec<Segment>,
    /// Names that have no place.
    pub(super) unplaced: Vec<Box<str>>,
    /// Points that no entry has yet, with the entry that they will be in.
    pub(super) coming: Vec<(i64, Points)>,
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) slots: BTreeMap<i64, Slot>,
    by_name: HashMap<Box<str>, i64>,
    /// Modules whose series cannot be read: nothing is kept of them, so that nothing is overwritten.
    pub(super) unreadable: HashSet<Box<str>>,
    pub(super) next_id: i64,
    /// The entry that the batch will be.
    pub(super) next_entry: i64,
    batch: Batch,
    /// The batch that is being written into an entry.
    sealing: Option<(i64, Arc<Batch>)>,
    pub(super) waiting: VecDeque<Arc<Entry>>,
    /// How often something was recorded.
    pub(super) recorded: u64,
    /// How much of that the database has, as far as somebody waited for it.
    pub(super) durable: u64,
    /// The last entry that the database has.
    pub(super) stored: i64,
    /// Entries before it are deleted.
    pub(super) trimmed: i64,
    /// Bytes of all segments.
    pub(super) bytes: usize,
    /// Modules that are gone and whose rows are still there.
    pub(super) gone: Vec<i64>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.rows.len() * MOMENT_BYTES + self.values.len() * size_of::<f64>()
    }

    pub(super) fn points(&self) -> u64 {
        self.values.len() as u64
    }

    fn values_of(&self, moment: &Moment) -> &[f64] {
        &self.values[moment.from..moment.from + moment.mask.count_ones() as usize]
    }

    fn push(&mut self, module: i64, at: i64, mask: u64, values: &[f64; SERIES_MAX]) {
        let from = self.values.len();
        self.values.extend(super::points::series_in(mask).map(|series| values[usize::from(series)]));
        self.rows.push(Moment { module, at, mask, from });
    }

    fn points_of(&self, module: i64) -> Points {
        let mut points = Points::default();
        for moment in self.rows.iter().filter(|moment| moment.module == module) {
            points.push(moment.at, moment.mask, self.values_of(moment));
        }
        points
    }

    /// The bytes of an entry, and where in them each module's points are.
    fn write(&self) -> (Bytes, Vec<(i64, std::ops::Range<usize>)>) {
        let mut order: Vec<&Moment> = self.rows.iter().collect();
        order.sort_by_key(|moment| moment.module);
        let (mut out, mut places, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for moments in order.chunk_by(|one, next| one.module == next.module) {
            let mut points = Points::default();
            moments.iter().for_each(|moment| points.push(moment.at, moment.mask, self.values_of(moment)));
            own.clear();
            points.write(&mut own);
            put_u64(&mut out, moments[0].module as u64);
            put_u64(&mut out, own.len() as u64);
            let from = out.len();
            out.extend_from_slice(&own);
            places.push((moments[0].module, from..out.len()));
        }
        (out.into(), places)
    }
}

/// Where in the bytes of an entry each module's points are.
pub(super) fn places(data: &Bytes) -> Result<Vec<(i64, Bytes)>, Damaged> {
    let mut reader = Reader::new(data);
    let mut found = Vec::new();
    while !reader.is_at_end() {
        let (module, length) = (reader.u64()? as i64, reader.count()?);
        found.push((module, data.slice_ref(reader.take(length)?)));
    }
    Ok(found)
}

impl Memory {
    /// Takes in what a module says at one moment.
    pub(super) fn record<'a>(
        &mut self,
        said: Said<'_>,
        values: impl Iterator<Item = (&'a str, f64)>,
        bytes_max: usize,
    ) -> Taken {
        self.recorded += 1;
        let found = if self.batch.bytes() < bytes_max { self.slot(said) } else { None };
        let Some((id, slot)) = found.and_then(|id| Some((id, self.slots.get_mut(&id)?))) else {
            return Taken { refused: values.count() as u64, ..Taken::default() };
        };
        let (mut outcome, mut mask, mut taken, mut expected) = (Taken::default(), 0u64, [0.0; SERIES_MAX], 0);
        for (name, value) in values {
            debug_assert!(value.is_finite(), "{name}: {value}");
            // Devices say their series in the same order each time.
            let found = if slot.series.get(expected).is_some_and(|series| *series.name == *name) {
                Some(expected)
            } else {
                slot.series_number(name, said, &mut outcome)
            };
            let found = found.filter(|number| value.is_finite() && slot.series[*number].has(said.at));
            let Some(number) = found else {
                outcome.refused += 1;
                continue;
            };
            if mask & 1 << number != 0 {
                self.batch.push(id, said.at, mask, &taken);
                mask = 0;
            }
            mask |= 1 << number;
            // No chart needs a zero that is less than another.
            taken[number] = value + 0.0;
            slot.series[number].note(said.at, said.steady);
            expected = number + 1;
        }
        if mask != 0 {
            self.batch.push(id, said.at, mask, &taken);
        }
        outcome
    }

    fn slot(&mut self, said: Said<'_>) -> Option<i64> {
        if let Some(id) = self.by_name.get(said.module) {
            return Some(*id);
        }
        if self.slots.len() >= MODULES_MAX || self.unreadable.contains(said.module) {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let hour = said.at.div_euclid(HOUR) * HOUR;
        // Entries before this one have nothing of it, whatever they say of another module that had this id.
        let marks = Marks { journal_done: self.next_entry - 1, rolled_to: hour, last_hour: hour - HOUR };
        self.insert(id, said.module, Vec::new(), marks);
        Some(id)
    }

    pub(super) fn insert(&mut self, id: i64, name: &str, series: Vec<Series>, marks: Marks) {
        let is_stored = !series.is_empty();
        let segments = VecDeque::new();
        self.by_name.insert(name.into(), id);
        let (retry_at, unplaced) = (i64::MIN, Unplaced::default());
        let name = name.into();
        let slot = Slot { name, series, marks, is_stored, segments, retry_at, unplaced };
        self.slots.insert(id, slot);
    }

    /// The batch as it is now becomes the next entry.
    pub(super) fn begin_seal(&mut self) -> Option<(i64, Arc<Batch>)> {
        if self.batch.rows.is_empty() || self.sealing.is_some() {
            return None;
        }
        let next = Batch {
            rows: Vec::with_capacity(self.batch.rows.len()),
            values: Vec::with_capacity(self.batch.values.len()),
        };
        let batch = Arc::new(std::mem::replace(&mut self.batch, next));
        let id = self.next_entry;
        self.next_entry += 1;
        self.sealing = Some((id, Arc::clone(&batch)));
        Some((id, batch))
    }

    /// The entry is written: its points belong to their modules. Returns how many points had to go for it.
    pub(super) fn end_seal(&mut self, sealed: Sealed, now: i64, bytes_max: usize) -> u64 {
        self.sealing = None;
        for (module, place) in &sealed.places {
            let segment = Segment { journal: sealed.id, since: now, data: sealed.data.slice(place.clone()) };
            self.add(*module, segment);
        }
        let modules = sealed.places.into_iter().map(|(module, _)| module).collect();
        self.waiting.push_back(Arc::new(Entry {
            id: sealed.id,
            points: sealed.points,
            data: sealed.data,
            modules,
        }));
        let mut lost = 0;
        while self.bytes > bytes_max
            && let Some(oldest) = self.waiting.pop_front()
        {
            lost += oldest.points;
            self.drop_entry(&oldest);
        }
        lost
    }

    /// Adds points of an entry to their module, unless that is gone or has them in blocks.
    pub(super) fn add(&mut self, module: i64, segment: Segment) {
        if let Some(slot) = self.slots.get_mut(&module)
            && segment.journal > slot.marks.journal_done
        {
            self.bytes += segment.data.len() + SEGMENT_BYTES;
            slot.segments.push_back(segment);
        }
    }

    fn drop_entry(&mut self, entry: &Entry) {
        for module in &entry.modules {
            let Some(slot) = self.slots.get_mut(module) else { continue };
            let mut freed = 0;
            slot.segments.retain(|segment| {
                let goes = segment.journal == entry.id;
                freed += if goes { segment.data.len() + SEGMENT_BYTES } else { 0 };
                !goes
            });
            self.bytes -= freed;
        }
    }

    /// The database has these marks for a module: points that are in blocks go.
    pub(super) fn settle(&mut self, module: i64, marks: Marks) {
        let Some(slot) = self.slots.get_mut(&module) else { return };
        slot.marks = marks;
        while slot.segments.front().is_some_and(|segment| segment.journal <= marks.journal_done)
            && let Some(segment) = slot.segments.pop_front()
        {
            self.bytes -= segment.data.len() + SEGMENT_BYTES;
        }
    }

    /// A module is no more.
    pub(super) fn forget(&mut self, module: &str) {
        if let Some(id) = self.by_name.get(module) {
            self.remove(*id);
        }
    }

    /// The rows of a module are to be deleted.
    pub(super) fn remove(&mut self, id: i64) {
        if let Some(slot) = self.slots.remove(&id) {
            let freed: usize = slot.segments.iter().map(|segment| segment.data.len() + SEGMENT_BYTES).sum();
            self.bytes -= freed;
            self.by_name.remove(&slot.name);
            self.gone.push(id);
        }
    }

    /// The first entry that has points in no block.
    pub(super) fn first_needed(&self) -> i64 {
        let firsts = self.slots.values().filter_map(|slot| slot.segments.front());
        firsts.map(|segment| segment.journal).min().unwrap_or(i64::MAX).min(self.stored + 1)
    }

    /// What a read needs of a module.
    pub(super) fn recent(&self, module: &str) -> Option<Recent> {
        let id = *self.by_name.get(module)?;
        let slot = self.slots.get(&id)?;
        let sealing = self.sealing.iter().map(|(entry, batch)| (*entry, batch.points_of(id)));
        let batch = (self.next_entry, self.batch.points_of(id));
        Some(Recent {
            id,
            series: slot.series.clone(),
            unplaced: slot.unplaced.names().to_vec(),
            segments: slot.segments.iter().cloned().collect(),
            coming: sealing.chain([batch]).collect(),
        })
    }
}

impl Slot {
    /// The place of a name that is not where it was last time.
    fn series_number(&mut self, name: &str, said: Said<'_>, outcome: &mut Taken) -> Option<usize> {
        match place(&mut self.series, name, said.now, said.steady) {
            Place::Taken(number) => Some(number),
            Place::New(number, freed) => {
                self.is_stored = false;
                self.unplaced.remove(name);
                outcome.freed.extend(freed);
                Some(number)
            }
            Place::Full => {
                self.unplaced.add(name);
                if self.unplaced.told.is_none_or(|told| said.steady - told >= UNPLACED_TOLD_MS) {
                    self.unplaced.told = Some(said.steady);
                    outcome.unplaced = self.unplaced.names().to_vec();
                }
                None
            }
            Place::Unfit => None,
        }
    }
}

/// A batch as an entry of the journal.
pub(super) struct Sealed {
    id: i64,
    points: u64,
    data: Bytes,
    places: Vec<(i64, std::ops::Range<usize>)>,
}

impl Sealed {
    pub(super) fn new(id: i64, batch: &Batch) -> Self {
        let (data, places) = batch.write();
        Self { id, points: batch.points(), data, places }
    }
}

/// A share of `span` that differs from module to module.
pub(super) fn spread(module: i64, span: i64) -> i64 {
    const PARTS: i64 = 1024;
    span / PARTS * (module.wrapping_mul(0x9E37).rem_euclid(PARTS))
}
