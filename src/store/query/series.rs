//! Series: their points, put together to a wider step, beside the same time a week before.

use crate::store::{Result, prepare};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// Most points of one answer; a longer time needs a wider step.
pub const MAX_POINTS: i64 = 10_000;
/// Most series that are listed.
const MAX_SERIES: i64 = 1_000;
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
pub fn points(db: &Connection, query: &SeriesQuery) -> Result<Vec<Point>> {
    let before: BTreeMap<i64, f64> =
        raw_points(db, query, WEEK_MS)?.into_iter().map(|point| (point.time_ms, point.value)).collect();
    let mut points = raw_points(db, query, 0)?;
    for point in &mut points {
        point.last_week = before.get(&point.time_ms).copied();
    }
    Ok(points)
}

/// The points of the time `back_ms` earlier, under the times of the query.
fn raw_points(db: &Connection, query: &SeriesQuery, back_ms: i64) -> Result<Vec<Point>> {
    let mut statement = prepare(
        db,
        "SELECT (bucket_ms + $6) / $5 * $5 AS step, AVG(value), AVG(low), AVG(high), MAX(CASE WHEN anomalous THEN 1 ELSE 0 END)
         FROM series_rollup WHERE metric = $1 AND dimensions = $2 AND bucket_ms >= $3 - $6 AND bucket_ms < $4 - $6
         GROUP BY step ORDER BY step LIMIT $7",
    )?;
    let (from, to, step) = (query.from_ms, query.to_ms, query.step_ms.max(1));
    let rows = statement.query_map((&query.metric, &query.dimensions, from, to, step, back_ms, MAX_POINTS), |row| {
        let low: Option<f64> = row.get(2)?;
        Ok(Point {
            time_ms: row.get(0)?,
            value: row.get(1)?,
            expected: low.zip(row.get(3)?),
            anomalous: row.get::<_, i64>(4)? == 1,
            last_week: None,
        })
    })?;
    rows.collect()
}

/// Series with a point at or after `since_ms`: (metric, dimensions), in order.
pub fn names(db: &Connection, since_ms: i64) -> Result<Vec<(String, String)>> {
    let mut statement = prepare(
        db,
        "SELECT DISTINCT metric, dimensions FROM series_rollup WHERE bucket_ms >= $1 ORDER BY metric, dimensions LIMIT $2",
    )?;
    statement.query_map([since_ms, MAX_SERIES], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}
