//! Reads made for charts: what is in memory, in blocks and in aggregates, put together bucket by bucket.

use std::collections::BTreeMap;

use relais_store::{Query, ReadTx, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use super::aggregate::{Aggregate, HOUR, decode};
use super::compact::{Point, floor, row_start, sort};
use super::damage::readable;
use super::memory::Recent;
use super::points::{Points, SERIES_MAX};
use super::series::{Part, parts};
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
    /// The earliest value; nothing for what was aggregated by a version that did not keep it.
    pub first: Option<f64>,
    /// The latest value.
    pub last: f64,
    /// By how much it grew since the last value of the bucket before, in the first bucket since its first value: the sum
    /// of all rises. A value that is lower than the one before it is a counter that began afresh at 0, so it rose by all
    /// that it shows. The increases of a chart add up. Nothing where `first` is nothing.
    pub increase: Option<f64>,
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
    /// Rows that could not be read and are left out.
    pub unreadable: u32,
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
    /// Until when the name had a place among the module's 64; nothing while it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
}

/// The series of a module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = HistorySeriesList)]
pub struct SeriesList {
    /// By name.
    pub series: Vec<SeriesSpan>,
    /// How many a module may have at a time.
    pub max: usize,
    /// Names that have no history, as all places are taken by names that say something: 16 at most.
    pub without_history: Vec<String>,
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
        let Some(recent) = recent else { return Ok(chart(plan, Vec::new(), Vec::new(), 0)) };
        let names = wanted(&recent, query.series);
        let parts: Vec<Vec<Part>> = names.iter().map(|name| parts(&recent.series, name)).collect();
        let name = module.to_owned();
        let read = self.0.store.read(move |tx| {
            let mut buckets = Buckets::new(plan, &parts, name);
            read(tx, &recent, &mut buckets)?;
            let all = (0..parts.len()).map(|place| buckets.of(place)).collect();
            Ok::<_, StoreError>((all, buckets.unreadable))
        });
        let (buckets, unreadable) = read.await?;
        Ok(chart(plan, names, buckets, unreadable))
    }

    /// The series of a module.
    #[must_use]
    pub fn series(&self, module: &str) -> SeriesList {
        let recent = self.0.memory.lock().recent(module);
        let Some(recent) = recent else { return SeriesList { max: SERIES_MAX, ..SeriesList::default() } };
        let mut spans: Vec<Option<(i64, i64)>> =
            recent.series.iter().map(|series| series.first.zip(series.last)).collect();
        each_recent(&recent, module, i64::MIN, &mut |series, at, _| {
            let number = usize::from(series);
            if let (Some(span), Some(known)) = (spans.get_mut(number), recent.series.get(number))
                && known.has(at)
            {
                let (first, last) = span.unwrap_or((at, at));
                *span = Some((first.min(at), last.max(at)));
            }
        });
        let mut found = BTreeMap::<String, SeriesSpan>::new();
        for (series, span) in recent.series.iter().zip(spans) {
            for former in &series.former {
                let Some((first, last)) = former.first.zip(former.last) else { continue };
                add_span(&mut found, &former.name, (first, last), Some(former.until));
            }
            if let Some(span) = span {
                add_span(&mut found, &series.name, span, None);
            }
        }
        let without_history = recent.unplaced.iter().map(ToString::to_string).collect();
        SeriesList { series: found.into_values().collect(), max: SERIES_MAX, without_history }
    }
}

/// A name may have had several places: it counts from its first value to its last.
fn add_span(
    found: &mut BTreeMap<String, SeriesSpan>,
    name: &str,
    (first, last): (i64, i64),
    ended: Option<i64>,
) {
    let span =
        found.entry(name.to_owned()).or_insert(SeriesSpan { name: name.to_owned(), first, last, ended });
    (span.first, span.last) = (span.first.min(first), span.last.max(last));
    span.ended = span.ended.zip(ended).map(|(one, other)| one.max(other));
}

fn chart(plan: Plan, names: Vec<String>, buckets: Vec<Vec<Bucket>>, unreadable: u32) -> Range {
    let series =
        names.into_iter().zip(buckets).map(|(name, buckets)| SeriesRange { name, buckets }).collect();
    Range { tier: plan.tier, step_ms: plan.step, from: plan.from, to: plan.to, series, unreadable }
}

/// The names of a chart.
fn wanted(recent: &Recent, asked: Vec<String>) -> Vec<String> {
    let mut names = asked;
    if names.is_empty() {
        names = recent.series.iter().map(|series| series.name.to_string()).collect();
        names.sort_unstable();
    }
    names.truncate(CHART_SERIES_MAX);
    names
}

/// The buckets of the series that are wanted.
struct Buckets {
    plan: Plan,
    module: String,
    mask: u64,
    /// Of each number, which parts of it belong to which series of the chart.
    parts: Vec<Vec<(usize, Part)>>,
    found: Vec<Vec<Option<Aggregate>>>,
    unreadable: u32,
}

impl Buckets {
    fn new(plan: Plan, wanted: &[Vec<Part>], module: String) -> Self {
        let mut parts = vec![Vec::new(); SERIES_MAX];
        let mut mask = 0;
        for (place, part) in
            wanted.iter().enumerate().flat_map(|(place, all)| all.iter().map(move |part| (place, *part)))
        {
            mask |= 1 << part.number;
            parts[part.number].push((place, part));
        }
        let found =
            wanted.iter().map(|all| vec![None; if all.is_empty() { 0 } else { plan.buckets() }]).collect();
        Self { plan, module, mask, parts, found, unreadable: 0 }
    }

