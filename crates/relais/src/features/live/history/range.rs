//! Reads made for charts: what is in memory, in blocks and in aggregates, put together bucket by bucket.

use relais_store::{Query, ReadTx, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::aggregate::{Aggregate, HOUR, decode};
use super::compact::{floor, row_start};
use super::memory::Recent;
use super::points::{Points, SERIES_MAX};
use super::store;
use super::tier::{Plan, Tier};
use super::{History, block};

/// Rows that are read at once.
const ROWS_PER_READ: usize = 64;
/// Series of one chart.
pub const CHART_SERIES_MAX: usize = 32;
/// Buckets of one series of a chart.
pub const CHART_POINTS_MAX: u32 = 2000;

/// What a chart shows.
#[derive(Clone, Debug)]
pub struct RangeQuery {
    /// Series by name; none: the first [`CHART_SERIES_MAX`] in the order of their names.
    pub series: Vec<String>,
    /// From this moment, in milliseconds since 1970; not negative.
    pub from: i64,
    /// To this moment, without it; later than `from`.
    pub to: i64,
    /// Buckets per series at most, 1 to [`CHART_POINTS_MAX`].
    pub points: u32,
}

/// What the points of a bucket come to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryBucket)]
pub struct Bucket {
    /// Where it begins, in milliseconds since 1970: a multiple of `step_ms`.
    pub t: i64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The mean.
    pub avg: f64,
    /// The latest value.
    pub last: f64,
    /// How many values there were.
    pub count: u64,
}

/// A series of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HistorySeriesRange)]
pub struct SeriesRange {
    /// Its name.
    pub name: String,
    /// In order; those without a value are absent.
    pub buckets: Vec<Bucket>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryRange)]
pub struct Range {
    /// What it is made from.
    pub tier: Tier,
    /// The width of a bucket, in milliseconds.
    pub step_ms: i64,
    /// The begin of the first bucket that there can be, in milliseconds since 1970.
    pub from: i64,
    /// The end of the last bucket that there can be.
    pub to: i64,
    /// In the order asked for, else by name.
    pub series: Vec<SeriesRange>,
}

/// Over which time there are values of a series.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HistorySeriesSpan)]
pub struct SeriesSpan {
    /// Its name.
    pub name: String,
    /// The first value that ever came, in milliseconds since 1970, whether or not it is still kept.
    pub first: i64,
    /// The latest value.
    pub last: i64,
}

