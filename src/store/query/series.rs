//! Series: their points, put together to a wider step, beside the same time a week before.

use crate::store::Db;
use crate::store::{Result, prepare};
use std::collections::BTreeMap;

/// Most points of one answer; a longer time needs a wider step.
pub const MAX_POINTS: usize = 10_000;
/// Most series that are listed.
const MAX_SERIES: i64 = 1_000;
/// Length of a bucket.
const BUCKET_MS: i64 = 60_000;
/// Milliseconds of a week.
const WEEK_MS: i64 = 7 * 86_400_000;

/// A point: the means of its buckets.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Point {
    /// Start of the step, ms.
    pub time_ms: i64,
    /// Mean of the buckets' values.
    pub value: f64,
    /// Means of their bounds.
    pub expected: Option<(f64, f64)>,
    /// Was one of them judged unusual?
    pub anomalous: bool,
    /// The value a week before.
    pub last_week: Option<f64>,
}

/// Which series, which time, which step.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Name of the metric.
    pub metric: String,
    /// Canonical text, empty for the whole.
    pub dimensions: String,
    /// Not before, ms.
    pub from_ms: i64,
    /// Before, ms.
    pub to_ms: i64,
    /// Width of a point, ms; positive.
    pub step_ms: i64,
}

/// The points in order of time.
pub fn points(db: &Db, query: &SeriesQuery) -> Result<Vec<Point>> {
    let before: BTreeMap<i64, f64> =
        raw_points(db, query, WEEK_MS)?.into_iter().map(|point| (point.time_ms, point.value)).collect();
    let mut points = raw_points(db, query, 0)?;
    for point in &mut points {
        point.last_week = before.get(&point.time_ms).copied();
    }
    Ok(points)
}

/// The points of the time `back_ms` earlier, under the times of the query. The means are made here, in the order of time: databases
/// sum in ways of their own, and the last bit would differ.
fn raw_points(db: &Db, query: &SeriesQuery, back_ms: i64) -> Result<Vec<Point>> {
    let mut statement = prepare(
        db,
        "SELECT bucket_ms, value, low, high, CASE WHEN anomalous THEN 1 ELSE 0 END FROM series_rollup
         WHERE metric = $1 AND dimensions = $2 AND bucket_ms >= $3 AND bucket_ms < $4 ORDER BY bucket_ms",
    )?;
    let (from, to, step) = (query.from_ms - back_ms, query.to_ms - back_ms, query.step_ms.max(1));
    let mut steps: BTreeMap<i64, ([Sum; 3], bool)> = BTreeMap::new();
    statement.each((&query.metric, &query.dimensions, from, to), |row| {
        let at = (row.get::<i64>(0)? + back_ms) / step * step;
        if steps.len() >= MAX_POINTS && !steps.contains_key(&at) {
            return Ok(());
        }
        let (sums, anomalous) = steps.entry(at).or_default();
        for (sum, column) in sums.iter_mut().zip(1..) {
            sum.add(row.get(column)?);
        }
        *anomalous |= row.get::<i64>(4)? == 1;
        Ok(())
    })?;
    let Some((first, last)) = known(db, query, back_ms)? else { return Ok(vec![]) };
    // a bucket that is not there is one of 0: nothing came, as usual
    let mut at = first.max(query.from_ms) / step * step;
    let end = (last + 1).min(query.to_ms);
    let mut points = Vec::new();
    while at < end && points.len() < MAX_POINTS {
        let ([value, low, high], anomalous) = steps.remove(&at).unwrap_or_default();
        let length = end.min(at + step) - at.max(first);
        let buckets = ((length + BUCKET_MS - 1) / BUCKET_MS).max(i64::from(value.1)).max(1);
        let value = value.0 / buckets as f64;
        points.push(Point { time_ms: at, value, expected: low.mean().zip(high.mean()), anomalous, last_week: None });
        at += step;
    }
    Ok(points)
}

#[derive(Default)]
struct Sum(f64, u32);
impl Sum {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            (self.0, self.1) = (self.0 + value, self.1 + 1);
        }
    }
    fn mean(&self) -> Option<f64> {
        (self.1 > 0).then(|| self.0 / f64::from(self.1))
    }
}

/// First bucket of the series, and the last of any, `back_ms` later; `None`: the series is not known.
fn known(db: &Db, query: &SeriesQuery, back_ms: i64) -> Result<Option<(i64, i64)>> {
    let first: Option<i64> =
        prepare(db, "SELECT min(bucket_ms) FROM series_rollup WHERE metric = $1 AND dimensions = $2")?
            .query_row((&query.metric, &query.dimensions), |row| row.get(0))?;
    let last: Option<i64> = prepare(db, "SELECT max(bucket_ms) FROM series_rollup")?.query_row([], |row| row.get(0))?;
    Ok(first.zip(last).map(|(first, last)| (first + back_ms, last + back_ms)))
}

/// Series with a point at or after `since_ms`: (metric, dimensions), in order.
pub fn names(db: &Db, since_ms: i64) -> Result<Vec<(String, String)>> {
    let mut statement = prepare(
        db,
        "SELECT DISTINCT metric, dimensions FROM series_rollup WHERE bucket_ms >= $1 ORDER BY metric, dimensions LIMIT $2",
    )?;
    statement.query_map([since_ms, MAX_SERIES], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