    fn add(&mut self, series: u8, at: i64, later: &Aggregate) {
        if at < self.plan.from || at >= self.plan.to {
            return;
        }
        let bucket = ((at - self.plan.from) / self.plan.step) as usize;
        let is_at = |part: &Part| (part.from..part.until).contains(&at);
        for (place, _) in self.parts[usize::from(series)].iter().filter(|(_, part)| is_at(part)) {
            match self.found[*place].get_mut(bucket) {
                Some(Some(known)) => known.merge(later),
                Some(empty) => *empty = Some(*later),
                None => {}
            }
        }
    }

    /// Adds points, which are sorted for it.
    fn add_points(&mut self, points: &mut [Point]) {
        sort(points);
        points.iter().for_each(|(series, at, value)| self.add(*series, *at, &Aggregate::of(*at, *value)));
    }

    fn of(&self, place: usize) -> Vec<Bucket> {
        let begins = (self.plan.from..).step_by(self.plan.step as usize);
        let filled = begins.zip(&self.found[place]).filter_map(|(t, found)| Some((t, found.as_ref()?)));
        let mut before = None;
        let buckets = filled.map(|(t, found)| {
            let increase = found.increase_since(before.replace(found.last));
            let Aggregate { min, max, last, count, .. } = *found;
            let first = found.growth.map(|growth| growth.first);
            Bucket { t, min, max, avg: found.average(), first, last, increase, count }
        });
        buckets.collect()
    }
}

/// Adds up everything there is, hour by hour, each in the order of time.
fn read(tx: &mut ReadTx<'_>, recent: &Recent, buckets: &mut Buckets) -> Result<(), StoreError> {
    let marks = store::find_marks(tx, recent.id)?;
    let done = marks.map_or(i64::MIN, |marks| marks.journal_done);
    let (mask, module) = (buckets.mask, buckets.module.clone());
    let mut waiting = BTreeMap::<i64, Vec<Point>>::new();
    let unreadable = each_recent(recent, &module, done, &mut |series, at, value| {
        if mask & 1 << series != 0 {
            waiting.entry(floor(at, HOUR)).or_default().push((series, at, value));
        }
    });
    buckets.unreadable += unreadable;
    let (mut from, to) = (floor(buckets.plan.from, HOUR), buckets.plan.to);
    if let Some(marks) = marks {
        if let Some(width) = buckets.plan.width() {
            read_aggregates(tx, recent.id, width, buckets)?;
            from = from.max(marks.rolled_to);
        }
        read_blocks(tx, recent.id, (from, to), &mut waiting, buckets)?;
    }
    waiting.into_values().for_each(|mut points| buckets.add_points(&mut points));
    Ok(())
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
            let mut found = Vec::new();
            let read = decode(data, *start, width, buckets.mask, |series, begin, aggregate| {
                found.push((series, begin, *aggregate));
            });
            match readable(read, "aggregates", &buckets.module, *start) {
                Some(()) => {
                    found.iter().for_each(|(series, begin, found)| buckets.add(*series, *begin, found));
                }
                None => buckets.unreadable += 1,
            }
        }
        if rows.len() < ROWS_PER_READ {
            return Ok(());
        }
    }
}

/// Adds blocks, hour by hour, with what `waiting` has of the hours up to theirs.
fn read_blocks(
    tx: &mut impl Query,
    module: i64,
    (from, to): (i64, i64),
    waiting: &mut BTreeMap<i64, Vec<Point>>,
    buckets: &mut Buckets,
) -> Result<(), StoreError> {
    let mut after = (from, i64::MIN);
    let mut points: Vec<Point> = Vec::new();
    let mut of_hour = from;
    loop {
        let blocks = store::blocks(tx, module, after, to, ROWS_PER_READ)?;
        for (key, data) in &blocks {
            after = *key;
            if key.0 != of_hour {
                finish_hour(std::mem::take(&mut points), of_hour, waiting, buckets);
                of_hour = key.0;
            }
            let known = points.len();
            let read =
                block::decode(data, buckets.mask, |series, at, value| points.push((series, at, value)));
            if readable(read, "block", &buckets.module, key.0).is_none() {
                points.truncate(known);
                buckets.unreadable += 1;
            }
        }
        if blocks.len() < ROWS_PER_READ {
            finish_hour(points, of_hour, waiting, buckets);
            return Ok(());
        }
    }
}

fn finish_hour(
    mut points: Vec<Point>,
    hour: i64,
    waiting: &mut BTreeMap<i64, Vec<Point>>,
    buckets: &mut Buckets,
) {
    // Those of hours without a block come before it.
    while let Some(first) = waiting.first_entry().filter(|first| *first.key() < hour) {
        buckets.add_points(&mut first.remove());
    }
    points.extend(waiting.remove(&hour).unwrap_or_default());
    buckets.add_points(&mut points);
}

/// Shows the points that came after the journal's entry `done`; says how many entries could not be read.
fn each_recent(recent: &Recent, module: &str, done: i64, visit: &mut impl FnMut(u8, i64, f64)) -> u32 {
    let mut unreadable = 0;
    for segment in recent.segments.iter().filter(|segment| segment.journal > done) {
        let mut points = Points::default();
        match readable(points.read(&segment.data), "journal", module, segment.journal) {
            Some(()) => points.each(&mut *visit),
            None => unreadable += 1,
        }
    }
    for (_, points) in recent.coming.iter().filter(|(entry, _)| *entry > done) {
        points.each(&mut *visit);
    }
    unreadable
}