impl History {
    /// A chart of a module, up to this very moment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn range(&self, module: &str, query: RangeQuery) -> Result<Range, StoreError> {
        let points = i64::from(query.points.clamp(1, CHART_POINTS_MAX));
        let (from, to) = (query.from.max(0), query.to.max(query.from.max(0) + 1));
        let plan = Plan::new(from, to, points, self.now(), &self.0.config);
        // Memory first: what goes from there into the database meanwhile is known by its entry of the journal.
        let recent = self.0.memory.lock().recent(module);
        let Some(recent) = recent else { return Ok(chart(plan, Vec::new(), Vec::new())) };
        let wanted = wanted(&recent, query.series);
        let names = wanted.iter().map(|(name, _)| name.clone()).collect();
        let numbers: Vec<Option<usize>> = wanted.into_iter().map(|(_, number)| number).collect();
        let read = self.0.store.read(move |tx| {
            let mut buckets = Buckets::new(plan, &numbers);
            read(tx, &recent, &mut buckets)?;
            Ok::<_, StoreError>(numbers.iter().map(|number| buckets.of(*number)).collect())
        });
        Ok(chart(plan, names, read.await?))
    }

    /// The series of a module, by name.
    ///
    /// # Errors
    /// If what is in memory is damaged.
    pub fn series(&self, module: &str) -> Result<Vec<SeriesSpan>, StoreError> {
        let recent = self.0.memory.lock().recent(module);
        let Some(recent) = recent else { return Ok(Vec::new()) };
        let mut spans: Vec<Option<(i64, i64)>> =
            recent.series.iter().map(|series| series.first.zip(series.last)).collect();
        let mut widen = |series: u8, at: i64, _: f64| {
            if let Some(span) = spans.get_mut(usize::from(series)) {
                let (first, last) = span.unwrap_or((at, at));
                *span = Some((first.min(at), last.max(at)));
            }
        };
        each_recent(&recent, i64::MIN, &mut widen)?;
        let named = recent.series.iter().zip(spans);
        let mut found: Vec<SeriesSpan> = named
            .filter_map(|(series, span)| {
                let (first, last) = span?;
                Some(SeriesSpan { name: series.name.to_string(), first, last })
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }
}

fn chart(plan: Plan, names: Vec<String>, buckets: Vec<Vec<Bucket>>) -> Range {
    let series =
        names.into_iter().zip(buckets).map(|(name, buckets)| SeriesRange { name, buckets }).collect();
    Range { tier: plan.tier, step_ms: plan.step, from: plan.from, to: plan.to, series }
}

/// The series of a chart, and which of the module's they are.
fn wanted(recent: &Recent, asked: Vec<String>) -> Vec<(String, Option<usize>)> {
    let mut names = asked;
    if names.is_empty() {
        names = recent.series.iter().map(|series| series.name.to_string()).collect();
        names.sort_unstable();
    }
    names.truncate(CHART_SERIES_MAX);
    let number = |name: &String| recent.series.iter().position(|series| *series.name == **name);
    names.into_iter().map(|name| (number(&name), name)).map(|(number, name)| (name, number)).collect()
}

/// The buckets of the series that are wanted.
struct Buckets {
    plan: Plan,
    mask: u64,
    found: Vec<Vec<Option<Aggregate>>>,
}

impl Buckets {
    fn new(plan: Plan, numbers: &[Option<usize>]) -> Self {
        let mask = numbers.iter().flatten().fold(0, |mask, number| mask | 1 << number);
        let many = |series: usize| if mask & 1 << series == 0 { 0 } else { plan.buckets() };
        Self { plan, mask, found: (0..SERIES_MAX).map(|series| vec![None; many(series)]).collect() }
    }

    fn add(&mut self, series: u8, at: i64, later: &Aggregate) {
        if at < self.plan.from || at >= self.plan.to {
            return;
        }
        let place = ((at - self.plan.from) / self.plan.step) as usize;
        let bucket = self.found.get_mut(usize::from(series)).and_then(|series| series.get_mut(place));
        match bucket {
            Some(Some(known)) => known.merge(later),
            Some(empty) => *empty = Some(*later),
            None => {}
        }
    }

    fn of(&self, number: Option<usize>) -> Vec<Bucket> {
        let Some(found) = number.and_then(|number| self.found.get(number)) else { return Vec::new() };
        let begins = (self.plan.from..).step_by(self.plan.step as usize);
        let filled = begins.zip(found).filter_map(|(t, found)| Some((t, found.as_ref()?)));
        let buckets = filled.map(|(t, found)| Bucket {
            t,
            min: found.min,
            max: found.max,
            avg: found.average(),
            last: found.last,
            count: found.count,
        });
        buckets.collect()
    }
}

/// Adds up everything there is, in the order in which it came.
fn read(tx: &mut ReadTx<'_>, recent: &Recent, buckets: &mut Buckets) -> Result<(), StoreError> {
    let marks = store::find_marks(tx, recent.id)?;
    let (mut from, to) = (floor(buckets.plan.from, HOUR), buckets.plan.to);
    if let Some(marks) = marks {
        if let Some(width) = buckets.plan.width() {
            read_aggregates(tx, recent.id, width, buckets)?;
            from = from.max(marks.rolled_to);
        }
        read_blocks(tx, recent.id, (from, to), buckets)?;
    }
    let done = marks.map_or(i64::MIN, |marks| marks.journal_done);
    let mask = buckets.mask;
    each_recent(recent, done, &mut |series, at, value| {
        if mask & 1 << series != 0 {
            buckets.add(series, at, &Aggregate::of(at, value));
        }
    })
}

fn read_aggregates(
    tx: &mut impl Query,
    module: i64,
    width: i64,
    buckets: &mut Buckets,
) -> Result<(), StoreError> {
    let mut after = row_start(buckets.plan.from, width) - 1;
    loop {
        let rows = store::aggregates(tx, module, width, after, buckets.plan.to, ROWS_PER_READ)?;
        for (start, data) in &rows {
            after = *start;
            decode(data, *start, width, buckets.mask, |series, begin, found| {
                buckets.add(series, begin, found);
            })?;
        }
        if rows.len() < ROWS_PER_READ {
            return Ok(());
        }
    }
}

fn read_blocks(
    tx: &mut impl Query,
    module: i64,
    (from, to): (i64, i64),
    buckets: &mut Buckets,
) -> Result<(), StoreError> {
    let mut after = (from, i64::MIN);
    loop {
        let blocks = store::blocks(tx, module, after, to, ROWS_PER_READ)?;
        for (key, data) in &blocks {
            after = *key;
            let mask = buckets.mask;
            block::decode(data, mask, |series, at, value| {
                buckets.add(series, at, &Aggregate::of(at, value));
            })?;
        }
        if blocks.len() < ROWS_PER_READ {
            return Ok(());
        }
    }
}

/// Shows the points that came after the journal's entry `done`.
fn each_recent(recent: &Recent, done: i64, visit: &mut impl FnMut(u8, i64, f64)) -> Result<(), StoreError> {
    for segment in recent.segments.iter().filter(|segment| segment.journal > done) {
        let mut points = Points::default();
        points.read(&segment.data)?;
        points.each(&mut *visit);
    }
    for (_, points) in recent.coming.iter().filter(|(entry, _)| *entry > done) {
        points.each(&mut *visit);
    }
    Ok(())
}
